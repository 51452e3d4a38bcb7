"""Signed callbacks and the API behind them, through the real program and the sandbox."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import FileHost, Receiver, a_video, callback, headers, until
from tests.acceptance.standins import API_KEY, PROMPT, SECRET, called_receiver, signed
from tests.invariant import Ledger, assert_balanced

Receivers = Callable[..., Receiver]
ORDERS = list(dict.fromkeys(permutations(["video.completed", "video.failed", "video.completed"])))
NEW_SECRET = "whsec_dGhlIHNlY3JldCBhZnRlciB0aGUgcm90YXRpb24="


def body_of(video_id: str, kind: str = "video.completed") -> bytes:
    return json.dumps({"object": "event", "type": kind, "data": {"id": video_id}}).encode()


def post(receiver: Receiver, body: bytes, *, path: str = "openai", **how: Any) -> httpx.Response:
    sent = signed(body, **{"at": time.time(), **how})
    url = f"{receiver.url}/webhooks/{path}"
    return httpx.post(url, content=body, headers=sent, trust_env=False, timeout=30)


def jobs_of(event: dict[str, Any]) -> dict[str, str]:
    return {job["handler"]: job["state"] for job in event["jobs"]}


def reasons(event: dict[str, Any]) -> dict[str, str]:
    return {job["handler"]: job["last_error"] for job in event["jobs"] if job["last_error"]}


def everything_in(folder: Path) -> bytes:
    return b"".join(
        path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "receiver.toml"
    )


@pytest.mark.fault("O1")
def test_a_video_that_is_called_back_is_looked_up_and_saved_with_its_pictures(receivers: Receivers) -> None:
    keeping = '[handlers.save_video]\nvariants = ["video", "thumbnail", "spritesheet"]'
    with called_receiver(receivers, "--delay", "0.3s", more=keeping) as (receiver, sandbox):
        receiver.start()
        video_id = sandbox.create()
        [event] = receiver.settled(count=1, seconds=60)
        contents = {
            variant: sandbox.content(video_id, variant=variant)
            for variant in ("video", "thumbnail", "spritesheet")
        }
        found = sandbox.show(video_id)

    assert (event["video_id"], event["type"], event["source"]) == (video_id, "video.completed", "openai")
    assert jobs_of(event) == {
        "receiver.retrieve": "done",
        "save_video": "done",
        "save_video.pictures": "done",
    }
    saved = {path.name: path.read_bytes() for path in receiver.videos.glob("[!.]*") if path.suffix != ".json"}
    assert sorted(saved.values()) == sorted(contents.values())
    assert saved[f"{video_id}.mp4"] == contents["video"]
    assert {name.partition(".")[0].rpartition("-")[2] for name in saved} >= {"thumbnail", "spritesheet"}
    shown = receiver.show(event["id"])
    assert shown["object"] == found
    assert shown["payload"]["data"] == {"id": video_id}
    assert (shown["video"]["model"], shown["video"]["status"]) == ("sora-2", "completed")
    assert all(job["expires_at"] for job in shown["jobs"] if job["handler"] != "receiver.retrieve")
    receiver.stop()
    assert API_KEY.encode() not in everything_in(receiver.folder)
    assert SECRET.removeprefix("whsec_").encode() not in everything_in(receiver.folder)


def test_why_a_video_failed_is_known_to_its_handlers(receivers: Receivers) -> None:
    with called_receiver(receivers, "--delay", "0.2s", "--failed", "1") as (receiver, sandbox):
        receiver.handler(
            "from receiver import Cancel, Router\n\nrouter = Router()\n\n"
            '@router.on("video.failed")\ndef lament(event):\n'
            "    raise Cancel(f'{event.video.error.code}: {event.video.error.message}')\n"
        )
        receiver.start("--handlers", "hooks.py")
        error = sandbox.show(sandbox.create())["error"] or None
        [event] = receiver.settled(count=1, seconds=60)
        error = sandbox.show(event["video_id"])["error"]

    assert jobs_of(event) == {"receiver.retrieve": "done", "hooks.lament": "cancelled"}
    assert reasons(event)["hooks.lament"] == f"{error['code']}: {error['message']}"


def test_an_api_that_is_out_of_order_is_asked_again(receivers: Receivers) -> None:
    with called_receiver(receivers, "--delay", "0.2s") as (receiver, sandbox):
        receiver.start()
        video_id = sandbox.create()
        sandbox.misbehave(broken=1)
        receiver.logged("job.retried", seconds=60)
        sandbox.misbehave(broken=0)
        [event] = receiver.settled(count=1, seconds=60)
        assert receiver.files()[f"{video_id}.mp4"] == sandbox.content(video_id)

    assert jobs_of(event) == {"receiver.retrieve": "done", "save_video": "done"}
    attempts = receiver.show(event["id"])["attempts"]
    assert "500 Internal Server Error from the provider's API" in [attempt["error"] for attempt in attempts]


def test_a_video_that_the_api_does_not_know_ends_dead_with_the_reason(receivers: Receivers) -> None:
    with called_receiver(receivers) as (receiver, _):
        receiver.start()
        assert receiver.run("send", "openai", "--id", "video_nobody", "--to", receiver.url).status == 0
        [event] = receiver.settled(count=1, seconds=60)

    assert jobs_of(event) == {"receiver.retrieve": "dead", "save_video": "cancelled"}
    assert reasons(event) == {
        "receiver.retrieve": "404 Not Found: the provider knows no such video; "
        "it was deleted, or is another account's",
        "save_video": "receiver.retrieve is dead",
    }


def test_a_wrong_key_is_told_and_mended_without_a_loss(receivers: Receivers) -> None:
    with called_receiver(receivers, "--delay", "0.2s", api_key="sk-wrong") as (receiver, sandbox):
        receiver.start()
        sandbox.create()
        receiver.logged("job.retried", seconds=60)
        [event] = receiver.events()
        assert reasons(event)["receiver.retrieve"] == (
            "401 Unauthorized: the api_key of [sources.openai] is wrong"
        )
        receiver.config.write_text(receiver.config.read_text().replace("sk-wrong", API_KEY))
        assert receiver.process is not None
        receiver.process.send_signal(signal.SIGHUP)
        [event] = receiver.settled(count=1, seconds=60)

    assert jobs_of(event) == {"receiver.retrieve": "done", "save_video": "done"}


@pytest.mark.fault("S10")
def test_a_content_that_has_expired_ends_dead_and_says_what_to_do(receivers: Receivers) -> None:
    with called_receiver(receivers, "--delay", "0.1s", "--expires-after", "0.5s") as (receiver, sandbox):
        receiver.start("--no-worker")
        video_id = sandbox.create()
        until(lambda: receiver.events(), what="the callback has come")
        until(lambda: sandbox.show(video_id)["expires_at"] < time.time(), what="it has expired")
        receiver.stop()
        receiver.start()
        [event] = receiver.settled(count=1, seconds=60)

    assert jobs_of(event) == {"receiver.retrieve": "done", "save_video": "dead"}
    reason = reasons(event)["save_video"]
    assert reason.startswith("link_expired: 404 Not Found, the link has expired; ")
    assert "order the video again" in reason


def test_a_worker_that_comes_late_fetches_first_what_expires_first(
    receivers: Receivers, file_host: FileHost
) -> None:
    link = file_host.give("lasting.mp4", a_video())
    with called_receiver(receivers, "--delay", "0.1s", top=f"{PROMPT}concurrency = 1\n") as (
        receiver,
        sandbox,
    ):
        text = receiver.config.read_text().replace("http://127.0.0.1:9/videofs", file_host.base)
        receiver.config.write_text(text)
        receiver.start("--no-worker")
        for number in range(12):
            receiver.accepted(callback(f"lasting-{number}", url=link))
        expiring = {sandbox.create() for _ in range(2)}
        until(lambda: len(receiver.events()) == 14, what="all have come")
        receiver.stop()
        receiver.start()
        receiver.settled(count=14, seconds=60)
        saved = [line["video"] for line in receiver.log("video.saved")]

    assert len(saved) == 14
    assert expiring <= set(saved[:5]), saved


def test_a_worker_that_is_narrowed_does_the_receivers_own_jobs_too(receivers: Receivers) -> None:
    with called_receiver(receivers, "--delay", "0.1s") as (receiver, sandbox):
        receiver.start("--workers", "1", "--handlers", "log", "--handlers", "save_video")
        sandbox.create()
        [event] = receiver.settled(count=1, seconds=60)
        assert jobs_of(event)["receiver.retrieve"] == "done"
        worker = [line["handlers"] for line in receiver.log("worker.started")]

    assert worker == [["log", "receiver.confirm", "receiver.retrieve", "save_video"]]


# Faults.


@pytest.mark.fault("A5", "A6", "A9", "A10")
def test_what_is_not_signed_as_it_should_be_is_denied_with_one_body(receivers: Receivers) -> None:
    with called_receiver(receivers) as (receiver, _):
        receiver.start("--no-worker")
        ledger = Ledger()
        now, body = time.time(), body_of("video_1")
        right = signed(body, at=now)
        wrong: dict[str, dict[str, str]] = {
            "another secret": signed(body, at=now, secret=NEW_SECRET),
            "another body": signed(body + b" ", at=now),
            "too old": signed(body, at=now - 400),
            "from the future": signed(body, at=now + 400),
            "a dot in its id": signed(body, at=now, message="wh.1"),
            "no id": {name: value for name, value in right.items() if name != "webhook-id"},
            "no list": {**right, "webhook-signature": ""},
            "a later version": {
                **right,
                "webhook-signature": right["webhook-signature"].replace("v1,", "v2,"),
            },
            "a huge list": {**right, "webhook-signature": " ".join(["v1,x"] * 2000)},
            "an odd time": {**right, "webhook-timestamp": f"+{right['webhook-timestamp']}"},
            "bytes that are no text": {**right, "webhook-signature": "v1,\xff"},
        }
        answers = {}
        for case, sent in wrong.items():
            raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
            answer = httpx.post(f"{receiver.url}/webhooks/openai", content=body, headers=raw, trust_env=False)
            answers[case] = (ledger.told(answer.status_code, answer.content), answer.content)
        assert {status for status, _ in answers.values()} == {401}, answers
        assert len({content for _, content in answers.values()}) == 1
        good = post(receiver, body)
        assert ledger.told(good.status_code, good.content) == 200
        receiver.stop()
        told = {row["reason"] for row in receiver.look("rejections")}

    assert {"webhook-signature is wrong", "webhook-timestamp is too old", "webhook-id is missing"} <= told
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)


@pytest.mark.fault("A7", "D1", "D2", "D4")
def test_a_callback_that_is_repeated_is_one_event_and_a_contradiction_a_conflict(
    receivers: Receivers,
) -> None:
    with called_receiver(receivers) as (receiver, _):
        receiver.start("--no-worker")
        ledger = Ledger()

        def tell(body: bytes, **how: Any) -> str:
            answer = post(receiver, body, **how)
            ledger.told(answer.status_code, answer.content)
            return str(answer.json()["status"])

        assert tell(body_of("video_1"), secret=NEW_SECRET) != "accepted", "a stranger reserves nothing"
        threads = [threading.Thread(target=tell, args=(body_of("video_1"),)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert tell(body_of("video_1"), message="wh_2") == "duplicate"
        assert tell(body_of("video_1", "video.failed"), message="wh_3") == "duplicate"
        receiver.stop()
        [event] = receiver.events()

    assert (event["duplicates"], event["conflict"]) == (21, True)
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)


@pytest.mark.fault("D6")
def test_a_duplicate_waits_until_the_first_is_durable(receivers: Receivers) -> None:
    with called_receiver(receivers) as (receiver, _):
        receiver.start("--no-worker")
        store = receiver.child("receiver.store.process")
        said: list[str] = []
        threads = [
            threading.Thread(target=lambda: said.append(post(receiver, body_of("video_1")).json()["status"]))
            for _ in range(2)
        ]
        os.kill(store, signal.SIGSTOP)
        try:
            for thread in threads:
                thread.start()
            threads[0].join(0.5)
            assert said == [], "nobody is answered before the commit"
        finally:
            os.kill(store, signal.SIGCONT)
        for thread in threads:
            thread.join(30)
        assert sorted(said) == ["accepted", "duplicate"]


@pytest.mark.fault("D3", "D5")
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_of_ends_ends_the_same(receivers: Receivers, order: tuple[str, ...]) -> None:
    with called_receiver(receivers) as (receiver, _):
        receiver.start("--no-worker")
        for number, kind in enumerate(order):
            assert post(receiver, body_of("video_1", kind), message=f"wh_{number}").status_code == 200
        receiver.stop()
        events = {event["type"]: event for event in receiver.events()}

    completed = events["video.completed"]
    assert completed["warnings"] == (["after_failure"] if "video.failed" in events else [])
    assert ("video.failed" in events) == (order[0] == "video.failed")
    assert sum(event["duplicates"] for event in events.values()) == len(order) - len(events)


@pytest.mark.fault("A8")
def test_secrets_are_rotated_under_load_without_one_refusal(receivers: Receivers) -> None:
    with called_receiver(receivers) as (receiver, _):
        receiver.start("--no-worker")
        ledger = Ledger()
        secret = SECRET
        stop = threading.Event()
        used: dict[int, str] = {}

        def send(sender: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                used[sender] = secret
                answer = post(receiver, body_of(f"v{sender}-{number}", "video.failed"), secret=secret)
                ledger.told(answer.status_code, answer.content)

        def everybody_sends(count: int = 15) -> None:
            enough = len(ledger.answers) + count
            until(lambda: len(ledger.answers) >= enough, what="callbacks with the secrets of now")

        def configure(*secrets: str) -> None:
            reloads = len(receiver.log("settings.reloaded"))
            lines = receiver.config.read_text().splitlines()
            new = f"webhook_secrets = {json.dumps(list(secrets))}"
            changed = [new if line.strip().startswith("webhook_secrets") else line for line in lines]
            receiver.config.write_text("\n".join(changed))
            assert receiver.process is not None
            receiver.process.send_signal(signal.SIGHUP)
            receiver.logged("settings.reloaded", count=reloads + 1)

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(3)]
        for thread in threads:
            thread.start()
        try:
            everybody_sends()
            configure(SECRET, NEW_SECRET)
            everybody_sends()
            secret = NEW_SECRET
            until(lambda: set(used.values()) == {NEW_SECRET}, what="everybody uses the new secret")
            configure(NEW_SECRET)
            everybody_sends()
        finally:
            stop.set()
            for thread in threads:
                thread.join(30)
        assert set(ledger.by_status) == {200}, "every sender with a live secret was believed"
        former = post(receiver, body_of("late"), secret=SECRET)
        assert ledger.told(former.status_code, former.content) == 401, "the old secret is over"
        receiver.stop()

    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)


@pytest.mark.fault("A11")
def test_credentials_of_one_kind_open_no_address_of_another(receivers: Receivers) -> None:
    with called_receiver(receivers) as (receiver, _):
        receiver.start("--no-worker")
        body = body_of("video_1")
        static = headers("v1")
        sent = {"signed": signed(body, at=time.time()), "static": static}
        seen = {
            (path, how): httpx.post(
                f"{receiver.url}/webhooks/{path}", content=body, headers=how_sent, trust_env=False
            ).status_code
            for path in ("openai", "opennote", "ope")
            for how, how_sent in sent.items()
        }

    assert seen == {
        ("openai", "signed"): 200,
        ("openai", "static"): 401,
        ("opennote", "signed"): 401,
        ("opennote", "static"): 200,
        ("ope", "signed"): 404,
        ("ope", "static"): 404,
    }


@pytest.mark.fault("A12")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("webhook_secrets = []", "webhook_secrets: needs at least one"),
        ('webhook_secrets = [""]', "webhook_secrets: must not be empty"),
        ('webhook_secrets = ["whsec_not base64"]', "webhook_secrets: a secret is base64"),
        ("", "webhook_secrets (or webhook_secrets_file): is missing"),
    ],
)
def test_without_a_good_secret_nothing_starts(receivers: Receivers, change: str, words: str) -> None:
    receiver = receivers(f'[sources.openai]\nkind = "openai"\napi_key = "k"\n{change}')

    ended = receiver.run("serve", "--port", "0")

    assert (ended.status, ended.stdout) == (2, "")
    assert len(ended.complaints) == 1
    assert f"sources.openai.{words}" in ended.complaints[0]


# Samples.


def test_send_signs_thin_events_of_every_kind(receivers: Receivers) -> None:
    with called_receiver(receivers) as (receiver, _):
        receiver.start("--no-worker")
        to = ("--to", receiver.url)
        for kind in ("completed", "failed", "unknown"):
            assert receiver.run("send", "openai", *to, "--type", kind, "--id", f"v_{kind}").status == 0
        [first, again] = receiver.look("send", "openai", *to, "--id", "v_again", "--repeat", "2")
        receiver.stop()
        events = {event["type"]: event for event in receiver.events()}

    assert (first["answer"]["status"], again["answer"]["status"]) == ("accepted", "duplicate")
    assert events.keys() == {"video.completed", "video.failed", "video.unknown"}
    assert events["video.failed"]["event_key"] == "v_failed:failed"
    assert events["video.unknown"]["event_key"].endswith(":other:video.archived")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ope",), "ope is a gateway that never calls"),
        (("openai", "--type", "progress"), "--type: must be one of completed, failed, unknown"),
        (("openai", "--inline"), "carry no video"),
        (("openai", "--url", "https://x"), "carry no video"),
    ],
)
def test_a_sample_that_there_is_none_of_is_wrong_usage(
    receivers: Receivers, arguments: tuple[str, ...], words: str
) -> None:
    receiver = receivers(
        '[sources.ope]\nkind = "openai-compatible"\napi_key = "k"\napi_url = "https://api.example.com"\n'
        f'[sources.openai]\nkind = "openai"\napi_key = "k"\nwebhook_secrets = ["{SECRET}"]\n'
    )

    ended = receiver.run("send", *arguments)

    assert (ended.status, ended.stdout) == (2, "")
    assert words in ended.stderr
