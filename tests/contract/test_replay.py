"""New jobs of stored events, in any store: beside the old ones, and each replay a chain of its own."""

from __future__ import annotations

import asyncio

import pytest

from receiver.record import Arrival, Wish
from receiver.store.base import Row, Store
from receiver.store.replays import Made
from receiver.store.service import wall_ms
from tests.contract.stand import (
    PATIENCE_SECONDS,
    arrival,
    begun,
    cards,
    claim,
    claim_one,
    ready,
    replayed,
    settlement,
    waiting,
)

CHAIN = [*ready("save"), waiting("probe", "save")]


async def states(store: Store, event: str) -> list[tuple[str | None, str, str]]:
    """Replay, handler and state of an event's jobs, in the order in which they were made."""
    jobs = sorted((await store.event(event))["jobs"], key=lambda job: job["id"])
    return [(job["replay"], job["handler"], job["state"]) for job in jobs]


async def recorded(store: Store, video: str = "v1", *, expires_at: int | None = None) -> Arrival:
    news = arrival(video, jobs=CHAIN, expires_at=expires_at)
    await store.record(news)
    return news


async def finish(store: Store, job: Row, *, result: str | None = None) -> None:
    assert await store.settle([settlement(job, result=result)], worker="w") == [True]


@pytest.mark.anyio
async def test_a_replay_makes_jobs_beside_the_old_ones_and_passes_over_events_that_are_not_there(
    store: Store,
) -> None:
    first, other = await recorded(store), await recorded(store, "v2")
    await store.settle(
        [settlement(job, "fail", error="no") for job in await claim(store, "w", "save")], worker="w"
    )

    await store.replays.begin(begun("r1"))
    (seq,) = await store.replays.find([first.event_id])
    made = await store.replays.make("r1", [seq, 99, seq], Wish(cards(*CHAIN), again=True))

    assert made == Made(events=1, jobs=2)
    assert await states(store, first.event_id) == [
        (None, "save", "dead"),
        (None, "probe", "cancelled"),
        ("r1", "save", "ready"),
        ("r1", "probe", "waiting"),
    ]
    assert await states(store, other.event_id) == [(None, "save", "dead"), (None, "probe", "cancelled")]
    job = await claim_one(store, "w", "save")
    assert (job["replay"], job["id"], job["attempts"], job["claim"]) == ("r1", first.event_id, 0, 1)
    await store.replays.begin(begun("r2"))
    assert await store.replays.make("r2", [], Wish(cards(*CHAIN))) == Made(0, 0)


@pytest.mark.anyio
async def test_what_waits_goes_on_only_with_its_own_replay(store: Store) -> None:
    news = await recorded(store)
    await replayed(store, "r1", [news.event_id], *CHAIN)
    await replayed(store, "r2", [news.event_id], *CHAIN)
    jobs = {job["replay"]: job for job in await claim(store, "w", "save")}

    await finish(store, jobs["r1"], result='"one"')
    assert [job["replay"] for job in await claim(store, "w", "probe")] == ["r1"]
    assert await store.settle([settlement(jobs["r2"], "fail", error="no")], worker="w") == [True]
    await finish(store, jobs[None])

    assert await states(store, news.event_id) == [
        (None, "save", "done"),
        (None, "probe", "ready"),
        ("r1", "save", "done"),
        ("r1", "probe", "running"),
        ("r2", "save", "dead"),
        ("r2", "probe", "cancelled"),
    ]


@pytest.mark.anyio
async def test_a_replayed_job_expires_when_the_link_always_did(store: Store) -> None:
    soon = wall_ms() + 60_000
    news = await recorded(store, expires_at=soon)

    await replayed(store, "r1", [news.event_id], *ready("save"))

    assert [job["expires_at"] for job in await claim(store, "w", "save")] == [soon, soon]


@pytest.mark.anyio
async def test_a_replay_wakes_a_claim_that_waits(store: Store) -> None:
    news = await recorded(store)
    await finish(store, await claim_one(store, "w", "save"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        waiting_claim = asyncio.create_task(claim(store, "w", "save", wait_ms=60_000))
        await store.status()  # answered after the claim has begun to wait
        await replayed(store, "r1", [news.event_id], *ready("save"))
        (job,) = await waiting_claim
    assert job["replay"] == "r1"


@pytest.mark.anyio
@pytest.mark.fault("D9")
async def test_a_replay_while_the_job_is_being_retried_is_a_job_of_its_own(store: Store) -> None:
    news = await recorded(store)
    retried = await claim_one(store, "a", "save")
    again = settlement(retried, "retry", run_at=0, error="busy")
    owned, made, replayed_twice = await asyncio.gather(
        store.settle([again], worker="a"),
        replayed(store, "r1", [news.event_id], *ready("save")),
        replayed(store, "r2", [news.event_id], *ready("save")),
    )
    assert (owned, made, replayed_twice) == ([True], Made(1, 1), Made(1, 1))

    shares = await asyncio.gather(*(claim(store, worker, "save", count=2) for worker in "abc"))

    jobs = [(job["replay"], job["attempts"]) for share in shares for job in share]
    assert sorted(jobs, key=str) == [("r1", 0), ("r2", 0), (None, 1)], "each is claimed by exactly one"
    assert await store.settle([again], worker="a") == [False], "the former claim settles nothing any more"
