"""Links that stop working: after an outage what expires comes first, and what came too late says so."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest

from tests.acceptance.conftest import KEY, NO_TLS, PROGRAM, Event, Receiver, until
from tests.acceptance.standins import sandbox
from tests.acceptance.test_lost_callbacks import CONFIGURATION, ordered

LASTING, EXPIRING = 12, 6
LIFETIME_SECONDS = 25


@contextmanager
def late_worker(receiver: Receiver) -> Iterator[None]:
    """A worker that comes when callbacks have long been answered."""
    command = [*PROGRAM, "--config", str(receiver.config), "worker"]
    with (receiver.folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=receiver.folder, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def fetched(receiver: Receiver, events: Sequence[Event]) -> list[str]:
    """Videos in the order in which their downloads began."""
    shown = [receiver.show(event["id"]) for event in events if event["type"] == "video.completed"]
    return [one["video_id"] for one in sorted(shown, key=lambda one: one["attempts"][0]["started_at"])]


def test_a_worker_that_comes_shortly_before_links_expire_fetches_those_first(
    receivers: Callable[..., Receiver],
) -> None:
    lifetime = ("--expires-after", f"{LIFETIME_SECONDS}s")
    with sandbox("--api-key", KEY, "--delay", "200ms", *lifetime) as stand_in:
        base = stand_in.url
        configuration = CONFIGURATION.format(base=base) + "concurrency = 1\n"
        receiver = receivers(configuration, s3_base_url=f"{base}/videofs").start("--no-worker")
        lasting = asyncio.run(ordered(receiver, base, LASTING, "opennote"))
        until(lambda: len(completed(receiver)) == LASTING)
        expiring = asyncio.run(ordered(receiver, base, EXPIRING, "ope"))
        until(lambda: len(completed(receiver)) == LASTING + EXPIRING)
        made_at = time.monotonic()
        time.sleep(max(0.0, LIFETIME_SECONDS - 12 - (time.monotonic() - made_at)))
        with late_worker(receiver):
            events = receiver.settled(count=LASTING + EXPIRING, of=[*lasting, *expiring], seconds=60)

    order = fetched(receiver, events)
    assert set(order[:EXPIRING]) == set(expiring)
    assert set(order[EXPIRING:]) == set(lasting)
    ends = {job["state"] for event in events for job in event["jobs"]}
    assert (ends, len(receiver.files())) == ({"done"}, LASTING + EXPIRING)


def completed(receiver: Receiver) -> list[Event]:
    return [event for event in receiver.events() if event["type"] == "video.completed"]


@pytest.mark.fault("S10")
def test_what_had_expired_before_a_worker_came_is_dead_and_says_what_to_do(
    receivers: Callable[..., Receiver],
) -> None:
    with sandbox("--api-key", KEY, "--delay", "100ms", "--expires-after", "2s") as stand_in:
        base = stand_in.url
        configuration = CONFIGURATION.format(base=base)
        receiver = receivers(configuration, s3_base_url=f"{base}/videofs").start("--no-worker")
        hook = {"url": f"{receiver.url}/webhooks/openai"}
        httpx.post(f"{base}/_sandbox/webhook", json=hook, verify=NO_TLS, trust_env=False).raise_for_status()
        videos = asyncio.run(ordered(receiver, base, 2, "ope", "openai"))
        until(lambda: len(completed(receiver)) == len(videos))
        time.sleep(2.5)
        with late_worker(receiver):
            events = receiver.settled(count=len(videos), of=videos)

    assert receiver.files() == {}
    late = [event for event in events if event["type"] == "video.completed"]
    assert {event["source"] for event in late} == {"ope", "openai"}
    for event in late:
        save = next(job for job in event["jobs"] if job["handler"] == "save_video")
        assert save["state"] == "dead"
        assert "link_expired" in save["last_error"]
        assert "order the video again" in save["last_error"]
