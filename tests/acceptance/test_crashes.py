"""kill -9, of each process at a bad moment: what was acknowledged is there, and is done."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import (
    NO_TLS,
    Receiver,
    a_video,
    callback,
    headers,
    is_running,
    processes_in,
    until,
)

# Runs until there is a file "gate"; says of each run which process it was in.
GATED = """\
from pathlib import Path
import asyncio, os
from receiver import Router

router = Router()
here = Path(__file__).parent

@router.on("video.completed")
async def wait(event, context):
    with open(here / "runs", "a") as runs:
        runs.write(f"{event.video.id} {context.attempt} {os.getpid()}\\n")
    while not (here / "gate").exists():
        await asyncio.sleep(0.02)
    return "through"
"""
SOON_SECONDS = 10.0  # far below the lease of 60 s


def gated(receiver: Receiver) -> Receiver:
    """Start a receiver with the gated handler."""
    receiver.handler(GATED)
    return receiver.start("--handlers", "hooks.py")


def runs(receiver: Receiver) -> list[list[str]]:
    """Video, attempt and process of every run so far."""
    path = receiver.folder / "runs"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def only_job(receiver: Receiver) -> dict[str, object]:
    """The only job of the only event, after it has ended."""
    [event] = receiver.settled(count=1)
    (job,) = event["jobs"]
    return {name: job[name] for name in ("state", "attempts")}


def outcomes(receiver: Receiver) -> list[str]:
    """How every attempt of the only event ended."""
    [event] = receiver.events()
    return [attempt["outcome"] for attempt in receiver.show(event["id"])["attempts"]]


def test_kill_9_between_the_answer_and_the_handler_loses_nothing(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    event = receiver.accepted(callback("v1", video=a_video()))
    os.kill(receiver.pid, signal.SIGKILL)
    assert receiver.wait() == -signal.SIGKILL
    assert not receiver.videos.exists()
    receiver.start()
    [settled] = receiver.settled(count=1)
    assert (settled["id"], settled["jobs"][0]["state"]) == (event, "done")
    assert list(receiver.files().values()) == [a_video()]


def test_kill_9_in_the_middle_of_a_stream_of_callbacks_loses_no_acknowledged_one(receiver: Receiver) -> None:
    receiver.start()
    acknowledged: dict[str, str] = {}
    enough = threading.Event()

    def send(name: str) -> None:
        """Post callbacks, half of them with a body file, until nobody answers any more."""
        with httpx.Client(verify=NO_TLS, trust_env=False, timeout=30) as client:
            for number in range(1000):
                video_id = f"{name}{number}"
                video = a_video(video_id, padding=number % 2 * 100_000)
                try:
                    answer = client.post(
                        f"{receiver.url}/webhooks/opennote",
                        json=callback(video_id, video=video),
                        headers=headers(video_id),
                    )
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    acknowledged[video_id] = answer.json()["event"]
                if len(acknowledged) >= 40:
                    enough.set()

    threads = [threading.Thread(target=send, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    assert enough.wait(30)
    os.kill(receiver.pid, signal.SIGKILL)
    for thread in threads:
        thread.join(30)
    receiver.wait()
    receiver.start()
    events = receiver.settled(count=len(acknowledged))
    events = receiver.events("--limit", "10000")
    found = [event["id"] for event in events]
    assert len(found) == len(set(found))
    assert set(acknowledged.values()) <= set(found)
    assert len(found) <= len(acknowledged) + len(threads), "at most what was under way is there unanswered"
    assert {job["state"] for event in events for job in event["jobs"]} == {"done"}
    assert len(receiver.files()) == len(found)
    assert receiver.halves() == []
    assert receiver.run("check").status == 0


def test_kill_9_of_serve_ends_its_children_and_a_new_one_starts_at_once(receiver: Receiver) -> None:
    gated(receiver)
    event = receiver.accepted(callback("v1"))
    until(lambda: len(runs(receiver)) == 1)
    children = list(receiver.family())
    os.kill(receiver.pid, signal.SIGKILL)
    receiver.wait()
    until(lambda: not any(map(is_running, children)), seconds=1, what="the end of the children")
    began = time.monotonic()
    receiver.start("--handlers", "hooks.py")
    until(lambda: len(runs(receiver)) == 2, seconds=SOON_SECONDS, what="a second run of the job")
    assert time.monotonic() - began < SOON_SECONDS
    (receiver.folder / "gate").touch()
    assert only_job(receiver) == {"state": "done", "attempts": 1}
    assert outcomes(receiver) == ["lost", "done"]
    assert [attempt for _, attempt, _ in runs(receiver)] == ["1", "1"], "the lost one cost nothing"
    assert receiver.events()[0]["id"] == event


def test_serve_starts_while_the_killed_one_is_still_on_its_way_out(receiver: Receiver) -> None:
    receiver.start()
    first = receiver.accepted(callback("v1", video=a_video("1")))
    os.kill(receiver.pid, signal.SIGKILL)
    receiver.start()  # at once, not even having waited for the end of the former process
    second = receiver.accepted(callback("v2", video=a_video("2")))
    assert {event["id"] for event in receiver.settled(count=2)} == {first, second}


def test_kill_9_of_the_store_is_503_for_a_moment_and_jobs_finish(receiver: Receiver) -> None:
    gated(receiver).ready()
    receiver.accepted(callback("running"))
    until(lambda: len(runs(receiver)) == 1)
    killed = receiver.child("receiver.store.process")
    seen: list[int] = []
    recorded: dict[str, str] = {}
    with httpx.Client(verify=NO_TLS, trust_env=False, timeout=30) as client:

        def post() -> int:
            video_id = f"v{len(seen)}"
            answer = client.post(
                f"{receiver.url}/webhooks/opennote", json=callback(video_id), headers=headers(video_id)
            )
            seen.append(answer.status_code)
            if answer.status_code == 503:
                assert int(answer.headers["Retry-After"]) > 0
            else:
                recorded[video_id] = answer.json()["event"]
            return answer.status_code

        assert post() == 200
        os.kill(killed, signal.SIGKILL)
        until(lambda: post() == 503, what="503 while there is no store")
        until(lambda: post() == 200, seconds=SOON_SECONDS, what="200 again")
    assert set(seen) == {200, 503}
    assert receiver.child("receiver.store.process") != killed
    (receiver.folder / "gate").touch()
    events = receiver.settled(count=len(recorded) + 1)
    assert {event["id"] for event in events} >= set(recorded.values())
    assert {event["video_id"] for event in events} == {"running", *recorded}, "what was refused is not there"
    done = {event["video_id"]: (event["jobs"][0]["state"], event["jobs"][0]["attempts"]) for event in events}
    assert set(done.values()) == {("done", 1)}
    assert len(runs(receiver)) == len(events), "the worker went on; nothing ran twice"


def test_kill_9_of_the_store_again_and_again_under_load_delays_no_job_for_long(receiver: Receiver) -> None:
    """Claims whose answer died with the store are given back at once, not when a lease runs out."""
    receiver.handler(
        "from receiver import Router\nrouter = Router()\n@router.on('video.failed')\ndef f(event): ...\n"
    )
    receiver.start("--handlers", "hooks.py").ready()
    acknowledged: set[str] = set()
    is_over = threading.Event()

    def send(name: str) -> None:
        url = f"{receiver.url}/webhooks/opennote"
        with httpx.Client(verify=NO_TLS, trust_env=False, timeout=30) as client:
            number = 0
            while not is_over.is_set():
                number += 1
                video_id = f"{name}{number}"
                answer = client.post(url, json=callback(video_id, "failed"), headers=headers())
                assert answer.status_code in (200, 503)
                if answer.status_code == 200:
                    acknowledged.add(answer.json()["event"])

    def reach(goal: int) -> None:
        until(lambda: len(acknowledged) >= goal, what=f"{goal} acknowledged callbacks")

    threads = [threading.Thread(target=send, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    try:
        for kill in range(1, 5):
            reach(kill * 30)
            before = len(acknowledged)
            os.kill(receiver.child("receiver.store.process"), signal.SIGKILL)
            reach(before + 8)
    finally:
        is_over.set()
        for thread in threads:
            thread.join(30)
    events = receiver.settled(count=len(acknowledged), seconds=SOON_SECONDS)
    assert acknowledged <= {event["id"] for event in events}
    assert {job["state"] for event in events for job in event["jobs"]} == {"done"}


@pytest.mark.fault("R1")
def test_kill_9_of_a_worker_has_its_job_run_again_promptly(receiver: Receiver) -> None:
    gated(receiver)
    receiver.accepted(callback("v1"))
    until(lambda: len(runs(receiver)) == 1)
    first = receiver.child("receiver.worker")
    assert runs(receiver)[0][2] == str(first)
    os.kill(first, signal.SIGKILL)
    until(lambda: len(runs(receiver)) == 2, seconds=SOON_SECONDS, what="a run in the replacement")
    assert runs(receiver)[1][2] == str(receiver.child("receiver.worker")) != str(first)
    (receiver.folder / "gate").touch()
    assert only_job(receiver) == {"state": "done", "attempts": 1}
    assert outcomes(receiver) == ["lost", "done"]
    assert [line["name"] for line in receiver.log("process.died")] == ["worker 1"]


@pytest.mark.fault("D8")
def test_kill_9_of_a_worker_between_the_file_and_its_report_writes_the_same_name_again(
    receiver: Receiver,
) -> None:
    receiver.handler(
        "import asyncio\nfrom pathlib import Path\nfrom receiver import Router\n"
        "router = Router()\nhere = Path(__file__).parent\n"
        "@router.on('video.completed')\nasync def save(event, context):\n"
        "    saved = await context.save_video('{id}')\n"
        "    if not (here / 'gate').exists():\n"
        "        (here / 'saved').touch()\n        await asyncio.sleep(600)\n"
        "    return str(saved.path)\n"
    )
    receiver.start("--handlers", "hooks.py")
    receiver.accepted(callback("v1", video=a_video()))
    until((receiver.folder / "saved").exists)
    (receiver.folder / "gate").touch()
    os.kill(receiver.child("receiver.worker"), signal.SIGKILL)
    assert only_job(receiver) == {"state": "done", "attempts": 1}
    assert receiver.files() == {"v1.mp4": a_video()}, "the same event writes the same name again"
    assert receiver.halves() == []


@pytest.mark.fault("R2", "O6")
def test_a_worker_that_is_stopped_for_longer_than_its_lease_loses_its_job(
    receivers: Callable[..., Receiver],
) -> None:
    receiver = receivers('[worker]\nlease = "1s"\n')
    receiver.handler(GATED)
    receiver.start("--handlers", "hooks.py", "--workers", "2")
    until(lambda: len(receiver.log("worker.started")) == 2)
    receiver.accepted(callback("v1"))
    until(lambda: len(runs(receiver)) == 1)
    paused = int(runs(receiver)[0][2])
    os.kill(paused, signal.SIGSTOP)
    try:
        until(lambda: len(runs(receiver)) == 2, seconds=SOON_SECONDS, what="a run in the other worker")
        assert runs(receiver)[1][2] != str(paused)
        (receiver.folder / "gate").touch()
        assert only_job(receiver) == {"state": "done", "attempts": 1}
    finally:
        os.kill(paused, signal.SIGCONT)
    until(lambda: receiver.log("job.lost", "worker.lapsed"), what="what it still does is in vain, or stopped")
    assert only_job(receiver) == {"state": "done", "attempts": 1}
    assert outcomes(receiver) == ["lost", "done"]


CRASHES = """\
import os, sys
from pathlib import Path
from receiver import Router

router = Router()
here = Path(__file__).parent
deeds = {
    "exits": lambda: os._exit(1),
    "kills": lambda: os.kill(os.getpid(), 9),
    "leaves": lambda: sys.exit(1),
    "interrupts": lambda: (_ for _ in ()).throw(KeyboardInterrupt),
}

@router.on("video.failed")
def crash(event):
    once = here / event.video.id
    if not once.exists():
        once.touch()
        deeds[event.video.id]()
"""


@pytest.mark.fault("R5")
def test_a_handler_that_ends_its_process_ends_neither_the_endpoint_nor_the_others(receiver: Receiver) -> None:
    receiver.handler(CRASHES)
    receiver.start("--handlers", "hooks.py", "--handlers", "save_video")
    deeds = ("exits", "kills", "leaves", "interrupts")
    for deed in deeds:
        receiver.accepted(callback(deed, "failed"))
        receiver.accepted(callback(f"beside-{deed}", video=a_video(deed)))
        until((receiver.folder / deed).exists)
    events = {event["video_id"]: event for event in receiver.settled(count=8)}
    assert {name: event["jobs"][0]["state"] for name, event in events.items()} == {
        name: "done" for deed in deeds for name in (deed, f"beside-{deed}")
    }
    assert sorted(receiver.files().values()) == sorted(map(a_video, deeds))
    # What a dying worker has claimed just before is run alone, and kills that worker then.
    died = {line["name"] for line in receiver.log("process.died")}
    assert "worker 1" in died
    assert all(name.startswith("worker ") for name in died)


@pytest.mark.fault("R11")
def test_a_handler_that_blocks_delays_no_acknowledgement(receiver: Receiver) -> None:
    receiver.handler(
        "import time\nfrom pathlib import Path\nfrom receiver import Router\nrouter = Router()\n"
        "@router.on('video.completed')\nasync def block(event):\n"
        "    if event.video.id == 'v0':\n"
        "        Path(__file__).with_name('blocks').touch()\n        time.sleep(3)\n"
    )
    receiver.start("--handlers", "hooks.py")
    receiver.accepted(callback("v0"))
    until((receiver.folder / "blocks").exists)
    began = time.monotonic()
    for number in range(1, 21):
        receiver.accepted(callback(f"v{number}"))
    assert time.monotonic() - began < 2
    [said] = receiver.logged("worker.stalled")
    assert said["handler"] == "hooks.block"


@pytest.mark.fault("R11")
def test_a_handler_that_never_gives_the_loop_back_ends_its_worker_and_others_go_on(
    receiver: Receiver,
) -> None:
    receiver.handler(
        "from pathlib import Path\nfrom receiver import Router\nrouter = Router()\n"
        "again = Path(__file__).with_name('again')\n"
        "@router.on('video.completed', timeout='1s')\nasync def spin(event):\n"
        "    if not again.exists():\n        again.touch()\n        while True:\n            pass\n"
        "@router.on('video.failed')\ndef beside(event):\n    return 'fine'\n"
    )
    receiver.start("--handlers", "hooks.py")
    receiver.accepted(callback("v1"))
    until((receiver.folder / "again").exists)
    receiver.accepted(callback("v2", "failed"))

    [said] = receiver.logged("worker.killed")

    assert said["handler"] == "hooks.spin"
    states = {event["video_id"]: event["jobs"][0]["state"] for event in receiver.settled(count=2)}
    assert states == {"v1": "done", "v2": "done"}


def test_log_lines_that_nobody_reads_any_more_stop_nothing(receiver: Receiver) -> None:
    receiver.handler(
        "import os\nfrom receiver import Router\nrouter = Router()\n"
        "@router.on('video.completed')\nasync def work(event, context):\n"
        "    reader, writer = os.pipe()\n    os.close(reader)\n    os.dup2(writer, 2)\n"
        "    context.log.info('video.seen')\n    return 'fine'\n"
    )
    receiver.start("--handlers", "hooks.py")

    receiver.accepted(callback("v1"))

    [event] = receiver.settled(count=1)
    assert event["jobs"][0]["state"] == "done"


def test_a_new_start_finds_neither_socket_nor_lock_in_its_way(receiver: Receiver, tmp_path: Path) -> None:
    for _ in range(3):
        receiver.start("--no-worker")
        receiver.accepted(callback(f"v{len(receiver.former)}", "failed"))
        os.kill(receiver.pid, signal.SIGKILL)
        receiver.wait()
    assert len(receiver.events()) == 3, "a command opens the store itself when no server runs"
    until(lambda: not processes_in(tmp_path))
