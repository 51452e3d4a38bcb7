"""A whole replay over any store: chosen, paced, stopped, on record."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from receiver import replay
from receiver.cli.replays import tell_who_runs
from receiver.errors import NotFound, StoreDown, Unavailable
from receiver.record import Wish
from receiver.replay import Occasion, Standing
from receiver.store.base import Store
from receiver.store.replays import MOST_EVENTS
from receiver.store.values import EventFilter
from tests.contract.stand import (
    AGES_AGO,
    arrival,
    cards,
    claim,
    in_its_own_process,
    in_this_process,
    ready,
    settlement,
    waiting,
)

Capture = pytest.CaptureFixture[str]
CHAIN = [*ready("save"), waiting("probe", "save")]
WISH = Wish(cards(*CHAIN), again=True)
EVERYTHING = Occasion("ann@laptop", wanted=EventFilter())


async def recorded(store: Store, count: int) -> None:
    for start in range(0, count, 500):
        many = [arrival(f"v{number}", jobs=CHAIN) for number in range(start, min(count, start + 500))]
        await asyncio.gather(*(store.record(news) for news in many))


async def begun(store: Store, count: int) -> Standing:
    return await replay.begin(store, EVERYTHING, selected=count, wish=WISH, now=AGES_AGO, random=os.urandom)


@pytest.mark.anyio
async def test_events_are_chosen_oldest_first_by_filter_or_by_id(store: Store) -> None:
    await recorded(store, 3)
    ids = [row["id"] for row in await store.events(EventFilter(), limit=9, before=None)]

    assert await replay.choose(store, EVERYTHING) == [1, 2, 3]
    assert await replay.choose(store, Occasion("x", wanted=EventFilter(video="v1"))) == [2]
    assert await replay.choose(store, Occasion("x", wanted=EventFilter(video="none"))) == []
    assert await replay.choose(store, Occasion("x", (ids[0], ids[2][:25], ids[2]))) == [1, 3]


@pytest.mark.anyio
async def test_what_is_foreseen_is_what_is_made(store: Store) -> None:
    await recorded(store, 7)
    await store.settle([settlement(job) for job in await claim(store, "w", "save", count=3)], worker="w")
    seqs = await replay.choose(store, EVERYTHING)
    wish = Wish(cards(*CHAIN), ["save"])

    foreseen = await replay.foresee(store, seqs, wish)
    standing = await replay.run(store, seqs, wish, await begun(store, 7))

    assert foreseen == (7, {"save": 7, "probe": 7}, {})
    assert (standing.events, standing.jobs, standing.is_through) == (7, 14, True)
    assert (await replay.foresee(store, seqs, Wish(cards(*CHAIN)))).left == {"it is still to run": 14}


@pytest.mark.anyio
async def test_every_step_is_told_and_a_stop_ends_it_after_the_batch_under_way(store: Store) -> None:
    await recorded(store, 1200)
    seqs = await replay.choose(store, EVERYTHING)
    stop, steps = asyncio.Event(), list[int]()

    def told(standing: Standing) -> None:
        steps.append(standing.events)
        if len(steps) == 2:
            stop.set()

    standing = await replay.run(store, seqs, WISH, await begun(store, 1200), stop=stop, told=told)

    first, second = steps
    assert 0 < first < second <= first + MOST_EVENTS
    assert (standing.events, standing.jobs, standing.is_through) == (second, 2 * second, False)
    (row,) = await store.replays.last()
    assert (row["status"], row["events"], row["jobs"], row["selected"]) == (
        "stopped",
        second,
        2 * second,
        1200,
    )


@pytest.mark.anyio
async def test_no_more_than_the_newest_are_chosen_when_that_is_said(store: Store) -> None:
    await recorded(store, 3)

    newest = EVERYTHING._replace(limit=2)
    standing = await replay.begin(store, newest, selected=2, wish=WISH, now=AGES_AGO, random=os.urandom)

    assert await replay.choose(store, newest) == [2, 3]
    assert await replay.choose(store, newest._replace(limit=9)) == [1, 2, 3]
    (row,) = await store.replays.last(prefix=standing.replay)
    assert json.loads(row["wanted"])["filter"] == {"limit": 2}


@pytest.mark.parametrize(
    ("seconds", "sizes"), [(0.001, [200, 400, 500]), (0.01, [100, 100, 100]), (1.0, [100, 100, 100])]
)
def test_batches_become_as_large_as_they_are_quick(seconds: float, sizes: list[int]) -> None:
    found, size = list[int](), 100
    for _ in sizes:
        size = replay.next_size(size, seconds)
        found.append(size)

    assert found == sizes
    assert replay.next_size(500, 1.0) == 250


@pytest.mark.anyio
@pytest.mark.fault("W5")
async def test_a_rate_caps_a_replay_of_ten_thousand(store: Store) -> None:
    """Of 10,000 events at 500 a second no more than that are begun in the first second."""
    await recorded(store, 10_000)
    seqs = await replay.choose(store, EVERYTHING)
    stop = asyncio.Event()
    began = time.monotonic()
    times: list[tuple[float, int]] = []

    def told(standing: Standing) -> None:
        times.append((time.monotonic() - began, standing.events))
        if times[-1][0] > 1:
            stop.set()

    standing = await replay.run(store, seqs, WISH, await begun(store, 10_000), rate=500, stop=stop, told=told)

    assert not standing.is_through
    for after, events in times:
        assert events <= 500 * after + 50, "a batch of a tenth of a second may be ahead"
    assert (await store.replays.last())[0]["events"] == standing.events


@pytest.mark.anyio
@pytest.mark.fault("W5")
async def test_a_replay_that_fails_says_on_record_how_far_it_came(store: Store) -> None:
    await recorded(store, 600)
    seqs = await replay.choose(store, EVERYTHING)
    steps = list[int]()

    def told(standing: Standing) -> None:
        steps.append(standing.events)
        raise Unavailable("as if the store were away")

    with pytest.raises(Unavailable):
        await replay.run(store, seqs, WISH, await begun(store, 600), told=told)

    (row,) = await store.replays.last()
    assert (row["status"], [row["events"]]) == ("stopped", steps)
    assert 0 < row["events"] < 600


@pytest.mark.anyio
@pytest.mark.fault("W5")
@pytest.mark.parametrize("lost", ["the request", "the answer"])
async def test_a_store_that_goes_away_is_waited_for_and_a_batch_is_made_once(store: Store, lost: str) -> None:
    await recorded(store, 3)
    asked = list[Standing]()

    async def step(standing: Standing) -> Standing:
        asked.append(standing)
        if lost == "the request" and len(asked) == 1:
            raise StoreDown("as if it had been killed")
        made = await store.replays.make(standing.replay, [1, 2, 3], WISH, at=standing.place)
        if lost == "the answer":
            raise StoreDown("as if it had been killed")
        return standing._replace(events=3, jobs=made.jobs)

    standing = await replay.lasting(store, await begun(store, 3), step)

    assert (standing.events, standing.jobs) == (3, 6)
    (row,) = await store.replays.last(prefix=standing.replay)
    assert (row["events"], row["jobs"], row["states"]) == (3, 6, {"ready": 3, "waiting": 3})
    with pytest.raises(NotFound, match="goes on"):
        await store.replays.make(standing.replay, [1], WISH, at=(0, 0))


@pytest.mark.anyio
async def test_a_store_that_stays_away_is_given_up_as_is_one_while_there_is_a_stop(store: Store) -> None:
    async def step(standing: Standing) -> Standing:
        raise StoreDown("as if it had been killed")

    standing, stop = await begun(store, 3), asyncio.Event()
    with pytest.raises(StoreDown):
        await replay.lasting(store, standing, step, patience_seconds=-1)
    stop.set()
    with pytest.raises(StoreDown):
        await replay.lasting(store, standing, step, stop=stop)


@pytest.mark.anyio
async def test_it_is_told_when_nobody_is_there_to_run_the_jobs(database: Path, capsys: Capture) -> None:
    standing = Standing("rpl_1", selected=1, events=1, jobs=2)

    async def told(store: Store, standing: Standing, *, is_narrowed: bool = False) -> str:
        await tell_who_runs(store, standing, WISH, is_narrowed=is_narrowed)
        return capsys.readouterr().err.strip()

    async with in_this_process(database) as alone:
        assert await told(alone, standing) == "no server runs: the jobs wait until one is started"
    async with in_its_own_process(database) as store:
        assert await told(store, standing) == "the server has no worker: the jobs wait until there is one"
        await claim(store, "w", "save")
        await store.publish(cards(*ready("save")))
        assert await told(store, standing) == ""
        assert "does not load probe: " in await told(store, standing, is_narrowed=True)
        assert "--dry-run says why" in await told(store, standing._replace(jobs=0))
    assert await told(store, standing) == "", "a store that is away by now is nobody's concern"


@pytest.mark.anyio
async def test_ten_thousand_events_are_scheduled_in_little_time(database: Path) -> None:
    """A hundred thousand in 5 s are promised, which the bench measures: here none must cost much more."""
    async with in_this_process(database) as store:
        await recorded(store, 10_000)
        seqs = await replay.choose(store, EVERYTHING)

        began = time.process_time()
        standing = await replay.run(store, seqs, WISH, await begun(store, 10_000))

        assert standing.jobs == 20_000
        assert time.process_time() - began < 2  # a tracer, and a busy neighbour on the core, included
