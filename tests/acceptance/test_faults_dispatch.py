"""Handlers that kill, hoard, hog and fail: they end as they should, others go on, and it shows which."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from receiver.lifeline import REPLACE_ME
from tests.acceptance.conftest import (
    NO_TLS,
    Event,
    Receiver,
    callback,
    children_of,
    each,
    headers,
    until,
)

PREAMBLE = """\
import asyncio, os, time
from pathlib import Path
from receiver import Router

router = Router()
here = Path(__file__).parent

def note(name, text):
    with open(here / name, "a") as notes:
        notes.write(f"{text}\\n")

"""
DEADLY = (
    PREAMBLE
    + """\
@router.on("video.failed")
async def poison(event):
    await asyncio.sleep(0.1)
    note("deaths", event.video.id)
    os._exit(int(event.video.id))

@router.on("video.completed")
async def work(event):
    await asyncio.sleep(0.3)
    note("done", event.video.id)
"""
)


def flood(receiver: Receiver, videos: list[str], status: str = "completed") -> None:
    """Post a callback for each video, over a few connections."""

    def send(share: list[str]) -> None:
        with httpx.Client(verify=NO_TLS, trust_env=False, timeout=60) as client:
            for video in share:
                url = f"{receiver.url}/webhooks/opennote"
                answer = client.post(url, json=callback(video, status), headers=headers(video))
                assert answer.status_code == 200

    each(send, [videos[start::4] for start in range(4)])


def notes(receiver: Receiver, name: str) -> list[str]:
    """What handlers have noted."""
    path = receiver.folder / name
    return path.read_text().splitlines() if path.exists() else []


def job_of(event: Event) -> tuple[str, str, int]:
    """State, last error and attempts of an event's only job."""
    (job,) = event["jobs"]
    return job["state"], job["last_error"] or "", job["attempts"]


@pytest.mark.fault("R5")
def test_handlers_that_end_their_process_are_dead_after_three_deaths_and_nobody_else_is(
    receivers: Callable[..., Receiver],
) -> None:
    receiver = receivers('[worker]\npriority = "normal"\n')
    receiver.handler(DEADLY)
    receiver.start("--handlers", "hooks.py", "--no-worker")
    statuses = ["0", "2"]  # as if it had no more to do, and as if it refused to start
    flood(receiver, statuses, "failed")
    flood(receiver, [f"v{number}" for number in range(20)])
    receiver.stop()
    receiver.start("--handlers", "hooks.py")

    receiver.logged("job.suspected")
    flood(receiver, ["meanwhile"])
    until(lambda: "meanwhile" in notes(receiver, "done"), what="other work, while suspects wait")
    assert not receiver.log("job.failed")
    events = {event["video_id"]: event for event in receiver.settled(count=23, seconds=60)}

    for status in statuses:
        state, error, attempts = job_of(events.pop(status))
        assert (state, attempts) == ("dead", 1)
        assert (
            error == f"its process died 3 times, at last because its worker ended with exit status {status}"
        )
    assert {job_of(event)[:2] for event in events.values()} == {("done", "")}
    assert set(Counter(notes(receiver, "deaths")).values()) <= {2, 3}, "once it may have died beside another"
    died = receiver.log("job.failed")
    assert [(line["handler"], line["crashes"]) for line in died] == [("hooks.poison", 3)] * 2


@pytest.mark.fault("R5")
def test_a_handler_that_eats_memory_is_dead_after_three_deaths_with_that_reason(
    receivers: Callable[..., Receiver],
) -> None:
    receiver = receivers('[worker]\nmax_memory = "200MiB"\n')
    receiver.handler(
        PREAMBLE + "@router.on('video.failed')\ndef hoard(event):\n"
        "    note('hoards', event.video.id)\n    kept = b'x' * (400 << 20)\n    time.sleep(600)\n"
        "@router.on('video.completed')\ndef work(event):\n    return 'fine'\n"
    )
    receiver.start("--handlers", "hooks.py")
    receiver.accepted(callback("large", "failed"))
    until(lambda: notes(receiver, "hoards"))
    receiver.accepted(callback("small"))

    events = {event["video_id"]: event for event in receiver.settled(count=2, seconds=60)}

    assert job_of(events["small"])[0] == "done"
    state, error, _ = job_of(events["large"])
    assert state == "dead"
    assert error.endswith("because its worker used more than 209,715,200 bytes of memory")
    assert len(notes(receiver, "hoards")) == len(receiver.log("worker.oversized")) == 3
    assert [line["handler"] for line in receiver.log("job.failed")] == ["hooks.hoard"]


@pytest.mark.fault("R5")
def test_a_reload_and_a_stop_reach_the_worker_that_runs_a_suspect_and_it_ends_in_peace(
    receiver: Receiver,
) -> None:
    receiver.handler(
        PREAMBLE + "@router.on('video.failed')\nasync def slow(event):\n"
        "    note('runs', os.getpid())\n"
        "    while not (here / 'gate').exists():\n        await asyncio.sleep(0.02)\n"
    )
    receiver.start("--handlers", "hooks.py")
    receiver.accepted(callback("v1", "failed"))
    until(lambda: len(notes(receiver, "runs")) == 1)
    os.kill(int(notes(receiver, "runs")[0]), signal.SIGKILL)
    until(lambda: len(notes(receiver, "runs")) == 2, what="a run by itself")
    alone = int(notes(receiver, "runs")[1])
    assert "--alone" in children_of(receiver.pid)[alone]

    os.kill(receiver.pid, signal.SIGHUP)  # a reload changes nothing for it
    receiver.logged("settings.reloaded", count=2)
    os.kill(receiver.pid, signal.SIGTERM)
    until(lambda: any("alone" in line["worker"] for line in receiver.log("worker.draining")))
    (receiver.folder / "gate").touch()
    assert receiver.wait() == 0

    [event] = receiver.events()
    assert job_of(event) == ("done", "", 1)
    assert len(notes(receiver, "runs")) == 2


@pytest.mark.fault("R6")
def test_one_event_of_a_thousand_that_always_fails_is_dead_in_the_end_and_holds_nobody_up(
    receiver: Receiver,
) -> None:
    receiver.handler(
        PREAMBLE + "@router.on('video.completed', attempts=3)\ndef work(event):\n"
        "    if event.video.id == 'poison':\n        note('raised', time.monotonic())\n"
        "        raise ValueError('it always fails')\n"
    )
    receiver.start("--handlers", "hooks.py").ready()
    others = [f"v{number}" for number in range(999)]

    flood(receiver, [*others[:500], "poison", *others[500:]])

    events = {event["video_id"]: job_of(event) for event in receiver.settled(count=1000, seconds=30)}
    state, error, attempts = events.pop("poison")
    assert (state, attempts) == ("dead", 3)
    assert error.startswith("ValueError: it always fails")
    assert error.endswith("(after 3 attempts)")
    assert Counter(events.values()) == {("done", "", 1): 999}
    assert len(notes(receiver, "raised")) == 3


@pytest.mark.fault("R7", "R9")
def test_eight_workers_that_start_with_a_backlog_run_each_job_once_and_no_more_at_a_time_than_allowed(
    receiver: Receiver,
) -> None:
    receiver.handler(
        PREAMBLE + "running = 0\n"
        "@router.on('video.completed', concurrency=2)\nasync def save(event):\n"
        "    global running\n    running += 1\n"
        "    note(f'save.{os.getpid()}', f'{event.video.id} {running}')\n"
        "    await asyncio.sleep(0.01)\n    running -= 1\n"
        "@router.on('video.completed')\nasync def quick(event):\n"
        "    note(f'quick.{os.getpid()}', f'{event.video.id} 1')\n"
    )
    receiver.start("--handlers", "hooks.py", "--no-worker")
    videos = [f"v{number}" for number in range(300)]
    flood(receiver, videos)
    receiver.stop()

    receiver.start("--handlers", "hooks.py", "--workers", "8")

    events = receiver.settled(count=300, seconds=60)
    assert {job["state"] for event in events for job in event["jobs"]} == {"done"}
    for handler, most in (("save", 2), ("quick", 1)):
        runs = [
            line.split()
            for path in receiver.folder.glob(f"{handler}.*")
            for line in notes(receiver, path.name)
        ]
        assert sorted(video for video, _ in runs) == sorted(videos), "each once"
        assert max(int(at_once) for _, at_once in runs) <= most
    assert len(list(receiver.folder.glob("save.*"))) > 1, "the work was shared"
    assert not receiver.log("process.died", "job.lost")


@pytest.mark.fault("R11")
def test_handlers_that_hog_their_loop_are_counted_named_and_dead_in_the_end(receiver: Receiver) -> None:
    """One is out of time itself; the other has an hour, but keeps the loop from one that has a second."""
    receiver.handler(
        PREAMBLE + "def spin(name):\n    note(name, os.getpid())\n    while True:\n        pass\n"
        "@router.on('video.failed', timeout='1s', attempts=2)\nasync def spins(event):\n"
        "    spin('spins')\n"
        "@router.on('video.progress', timeout='1h', attempts=1)\nasync def hogs(event):\n"
        "    await asyncio.sleep(0.2)\n    spin('hogs')\n"
        "@router.on('video.progress', timeout='1s')\nasync def beside(event):\n"
        "    await asyncio.sleep(0.5)\n"
    )
    receiver.start("--handlers", "hooks.py").ready()
    receiver.accepted(callback("v1", "pending"))
    until(lambda: notes(receiver, "hogs"))
    began = time.monotonic()
    receiver.accepted(callback("v2", "failed"))
    assert time.monotonic() - began < 1, "acknowledgements go on"

    events = {event["video_id"]: event for event in receiver.settled(count=2, seconds=60)}

    reason = "did not give the loop back in time, and had to be ended with its process"
    assert job_of(events["v2"]) == ("dead", f"{reason} (after 2 attempts)", 2)
    ends = {job["handler"]: (job["state"], job["last_error"]) for job in events["v1"]["jobs"]}
    assert ends == {"hooks.hogs": ("dead", f"{reason} (after 1 attempt)"), "hooks.beside": ("done", None)}
    killed = [line["handler"] for line in receiver.log("worker.killed")]
    assert sorted(killed) == ["hooks.hogs", "hooks.spins", "hooks.spins"]
    assert not receiver.log("job.suspected"), "a worker that ends itself says who it was"


@pytest.mark.fault("R11")
def test_handlers_that_flood_the_output_or_raise_what_can_not_be_shown_stop_nobody(
    receiver: Receiver,
) -> None:
    receiver.handler(
        PREAMBLE + "import sys\n"
        "class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError('no words')\n"
        "@router.on('video.failed', attempts=1)\ndef mute(event):\n    raise Mute\n"
        "@router.on('video.completed')\ndef loud(event):\n"
        "    for _ in range(200):\n        print('y' * 100_000, file=sys.stderr)\n"
        "@router.on('video.progress')\ndef fine(event):\n    return 'fine'\n"
    )
    receiver.start("--handlers", "hooks.py").ready()
    receiver.accepted(callback("v1", "failed"))
    receiver.accepted(callback("v2"))
    receiver.accepted(callback("v3", "pending"))

    events = {event["video_id"]: job_of(event) for event in receiver.settled(count=3)}

    assert events["v1"][0] == "dead"
    assert "Mute" in events["v1"][1]
    assert (events["v2"][0], events["v3"][0]) == ("done", "done")
    [failed] = receiver.log("job.failed")
    assert failed["handler"] == "hooks.mute"
    assert not receiver.log("process.died")


@pytest.mark.fault("R11")
def test_a_thread_past_its_timeout_is_failed_and_its_worker_replaced(receiver: Receiver) -> None:
    receiver.handler(
        PREAMBLE + "@router.on('video.failed', timeout='500ms', attempts=1)\ndef sleeps(event):\n"
        "    note('sleeps', os.getpid())\n    time.sleep(600)\n"
        "@router.on('video.completed')\ndef fine(event):\n    note('fine', os.getpid())\n"
    )
    receiver.start("--handlers", "hooks.py").ready()
    receiver.accepted(callback("v1", "failed"))
    until(lambda: notes(receiver, "sleeps"))
    receiver.logged("job.failed")
    receiver.logged("worker.started", count=2)
    receiver.accepted(callback("v2"))

    events = {event["video_id"]: job_of(event) for event in receiver.settled(count=2)}

    assert events["v1"][0] == "dead"
    assert events["v2"] == ("done", "", 1)
    assert set(notes(receiver, "sleeps")).isdisjoint(notes(receiver, "fine"))
    assert not receiver.log("job.suspected")


@pytest.mark.fault("O6")
@pytest.mark.parametrize("leases", [1, 2])
def test_a_machine_that_is_frozen_for_a_while_doubles_no_effect(
    receivers: Callable[..., Receiver], leases: int
) -> None:
    receiver = receivers('[worker]\nlease = "1s"\n')
    receiver.handler(
        PREAMBLE + "@router.on('video.failed')\nasync def wait(event):\n"
        "    note('runs', os.getpid())\n"
        "    while not (here / 'gate').exists():\n        await asyncio.sleep(0.02)\n"
    )
    receiver.start("--handlers", "hooks.py").ready()
    receiver.accepted(callback("v1", "failed"))
    until(lambda: notes(receiver, "runs"))
    family = [receiver.pid, *children_of(receiver.pid)]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    thawed_at = time.monotonic() + leases + 0.1
    until(lambda: time.monotonic() > thawed_at)
    for pid in family:
        os.kill(pid, signal.SIGCONT)
    (receiver.folder / "gate").touch()

    [event] = receiver.settled(count=1)

    assert job_of(event) == ("done", "", 1)
    outcomes = Counter(attempt["outcome"] for attempt in receiver.show(event["id"])["attempts"])
    assert outcomes["done"] == 1
    assert set(outcomes) <= {"done", "lost"}
    ends = {line["status"] for line in receiver.log("process.died")}
    assert ends <= {REPLACE_ME}, "at most the worker, which stops what may be somebody else's by now"
