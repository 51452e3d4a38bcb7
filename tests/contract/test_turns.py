"""Which jobs a store gives first: what expires, then the handlers in turn; and how fast, of many."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from receiver.store.base import Store
from receiver.store.service import Service, wall_ms
from receiver.store.values import Row
from tests.contract.stand import AGES_AGO, arrival, claim, claim_one, jobs_of, ready, settlement, waiting

MANY = 100_000
CLAIM_SECONDS = 0.005
"""What the fastest of ten claims may take, whatever else goes on: less than 1 ms; a scan takes 9."""


def videos(rows: list[Row]) -> list[str]:
    return [row["video_id"] for row in rows]


# What expires.


@pytest.mark.anyio
async def test_what_expires_goes_first_the_next_to_expire_before_the_others(store: Store) -> None:
    soon = wall_ms() + 60_000
    for number, expires_at in enumerate([None, soon + 2, soon, None, soon + 1]):
        news = arrival(f"v{number}", received_at=AGES_AGO + number, expires_at=expires_at, jobs=ready("save"))
        await store.record(news)

    rows = await claim(store, "w", "save")

    assert videos(rows) == ["v2", "v4", "v1", "v0", "v3"]
    assert [row["expires_at"] for row in rows] == [soon, soon + 1, soon + 2, None, None]


@pytest.mark.anyio
async def test_what_expires_goes_first_across_handlers_that_take_turns(store: Store) -> None:
    soon = wall_ms() + 60_000
    for number in range(3):
        await store.record(arrival(f"old{number}", received_at=AGES_AGO, jobs=ready("a", "b")))
        await store.record(arrival(f"new{number}", expires_at=soon + number, jobs=ready("a", "b")))

    rows = await claim(store, "w", "a", "b", count=8)

    assert [(row["handler"], row["video_id"]) for row in rows] == [
        *((handler, f"new{number}") for number in range(3) for handler in ("a", "b")),
        ("a", "old0"),
        ("b", "old0"),
    ]


@pytest.mark.anyio
async def test_what_expires_is_not_claimed_before_it_is_due_nor_beyond_the_free_slots(store: Store) -> None:
    soon = wall_ms() + 60_000
    for number in range(3):
        await store.record(arrival(f"v{number}", expires_at=soon + number, jobs=ready("save")))
    rows = await store.claim("w", {"save": 1}, count=5, wait_ms=0)
    later = settlement(rows[0], "retry", run_at=wall_ms() + 3_600_000, error="busy")
    await store.settle([later], worker="w")

    assert videos(rows) == ["v0"]
    assert videos(await claim(store, "w", "save")) == ["v1", "v2"]
    assert await claim(store, "w", "save") == []


@pytest.mark.anyio
async def test_what_has_expired_is_in_no_hurry_any_more(store: Store) -> None:
    soon = wall_ms() + 60_000
    for video, expires_at in (("gone", AGES_AGO), ("lasting", None), ("live", soon)):
        await store.record(arrival(video, expires_at=expires_at, jobs=ready("save")))

    assert videos(await claim(store, "w", "save", count=1)) == ["live"]
    assert sorted(videos(await claim(store, "w", "save"))) == ["gone", "lasting"]


@pytest.mark.anyio
async def test_a_job_that_waited_for_another_one_keeps_its_expiry(store: Store) -> None:
    soon = wall_ms() + 60_000
    news = arrival(expires_at=soon, jobs=[*ready("save"), waiting("probe", "save")])
    await store.record(news)
    await store.settle([settlement(await claim_one(store, "w", "save"))], worker="w")

    assert (await claim_one(store, "w", "probe"))["expires_at"] == soon
    assert (await jobs_of(store, news.event_id))["save"]["state"] == "done"


# Batches.


@pytest.mark.anyio
async def test_in_a_batch_of_settlements_foreign_and_double_ones_change_nothing(store: Store) -> None:
    events = []
    for number in range(6):
        news = arrival(f"v{number}", jobs=[*ready("save"), waiting("probe", "save")])
        await store.record(news)
        events.append(news.event_id)
    stale = await claim(store, "gone", "save", count=2)
    await store.release("gone")
    held = await claim(store, "w", "save")
    ours, theirs = {row["job"]: row for row in held}, stale[0]
    good = [row for row in held if row["job"] not in {row["job"] for row in stale}]
    batch = [
        settlement(theirs, "fail", error="stale"),
        settlement(good[0]),
        settlement(good[0], "fail", error="double"),
        settlement(good[1], "fail", error="no"),
        settlement({**good[2], "claim": good[2]["claim"] + 1}),
        settlement({**good[2], "job": 10**9}),
        settlement(ours[theirs["job"]], "cancel", error="enough"),
        settlement(good[3], "retry", run_at=AGES_AGO, error="busy"),
    ]

    owned = await store.settle(batch, worker="w")

    assert owned == [False, True, False, True, False, False, True, True]
    states = {}
    for event in events:
        kept = await jobs_of(store, event)
        states[kept["save"]["id"]] = (kept["save"]["state"], kept["probe"]["state"])
    assert {row["job"]: states[row["job"]] for row in [*good, ours[theirs["job"]]]} == {
        good[0]["job"]: ("done", "ready"),
        good[1]["job"]: ("dead", "cancelled"),
        good[2]["job"]: ("running", "waiting"),
        good[3]["job"]: ("ready", "waiting"),
        theirs["job"]: ("cancelled", "cancelled"),
    }


# Many.


async def full(path: Path, *, run_at: int, expires_at: int | None) -> Service:
    """A store with very many jobs of one handler."""
    service = Service(path, run="run1", lease_seconds=60)
    await service.record(arrival(jobs=ready("save")))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO jobs (event, handler, state, run_at, expires_at, replay)"
            " SELECT e.seq, 'save', 'ready', ? + i, ? + i, 'r' || i FROM n, events AS e",
            (MANY, run_at, expires_at),
        )
        connection.commit()
    return service


@pytest.mark.anyio
@pytest.mark.parametrize("due_in_ms", [-10_000_000, 10_000_000], ids=["due", "in backoff"])
@pytest.mark.parametrize("expires_in_ms", [None, 100_000_000], ids=["lasting", "expiring"])
async def test_a_claim_is_as_fast_with_very_many_jobs(
    tmp_path: Path, due_in_ms: int, expires_in_ms: int | None
) -> None:
    now = wall_ms()
    expires_at = None if expires_in_ms is None else now + expires_in_ms
    store = await full(tmp_path / "receiver.db", run_at=now + due_in_ms, expires_at=expires_at)
    assert len(await claim(store, "first", "save", count=1)) == 1

    took = []
    for number in range(10):
        begin = time.perf_counter()
        rows = await claim(store, f"w{number}", "save", count=16)
        took.append(time.perf_counter() - begin)
        assert len(rows) == (16 if due_in_ms < 0 else 0)

    await store.close()
    assert min(took) < CLAIM_SECONDS
