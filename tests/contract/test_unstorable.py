"""A value that no row may hold: who brought it suffers, and nobody who came with him."""

from __future__ import annotations

import asyncio
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from receiver.errors import Unavailable, Unstorable
from receiver.store.base import Store
from receiver.store.service import Service
from receiver.store.values import Receipt, Settlement
from tests.contract.stand import (
    ANY,
    PATIENCE_SECONDS,
    StoreProcess,
    arrival,
    claim,
    failing,
    hang_up,
    in_this_process,
    jobs_of,
    outcomes_of,
    ready,
    settlement,
    states_of,
    waiting,
)

BAD: dict[str, dict[str, Any]] = {
    "a lone surrogate": {"title": "\ud800"},
    "a missing id": {"video_id": None},
    "an unknown way": {"via": "pigeon"},
    "an unknown state": {"jobs": [("save", "asleep", None, None)]},
    "a number beyond 63 bits": {"received_at": 2**63},
    "a number beyond 64 bits": {"size": 2**64},
    "a list": {"status": ["completed"]},
}
"""What of an arrival can't be stored, or not even be sent to a store."""


async def videos(store: Store) -> list[str]:
    """Which videos have events, in the order in which they were recorded."""
    return [event["video_id"] for event in reversed(await store.events(ANY, limit=1000, before=None))]


async def record_at_once(store: Store, *changes: dict[str, Any]) -> list[Receipt | BaseException]:
    """Record arrivals that travel and are written together; each has what `changes` says of it."""
    arrivals = [arrival(f"v{number}", **changed) for number, changed in enumerate(changes)]
    return await asyncio.gather(*(store.record(each) for each in arrivals), return_exceptions=True)


# Arrivals.


@pytest.mark.anyio
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("place", [0, 17, 39])
async def test_of_a_batch_only_the_arrival_that_can_not_be_kept_is_refused(
    store: Store, kind: str, place: int
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        found = await record_at_once(store, *({**BAD[kind]} if n == place else {} for n in range(40)))
    assert isinstance(found[place], Unstorable)
    others = [one for number, one in enumerate(found) if number != place]
    assert {one.verdict for one in others if isinstance(one, Receipt)} == {"accepted"}
    assert await videos(store) == [f"v{number}" for number in range(40) if number != place]
    assert await store.check() == []


@pytest.mark.anyio
async def test_whichever_of_a_batch_are_bad_the_others_are_kept_in_their_order(database: Path) -> None:
    async with in_this_process(database) as store:
        assert isinstance(store, Service)
        for turn, bad in enumerate(set_ for size in range(6) for set_ in combinations(range(5), size)):
            batch = [arrival(f"{turn}.{n}", title="\ud800" if n in bad else None) for n in range(5)]
            found = await store.record_batch(batch)
            assert [isinstance(one, Unstorable) for one in found] == [n in bad for n in range(5)]
        kept = [name.split(".") for name in await videos(store)]
        assert kept == sorted(kept, key=lambda parts: (int(parts[0]), int(parts[1])))
        assert len(kept) == 5 * 2**5 // 2


@pytest.mark.anyio
async def test_news_beside_a_bad_arrival_is_judged_by_what_was_kept(store: Store) -> None:
    # The first of these is undone, so that the second is the first: what was known for a moment is not.
    found = await asyncio.gather(
        store.record(arrival("v", title="\ud800")),
        *(store.record(arrival("v")) for _ in range(3)),
        store.record(arrival("w", via="pigeon")),
        return_exceptions=True,
    )
    assert [one.verdict for one in found if isinstance(one, Receipt)] == [
        "accepted",
        "duplicate",
        "duplicate",
    ]
    (event,) = await store.events(ANY, limit=9, before=None)
    assert (event["video_id"], event["duplicates"]) == ("v", 2)


@pytest.mark.anyio
async def test_an_id_that_is_there_already_is_refused_alone(store: Store) -> None:
    first = arrival("v0")
    await store.record(first)
    found = await record_at_once(store, {}, {"identity": "x", "event_id": first.event_id}, {"identity": "y"})
    assert [type(one) for one in found] == [Receipt, Unstorable, Receipt]


@pytest.mark.anyio
async def test_who_shares_a_transaction_with_a_bad_arrival_is_not_refused(database: Path) -> None:
    async with in_this_process(database) as store:
        await store.record(arrival("earlier", jobs=ready("save")))
        bad, good, jobs, workers = await asyncio.gather(
            store.record(arrival("bad", title="\ud800")),
            store.record(arrival("good")),
            claim(store, "w", "save"),
            store.probe(),
            return_exceptions=True,
        )
        assert isinstance(bad, Unstorable)
        assert isinstance(good, Receipt)
        assert isinstance(jobs, list)
        assert [job["video_id"] for job in jobs] == ["earlier"]
        assert workers == ["w"]


# Settlements.


@pytest.mark.anyio
@pytest.mark.parametrize("place", [0, 7, 15])
@pytest.mark.parametrize(
    "changes",
    [{"error_class": "\ud800"}, {"ended_at": 2**63}, {"move": "explode"}, {"result": {"path": "a"}}],
    ids=["a lone surrogate", "a number beyond 63 bits", "no move", "an object"],
)
async def test_of_a_batch_only_the_settlement_that_can_not_be_kept_ends_as_dead(
    store: Store, place: int, changes: dict[str, Any]
) -> None:
    events = [arrival(f"v{number}", jobs=[*ready("save"), waiting("probe", "save")]) for number in range(16)]
    for event in events:
        await store.record(event)
    jobs = await claim(store, "w", "save")
    ends = [settlement(job)._replace(**(changes if n == place else {})) for n, job in enumerate(jobs)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await store.settle(ends, worker="w") == [True] * 16
    for number, event in enumerate(events):
        states = await states_of(store, event.event_id)
        is_bad = number == place
        assert (
            states == {"save": "dead", "probe": "cancelled"} if is_bad else {"save": "done", "probe": "ready"}
        )
    of_the_bad = events[place].event_id
    assert "can't be" in (await jobs_of(store, of_the_bad))["save"]["last_error"]
    assert await outcomes_of(store, of_the_bad) == [("fail", 1, "w")]
    (attempt,) = (await store.event(of_the_bad))["attempts"]
    assert attempt["error_class"] == "Unstorable"
    figures = await store.figures()
    assert {name: count for name, count in figures["attempts"].items() if count} == {"done": 15, "fail": 1}
    assert await store.check() == []


@pytest.mark.anyio
async def test_a_settlement_in_whose_place_nothing_can_be_kept_is_dropped_and_told(database: Path) -> None:
    async with in_this_process(database) as store:
        await store.record(arrival(jobs=ready("save")))
        (job,) = await claim(store, "w", "save")
        with capture_logs() as lines:
            nobody = Settlement(2**70, 1, "finish", 0, None, None, None)
            assert await store.settle([nobody, settlement(job)], worker="w") == [False, True]
    assert [(line["event"], line["job"]) for line in lines] == [("settlement.refused", 2**70)]


@pytest.mark.anyio
@pytest.mark.parametrize("is_good", list(product([True, False], repeat=3)))
async def test_while_nothing_can_be_written_no_settlement_is_given_up(
    database: Path, is_good: tuple[bool, ...]
) -> None:
    async with in_this_process(database) as store:
        for number in range(3):
            await store.record(arrival(f"v{number}", jobs=ready("save")))
        jobs = await claim(store, "w", "save")
        ends = [
            settlement(job, error_class=None if good else "\ud800")
            for job, good in zip(jobs, is_good, strict=True)
        ]
        with failing(database, "INSERT ON attempts"), pytest.raises(Unavailable):
            await store.settle(ends, worker="w")
        assert (await store.status())["jobs"] == {"running": 3}
        assert await store.settle(ends, worker="w") == [True] * 3
        states = [(await states_of(store, job["id"]))["save"] for job in jobs]
        assert states == ["done" if good else "dead" for good in is_good]


@pytest.mark.anyio
async def test_the_store_says_in_its_log_whose_settlement_it_was(database: Path) -> None:
    process = StoreProcess(database)
    try:
        remote = await process.connected()
        await remote.record(arrival(jobs=ready("save")))
        (job,) = await claim(remote, "w", "save")
        assert await remote.settle([settlement(job, ended_at=2**63)], worker="w") == [True]
        await hang_up(remote)
    finally:
        process.stop()
    assert "settlement.refused" in process.log.read_text()
