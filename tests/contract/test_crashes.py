"""Jobs whose process died, in any store: they run alone, and are dead when that went wrong three times."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from receiver.record import Arrival
from receiver.store.base import Store
from receiver.store.service import Service, wall_ms
from receiver.store.values import Lost, Row
from tests.contract.stand import (
    AGES_AGO,
    arrival,
    claim,
    claim_one,
    jobs_of,
    outcomes_of,
    ready,
    settlement,
    states_of,
    waiting,
)


async def record(store: Store, *handlers: str, video: str = "v1") -> Arrival:
    news = arrival(video, jobs=ready(*handlers))
    await store.record(news)
    return news


async def claim_alone(store: Store, worker: str, *handlers: str) -> list[Row]:
    """Claim as a worker does that runs its jobs alone: one at a time."""
    return await store.claim(worker, dict.fromkeys(handlers, 1), count=1, wait_ms=0, alone=True)


def hasten(database: Path) -> None:
    """Let what waits for its time be due now."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE jobs SET run_at = 0 WHERE state = 'ready'")
        connection.commit()


async def crash(store: Store, worker: str) -> list[Lost]:
    return await store.release(worker, died="its worker was killed by SIGKILL")


@pytest.mark.anyio
@pytest.mark.fault("R5")
async def test_a_job_whose_process_died_three_times_while_it_ran_alone_is_dead_with_the_reason(
    store: Store, database: Path
) -> None:
    news = arrival(jobs=[*ready("poison"), waiting("after", "poison"), waiting("last", "after")])
    await store.record(news)
    job = await claim_one(store, "w0", "poison")

    assert await crash(store, "w0") == [Lost(job["job"], "poison", 1, is_dead=False)]
    for deaths, is_dead in ((2, False), (3, True)):
        hasten(database)
        (again,) = await claim_alone(store, f"w{deaths}", "poison")
        assert (again["job"], again["attempts"]) == (job["job"], 0)
        assert await crash(store, f"w{deaths}") == [Lost(job["job"], "poison", deaths, is_dead=is_dead)]

    reason = "its process died 3 times, at last because its worker was killed by SIGKILL"
    kept = await jobs_of(store, news.event_id)
    assert {name: (one["state"], one["last_error"], one["attempts"]) for name, one in kept.items()} == {
        "poison": ("dead", reason, 1),
        "after": ("cancelled", "poison is dead", 0),
        "last": ("cancelled", "after is cancelled: poison is dead", 0),
    }
    assert await outcomes_of(store, news.event_id) == [
        ("lost", 1, "w0"),
        ("lost", 1, "w2"),
        ("fail", 1, "w3"),
    ]
    assert (await store.suspects(), await claim_alone(store, "w", "poison")) == ({}, [])


@pytest.mark.anyio
@pytest.mark.fault("R5")
async def test_what_ran_beside_a_death_is_never_dead_by_it(store: Store) -> None:
    for number in range(3):
        await record(store, "save", video=f"v{number}")
    await claim(store, "w", "save")

    lost = await crash(store, "w")

    assert [(job.crashes, job.is_dead) for job in lost] == [(1, False)] * 3
    assert sum((await store.suspects()).values()) == 3


@pytest.mark.anyio
@pytest.mark.fault("R5")
async def test_a_suspect_is_given_only_to_a_worker_that_runs_it_alone_and_that_one_gets_no_other(
    store: Store,
) -> None:
    suspect = await record(store, "save", "probe", video="suspect")
    await claim(store, "w", "save", "probe")
    await crash(store, "w")
    other = await record(store, "save", video="other")

    assert [job["id"] for job in await claim(store, "w", "save", "probe")] == [other.event_id]
    first = await claim_alone(store, "alone", "save", "probe")
    second = await claim_alone(store, "alone", "save", "probe")

    assert [job["id"] for job in first + second] == [suspect.event_id] * 2
    assert await claim_alone(store, "alone", "save", "probe") == []
    assert await claim(store, "w", "save", "probe") == []


@pytest.mark.anyio
@pytest.mark.fault("R5")
@pytest.mark.parametrize(
    ("move", "state"), [("finish", "done"), ("retry", "ready"), ("fail", "dead"), ("cancel", "cancelled")]
)
async def test_a_suspect_that_ends_in_any_other_way_is_innocent(store: Store, move: str, state: str) -> None:
    news = await record(store, "save")
    await claim_one(store, "w", "save")
    await crash(store, "w")
    (job,) = await claim_alone(store, "alone", "save")

    error = None if move == "finish" else "no"
    end = settlement(job, move, error=error, run_at=AGES_AGO if move == "retry" else None)
    assert await store.settle([end], worker="alone") == [True]

    assert await states_of(store, news.event_id) == {"save": state}
    assert sum((await store.suspects()).values()) == 0
    if move == "retry":
        await claim_one(store, "w", "save")
        (lost,) = await crash(store, "w")
        assert (lost.crashes, lost.is_dead) == (1, False), "it is counted anew"


@pytest.mark.anyio
async def test_a_suspect_that_is_lost_stays_one_and_is_not_blamed_for_that(store: Store) -> None:
    await record(store, "save")
    await claim_one(store, "w", "save")
    await crash(store, "w")
    for number in range(4):
        (job,) = await claim_alone(store, f"alone{number}", "save")
        assert await store.release(f"alone{number}") == [Lost(job["job"], "save", 1, is_dead=False)]

    assert sum((await store.suspects()).values()) == 1


@pytest.mark.anyio
@pytest.mark.fault("R5")
async def test_a_suspect_waits_longer_with_each_death_but_the_first(store: Store) -> None:
    news = await record(store, "save")
    waits = []
    for deaths in (1, 2):
        if deaths == 1:
            await claim_one(store, "w", "save")
        else:
            assert await claim_alone(store, "w", "save")
        before = wall_ms()
        await crash(store, "w")
        waits.append((await jobs_of(store, news.event_id))["save"]["run_at"] - before)

    assert waits[0] < 1000, "one death may be an accident"
    assert 4000 <= waits[1] < 6000
    assert await claim_alone(store, "w", "save") == []


@pytest.mark.anyio
async def test_however_often_a_job_was_beside_a_death_it_waits_a_minute_at_most(tmp_path: Path) -> None:
    now = AGES_AGO
    service = Service(
        tmp_path / "receiver.db",
        run="run1",
        lease_seconds=10**9,
        wall=lambda: now,
        monotonic=lambda: now / 1000,
    )
    first = await record(service, "save", "probe")
    await claim(service, "w", "save", "probe")
    for deaths in range(1, 80):
        assert all((job.crashes, job.is_dead) == (deaths, False) for job in await crash(service, "w"))
        jobs = await jobs_of(service, first.event_id)
        now = max(job["run_at"] for job in jobs.values())
        assert now <= AGES_AGO + deaths * 64_000
        assert len([*await claim_alone(service, "w", "save"), *await claim_alone(service, "w", "probe")]) == 2
    await service.close()
