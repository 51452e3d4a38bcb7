"""Leases that can't be renewed: the worker stops in time, nothing runs twice at once, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import httpx
import pytest

from tests.acceptance.conftest import NO_TLS, Receiver, callback, is_running, until
from tests.contract.stand import failing

LEASE_SECONDS = 4.0
AGE = "receiver_lease_check_age_seconds"
CONFIGURATION = f'[worker]\nlease = "{LEASE_SECONDS:g}s"\npriority = "normal"\n'
# Each says again and again that it lives, until there is a file that is called like its video.
HANDLERS = """\
import asyncio, json, os, time
from pathlib import Path
from receiver import Router

router = Router()
here = Path(__file__).parent

def lives(event):
    with open(here / "notes", "a") as notes:
        notes.write(json.dumps([event.video.id, os.getpid(), time.monotonic()]) + "\\n")
    return not (here / event.video.id).exists()

@router.on("video.completed")
async def waits(event):
    while lives(event):
        await asyncio.sleep(0.02)

def works(event):
    while lives(event):
        time.sleep(0.02)

@router.on("video.failed")
def in_a_thread(event):
    works(event)

@router.on("video.unknown")
async def in_a_thread_of_its_own(event):
    await asyncio.to_thread(works, event)

@router.on("video.progress")
async def holds_the_loop(event):
    works(event)
"""
KINDS = {
    "waits": "completed",
    "in a thread": "failed",
    "in a thread of its own": "odd",
    "holds the loop": "pending",
}


class Note(NamedTuple):
    """A handler lived."""

    video: str
    pid: int
    at: float


def notes(receiver: Receiver) -> list[Note]:
    path = receiver.folder / "notes"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [Note(*json.loads(line)) for line in lines if line.endswith("\n")]


def running(receiver: Receiver, video: str, *, but: int = 0) -> int:
    """The process in which the handler of a video runs, once it does (in another than `but`)."""
    return until(
        lambda: next((note.pid for note in notes(receiver) if note.video == video and note.pid != but), 0),
        what=f"a handler of {video}",
    )


def finish(receiver: Receiver, *videos: str) -> None:
    for video in videos:
        (receiver.folder / video).touch()


def outcomes(receiver: Receiver, video: str) -> list[str]:
    """How the attempts at the only job of a video ended."""
    [event] = receiver.events("--video", video)
    return [attempt["outcome"] for attempt in receiver.show(event["id"])["attempts"]]


def done_once(receiver: Receiver, video: str) -> bool:
    """Whether a job was lost, once or more (to who had asked for jobs before it stopped), and then done."""
    *lost, last = outcomes(receiver, video)
    return set(lost) == {"lost"} and last == "done"


def wait_until(moment: float) -> None:
    until(lambda: time.monotonic() >= moment, what="the moment")


@pytest.fixture
def leased(receivers: Callable[..., Receiver]) -> Receiver:
    receiver = receivers(CONFIGURATION)
    receiver.handler(HANDLERS)
    return receiver.start("--handlers", "hooks.py", "--workers", "2").ready()


@pytest.mark.fault("R4", "O6")
@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_that_can_not_renew_its_lease_stops_before_somebody_else_gets_its_job(
    leased: Receiver, kind: str
) -> None:
    leased.accepted(callback("v1", KINDS[kind]))
    first = running(leased, "v1")
    store = leased.child("receiver.store.process")
    os.kill(store, signal.SIGSTOP)
    try:
        wait_until(time.monotonic() + LEASE_SECONDS)  # it was renewed before: by now it has run out
    finally:
        os.kill(store, signal.SIGCONT)
    second = running(leased, "v1", but=first)
    finish(leased, "v1")
    leased.settled(count=1)
    last = max(note.at for note in notes(leased) if note.pid == first)
    assert last < min(note.at for note in notes(leased) if note.pid == second), "side by side"
    assert not is_running(first)
    [lapsed] = leased.log("worker.lapsed")
    assert lapsed["jobs"] == 1
    assert done_once(leased, "v1")
    assert not leased.log("job.suspected"), "nobody is to blame"
    leased.logged("worker.started", count=3)


@pytest.mark.fault("R4")
def test_an_outage_of_the_store_that_is_shorter_than_the_lease_changes_nothing(leased: Receiver) -> None:
    leased.accepted(callback("v1"))
    first = running(leased, "v1")
    store = leased.child("receiver.store.process")
    for _ in range(2):
        os.kill(store, signal.SIGSTOP)
        wait_until(time.monotonic() + LEASE_SECONDS / 2)
        os.kill(store, signal.SIGCONT)
        wait_until(time.monotonic() + LEASE_SECONDS / 2)
    os.kill(store, signal.SIGKILL)
    leased.logged("store.started", count=2)
    finish(leased, "v1")
    leased.settled(count=1)
    assert {note.pid for note in notes(leased)} == {first}
    assert outcomes(leased, "v1") == ["done"]
    assert is_running(first)
    assert not leased.log("worker.lapsed", "worker.expired", "job.lost")


@pytest.mark.fault("R4")
def test_what_was_done_while_the_store_was_away_for_longer_than_the_lease_is_not_done_again(
    leased: Receiver,
) -> None:
    leased.accepted(callback("v1"))
    first = running(leased, "v1")
    store = leased.child("receiver.store.process")
    os.kill(store, signal.SIGSTOP)
    finish(leased, "v1")
    wait_until(time.monotonic() + 1.5 * LEASE_SECONDS)
    os.kill(store, signal.SIGKILL)  # the next one knows that it was away, and asks nobody for what he has
    leased.logged("store.started", count=2)
    leased.settled(count=1)
    assert outcomes(leased, "v1") == ["done"]
    assert is_running(first), "nothing ran, so that there was nothing to stop"
    assert not leased.log("worker.lapsed", "job.lost")


@pytest.mark.fault("R4")
def test_a_worker_that_stops_still_tells_what_it_had_done(receivers: Callable[..., Receiver]) -> None:
    receiver = receivers(CONFIGURATION)
    receiver.handler(HANDLERS)
    receiver.start("--handlers", "hooks.py").ready()
    for video in ("v1", "v2"):
        receiver.accepted(callback(video))
        running(receiver, video)
    first = running(receiver, "v1")
    store = receiver.child("receiver.store.process")
    os.kill(store, signal.SIGSTOP)
    finish(receiver, "v2")
    receiver.logged("worker.lapsed")
    wait_until(time.monotonic() + LEASE_SECONDS)
    os.kill(store, signal.SIGKILL)
    running(receiver, "v1", but=first)
    finish(receiver, "v1")
    receiver.settled(count=2)
    assert done_once(receiver, "v1")
    assert outcomes(receiver, "v2") == ["done"]
    assert not is_running(first)


@pytest.mark.fault("R2", "O6")
def test_a_worker_that_was_paused_for_longer_than_its_lease_goes_on_with_nothing(leased: Receiver) -> None:
    leased.accepted(callback("v1"))
    first = running(leased, "v1")
    os.kill(first, signal.SIGSTOP)
    second = running(leased, "v1", but=first)
    os.kill(first, signal.SIGCONT)
    until(lambda: not is_running(first), what="the paused worker ends")
    finish(leased, "v1")
    leased.settled(count=1)
    assert {note.pid for note in notes(leased)} == {first, second}
    assert done_once(leased, "v1")


@pytest.mark.fault("R4")
def test_a_stop_waits_for_no_store_that_is_away(receivers: Callable[..., Receiver]) -> None:
    receiver = receivers(CONFIGURATION)
    receiver.handler(HANDLERS)
    receiver.start("--handlers", "hooks.py").ready()
    for video in ("v1", "v2"):
        receiver.accepted(callback(video))
        running(receiver, video)
    store = receiver.child("receiver.store.process")
    os.kill(store, signal.SIGSTOP)
    finish(receiver, "v2")
    receiver.logged("worker.lapsed")
    began = time.monotonic()
    receiver.stop(signal.SIGTERM)
    assert time.monotonic() - began < 25
    assert not is_running(store)


@pytest.mark.slow
@pytest.mark.fault("R3", "O12")
def test_jobs_that_can_not_be_given_back_make_it_not_ready_until_they_are(
    receivers: Callable[..., Receiver],
) -> None:
    receiver = receivers(f"{CONFIGURATION}[admin]\nmetrics_public = true\n")
    receiver.handler(HANDLERS)
    receiver.start("--handlers", "hooks.py", "--workers", "2").ready()
    receiver.accepted(callback("v1"))
    first = running(receiver, "v1")

    def get(path: str) -> httpx.Response:
        return httpx.get(f"{receiver.url}{path}", verify=NO_TLS, trust_env=False, timeout=20)

    def age() -> float:
        (line,) = (row for row in get("/metrics").text.splitlines() if row.startswith(f"{AGE} "))
        return float(line.split()[1])

    until(lambda: age() < 10, what="jobs of silent workers are given back")
    os.kill(first, signal.SIGSTOP)
    try:
        with failing(receiver.folder / "data" / "receiver.db", "INSERT ON attempts"):
            until(lambda: get("/readyz").status_code == 503, seconds=60, what="it is not ready")
            assert "jobs of silent workers have not been given back" in get("/readyz").json()["error"]
            assert age() > 10
            assert len({note.pid for note in notes(receiver)}) == 1
        running(receiver, "v1", but=first)
        until(lambda: get("/readyz").status_code == 200, what="it is ready again")
    finally:
        os.kill(first, signal.SIGCONT)
    finish(receiver, "v1")
    receiver.settled(count=1)
    assert done_once(receiver, "v1")
    until(lambda: age() < 10, what="jobs of silent workers are given back")
