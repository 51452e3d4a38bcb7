"""Following the record as it grows, in any store."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from receiver.errors import Unavailable
from receiver.store.base import Store
from receiver.store.service import Service
from receiver.store.values import EventFilter, Keep
from tests.contract.stand import AGES_AGO, ANY, arrival, claim_one, ready, settlement

pytestmark = pytest.mark.anyio


async def test_events_follow_in_the_order_of_commits_with_their_jobs(store: Store) -> None:
    for number in range(5):  # later ones look older
        await store.record(arrival(f"v{number}", received_at=AGES_AGO - number, jobs=ready("save")))
    first = await store.following(ANY, limit=3, after=0)
    assert [event["video_id"] for event in first.events] == ["v0", "v1", "v2"]
    assert [job["handler"] for job in first.events[0]["jobs"]] == ["save"]
    assert (first.through, first.removed) == (first.events[-1]["seq"], 0)
    await store.record(arrival("v1"))  # a duplicate is no event
    await store.record(arrival("v5"))
    rest = await store.following(ANY, limit=9, after=first.through)
    assert [event["video_id"] for event in rest.events] == ["v3", "v4", "v5"]
    assert await store.following(ANY, limit=9, after=rest.through) == ([], rest.through, 0)


async def test_filters_hold_while_following(store: Store) -> None:
    for number in range(6):
        await store.record(arrival(f"v{number}", "failed" if number % 2 else "completed"))
    found = await store.following(EventFilter(type="video.failed"), limit=2, after=2)
    assert [event["video_id"] for event in found.events] == ["v3", "v5"]


async def test_who_waits_is_told_of_the_next_event_and_of_nothing_else(store: Store) -> None:
    await store.record(arrival("v1", jobs=ready("save")))
    newest = await store.newest(after=0, wait_ms=60_000)  # at once
    waiting = asyncio.create_task(store.newest(after=newest, wait_ms=60_000))
    await store.record(arrival("v1"))
    job = await claim_one(store, "w", "save")
    await store.settle([settlement(job)], worker="w")
    assert not waiting.done()
    await store.record(arrival("v2"))
    assert await waiting == newest + 1


async def test_waiting_for_news_ends_in_time(store: Store) -> None:
    began = time.monotonic()
    assert await store.newest(after=0, wait_ms=50) == 0
    assert 0.04 < time.monotonic() - began < 5


async def test_what_retention_removed_is_counted_for_who_comes_too_late(store: Store) -> None:
    for number in range(4):
        await store.record(arrival(f"v{number}", received_at=AGES_AGO + (number == 2) * 9000))
    keep = Keep(events_before=AGES_AGO + 5000, dead_before=0, bodies_before=0)
    await store.prune(keep)
    found = await store.following(ANY, limit=9, after=0)
    assert [event["video_id"] for event in found.events] == ["v2"]
    assert (found.through, found.removed) == (4, 3)
    assert (await store.following(ANY, limit=9, after=found.through)).removed == 0
    assert await store.newest(after=0, wait_ms=0) == 4


async def test_a_question_that_takes_too_long_is_given_up(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.sqlite.reads._PATIENCE_SECONDS", 0.1)
    service = Service(database, run="r", lease_seconds=60)
    endless = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS seq FROM n"
    monkeypatch.setitem(service._reads._sql, "seq_bounds", endless)
    with pytest.raises(Unavailable, match="took too long"):
        await service.events(ANY, limit=1, before=None)
    assert await service.rejections(limit=1) == []  # and nobody else waits for it
    await service.close()


@pytest.mark.fault("C3")
async def test_a_store_that_ends_while_somebody_begins_to_look_leaves_no_thread_that_holds_its_process(
    database: Path,
) -> None:
    before = set(threading.enumerate())
    service = Service(database, run="r", lease_seconds=60)
    looking = asyncio.create_task(service.events(ANY, limit=1, before=None))
    await asyncio.sleep(0)  # its connection is being opened

    await service.abandon()
    with suppress(Unavailable):
        await looking
    for thread in set(threading.enumerate()) - before:
        thread.join(5)

    assert set(threading.enumerate()) <= before
    with pytest.raises(Unavailable, match="closed"):
        await service.events(ANY, limit=1, before=None)
    await service.close()
