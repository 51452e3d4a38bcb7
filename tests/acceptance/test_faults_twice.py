"""The same callback again: at the same instant, before it is durable, days later, and after a crash."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path

import httpx
import pytest

from tests.acceptance import by_hand
from tests.acceptance.by_hand import address_of
from tests.acceptance.conftest import (
    NO_TLS,
    Receiver,
    a_video,
    callback,
    each,
    headers,
    is_running,
    sha256,
    until,
)
from tests.invariant import Ledger, assert_balanced

# Opens connections, sends all but the last byte of a request on each, and that one when it is told to.
SENDERS = """\
import socket, sys
port, count, request = int(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3])
connections = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(count)]
for connection in connections:
    connection.sendall(request[:-1])
print("ready", flush=True)
sys.stdin.readline()
for connection in connections:
    connection.sendall(request[-1:])
for connection in connections:
    answer = b""
    while part := connection.recv(65536):
        answer += part
    head, _, body = answer.partition(b"\\r\\n\\r\\n")
    print(head[9:12].decode(), body.decode())
"""


def request_of(payload: bytes) -> bytes:
    """A whole request after whose answer the connection is closed."""
    named = headers() | {"Connection": "close"}
    return by_hand.request_of([f"{name}: {value}".encode() for name, value in named.items()], payload)


def database_of(receiver: Receiver) -> Path:
    return receiver.folder / "data" / "receiver.db"


@pytest.mark.fault("D1", "A7")
def test_equal_callbacks_of_two_processes_at_one_instant_are_one_event(receiver: Receiver) -> None:
    receiver.start()
    ledger = Ledger()
    request = request_of(json.dumps(callback("twin", video=a_video())).encode())
    command = [sys.executable, "-c", SENDERS, str(address_of(receiver)[1]), "64", request.hex()]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        lines = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    answers = [line.partition(" ")[::2] for line in lines]
    for status, body in answers:
        ledger.told(int(status), body.encode())
    assert ledger.by_status == {200: 128}
    assert sorted(json.loads(body)["status"] for _, body in answers) == ["accepted"] + ["duplicate"] * 127
    [event] = receiver.settled(count=1)
    assert set(ledger.acknowledged) == {event["id"]}
    assert [(job["state"], job["attempts"]) for job in event["jobs"]] == [("done", 1)]
    receiver.stop()
    assert_balanced(database_of(receiver), ledger)


@pytest.mark.fault("D6")
def test_a_duplicate_waits_until_the_first_is_durable_or_is_told_to_come_again(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    ledger = Ledger()
    store = receiver.child("receiver.store.process")

    def send_two(video_id: str) -> list[socket.socket]:
        request = request_of(json.dumps(callback(video_id, "failed")).encode())
        pair = [socket.create_connection(address_of(receiver), timeout=30) for _ in range(2)]
        for connection in pair:
            connection.sendall(request)
        return pair

    def answers_of(pair: list[socket.socket]) -> list[tuple[int, str]]:
        seen = []
        for connection in pair:
            with connection, connection.makefile("rb") as file:
                head, _, body = file.read().partition(b"\r\n\r\n")
            seen.append((ledger.told(int(head[9:12]), body), json.loads(body)["status"]))
        return sorted(seen)

    os.kill(store, signal.SIGSTOP)
    try:
        pair = send_two("in-time")
        assert select.select(pair, [], [], 0.5)[0] == [], "nobody is answered before the commit"
    finally:
        os.kill(store, signal.SIGCONT)
    assert answers_of(pair) == [(200, "accepted"), (200, "duplicate")]
    os.kill(store, signal.SIGSTOP)
    try:
        assert answers_of(send_two("too-late")) == [(503, "refused")] * 2
    finally:
        os.kill(store, signal.SIGCONT)
    again = receiver.post(callback("too-late", "failed"))
    assert ledger.told(again.status_code, again.content) == 200
    assert again.json()["status"] == "accepted", "a refusal keeps nothing"
    os.kill(receiver.pid, signal.SIGKILL)
    receiver.wait()
    until(lambda: not is_running(store), what="the store has ended, too")
    assert sorted(event["video_id"] for event in receiver.events()) == ["in-time", "too-late"]
    assert_balanced(database_of(receiver), ledger)


def in_the_future(hours: int) -> dict[str, str]:
    """An environment in which it is some hours later; only the wall clock, as nothing else is believed."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        pytest.skip("needs the Debian package faketime")
    return {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME": f"+{hours}h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


@pytest.mark.debian
@pytest.mark.fault("D7")
def test_a_redelivery_after_73_hours_is_still_a_duplicate(receiver: Receiver) -> None:
    later = in_the_future(73)
    receiver.start()
    ledger = Ledger()
    sent = callback("old", video=a_video())
    first = receiver.post(sent)
    ledger.told(first.status_code, first.content)
    receiver.settled(count=1)
    receiver.stop()
    receiver.environment = later
    receiver.start("--no-worker")
    again, fresh = receiver.post(sent), receiver.post(callback("new", video=a_video("new")))
    for answer in (again, fresh):
        ledger.told(answer.status_code, answer.content)
    assert again.json() == {"status": "duplicate", "event": first.json()["event"]}
    receiver.stop()
    receiver.environment = None
    newest, oldest = receiver.events()
    passed = datetime.fromisoformat(newest["received_at"]) - datetime.fromisoformat(oldest["received_at"])
    assert passed > timedelta(hours=72.9), "the clock went on"
    assert [(job["state"], job["attempts"]) for job in oldest["jobs"]] == [("done", 1)]
    assert len(newest["jobs"]) == 1
    assert_balanced(database_of(receiver), ledger)


EFFECTS = """\
import os, signal
from pathlib import Path
from receiver import Router

router = Router()
here = Path(__file__).parent

def effect(event, context):
    with (here / "effects").open("a") as effects:
        effects.write(f"{event.video.id} {context.idempotency_key} {os.getpid()}\\n")

@router.on("video.completed")
def charge(event, context):
    effect(event, context)
    once = here / f"once-{event.video.id}"
    if not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)

@router.on("video.completed", after="hooks.charge")
def tell(event, context):
    effect(event, context)
"""


@pytest.mark.fault("D8")
def test_a_crash_between_an_effect_and_its_report_brings_the_same_key_again(receiver: Receiver) -> None:
    receiver.handler(EFFECTS)
    receiver.start("--handlers", "hooks.py")
    ledger = Ledger()
    for video_id in ("one", "two"):
        answer = receiver.post(callback(video_id))
        ledger.told(answer.status_code, answer.content)
        receiver.settled(count=1, of=[video_id], seconds=40)
    runs = [line.split() for line in (receiver.folder / "effects").read_text().splitlines()]
    assert [video_id for video_id, _, _ in runs] == ["one"] * 3 + ["two"] * 3
    keys = [key for _, key, _ in runs]
    assert [keys[0], keys[3]] == [keys[1], keys[4]], "the same key after the crash"
    assert len(set(keys)) == 4, "and another one for each handler and each event"
    assert runs[0][2] != runs[1][2], "another process ran it again"
    receiver.stop()
    assert len(receiver.log("process.died")) == 2
    assert_balanced(database_of(receiver), ledger)


@pytest.mark.fault("D3", "D5")
def test_every_order_of_four_statuses_ends_with_one_completed_video(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    ledger = Ledger()
    orders = list(permutations(("pending", "failed", "completed", "paused")))
    url = f"{receiver.url}/webhooks/opennote"
    with httpx.Client(verify=NO_TLS, trust_env=False, timeout=30, headers=headers()) as client:
        for number, order in enumerate(orders):
            for status in order:
                answer = client.post(url, content=json.dumps(callback(f"v{number}", status)))
                ledger.told(answer.status_code, answer.content)
    assert ledger.by_status == {200: 4 * len(orders)}
    receiver.stop()
    events = receiver.events("--limit", "1000")
    for number, order in enumerate(orders):
        of_video = {event["type"]: event for event in events if event["video_id"] == f"v{number}"}
        before = order[: order.index("completed")]
        kinds = {"pending": "video.progress", "failed": "video.failed", "paused": "video.unknown"}
        ended_first = "failed" in before and before.index("failed") < order.index("pending")
        heard = {kinds[status] for status in before if not (status == "pending" and ended_first)}
        assert of_video.keys() == {"video.completed", *heard}, order
        completed = of_video["video.completed"]
        assert completed["status"] == "completed", "what came later undid nothing"
        assert completed["conflict"] == ("failed" not in before), order
        assert [job["state"] for job in completed["jobs"]] == ["ready"]
    assert_balanced(database_of(receiver), ledger)


BODIES = {
    "spaces": b' {\r\n "video_id" :\t"spaces" , "status":"failed"}\n\n',
    "order": b'{"z":1,"video_id":"order","a":2,"status":"failed","m":[1.0,1e2,-0,1E+2]}',
    "escapes": rb'{"video_id":"\u0065scapes","status":"failed","message":"\u00e9\/\ud83d\ude00\u001b"}',
    "utf-8": '{"video_id":"utf-8","status":"failed","message":"é / 😀 e\u0301 \u2028"}'.encode(),
    "large": b'{"video_id":"large" , "status":"failed","pad":"' + rb"\u002f\/+A" * 20_000 + b'" }\n',
}


@pytest.mark.fault("A5")
def test_a_body_is_kept_byte_for_byte_whatever_its_spelling(receiver: Receiver) -> None:
    """What a signature would be checked over, now or later: never a body that was written anew."""
    receiver.start("--no-worker")
    ledger = Ledger()
    for body in BODIES.values():
        answer = receiver.post(body)
        ledger.told(answer.status_code, answer.content)
    events = dict(zip(BODIES, ledger.acknowledged, strict=True))
    receiver.stop()

    def raw(name: str) -> bytes:
        return receiver.run("show", events[name], "--raw").stdout.encode()

    assert dict(zip(BODIES, each(raw, BODIES), strict=True)) == BODIES
    shown = {event["video_id"]: event["bytes"] for event in receiver.events()}
    assert shown == {name: len(body) for name, body in BODIES.items()}
    assert receiver.show(events["large"])["body_sha256"] == sha256(BODIES["large"])
    assert_balanced(database_of(receiver), ledger)
