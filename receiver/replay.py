"""A replay from beginning to end: events are chosen, get new jobs in batches, and all is on record."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import orjson

from receiver import ids
from receiver.errors import NotFound, StoreDown
from receiver.model import EVENT_TYPES
from receiver.record import First, Wish
from receiver.sources.base import Source
from receiver.store.base import Store
from receiver.store.replays import MOST_EVENTS, Begun, Place
from receiver.store.values import EventFilter
from receiver.tempo import Tempo, pause

_PAGE = 5000
_FEWEST_EVENTS = 100
_SHORT_SECONDS = 0.008
"""What a batch may take: who is acknowledged meanwhile waits for it."""
_LOOK_SECONDS, _PATIENCE_SECONDS = 0.25, 30.0
"""How often, and for how long, a store that went away is looked for."""
_VIAS = ("callback", "poll", "import")


class Standing(NamedTuple):
    """How far a replay has come."""

    replay: str
    selected: int
    """Events that were chosen."""
    events: int = 0
    """Those that it has been through, or has posted."""
    jobs: int = 0
    """New jobs, or requests that were sent."""
    failed: int = 0
    """Requests that were not accepted."""

    @property
    def place(self) -> Place:
        """Where it stands on record."""
        return self.events, self.jobs

    @property
    def is_through(self) -> bool:
        """Whether nothing is left to do."""
        return self.events == self.selected


Told = Callable[[Standing], None]
"""Hears of every step."""


class Occasion(NamedTuple):
    """Why there is a replay; what of it goes on record."""

    made_by: str
    ids: tuple[str, ...] = ()
    wanted: EventFilter | None = None
    limit: int | None = None
    """Of those that are wanted, so many of the newest; None = all."""
    target: str | None = None


async def choose(store: Store, occasion: Occasion) -> list[int]:
    """The `seq` of each event that is meant, by ids or by a filter, oldest first. Raise NotFound."""
    if occasion.wanted is None:
        return sorted(await store.replays.find(occasion.ids))
    seqs: list[int] = []
    left = occasion.limit or sys.maxsize
    while left:
        before, size = seqs[-1] if seqs else None, min(_PAGE, left)
        page = await store.replays.select(occasion.wanted, limit=size, before=before)
        seqs += page
        left = left - len(page) if page else 0
    return seqs[::-1]


class Forecast(NamedTuple):
    """What a replay would do."""

    events: int
    """Those that would get jobs."""
    jobs: dict[str, int]
    """How many, by handler."""
    left: dict[str, int]
    """How many jobs are not made, by reason."""


async def foresee(store: Store, events: Sequence[int], wish: Wish) -> Forecast:
    """Count what `run` would do now."""
    touched, jobs, left = 0, Counter[str](), Counter[str]()
    for start in range(0, len(events), _PAGE):
        part = await store.replays.sum_up(events[start : start + _PAGE], wish)
        touched += part["events"]
        jobs.update(part["jobs"])
        left.update(part["left"])
    return Forecast(touched, dict(jobs), dict(left))


def firsts_of(sources: Mapping[str, Source]) -> list[First]:
    """Which events of the configured sources want a job of the receiver's own before all handlers."""
    return [
        (name, source.kind, type_, via, first)
        for name, source in sources.items()
        for type_ in EVENT_TYPES
        for via in _VIAS
        if (first := source.first_job(type_, via)) is not None  # type: ignore[arg-type]
    ]


async def begin(
    store: Store,
    occasion: Occasion,
    *,
    selected: int,
    wish: Wish | None,
    now: int,
    random: Callable[[int], bytes],
) -> Standing:
    """Put a replay on record before anything is done; `now` is in unix milliseconds."""
    replay = ids.replay_id(now, random(ids.RANDOM_BYTES))
    chosen = {**(occasion.wanted or EventFilter())._asdict(), "limit": occasion.limit}
    wanted = {name: value for name, value in chosen.items() if value is not None}
    said: dict[str, object] = {"ids": list(occasion.ids)} if occasion.wanted is None else {"filter": wanted}
    if wish is not None:
        said |= {"handlers": list(wish.handlers), "again": wish.again}
    text = orjson.dumps(said).decode()
    await store.replays.begin(Begun(replay, occasion.made_by, text, occasion.target, selected, now))
    return Standing(replay, selected)


async def run(
    store: Store,
    events: Sequence[int],
    wish: Wish,
    standing: Standing,
    *,
    rate: float | None = None,
    stop: asyncio.Event | None = None,
    told: Told = lambda standing: None,
) -> Standing:
    """Make the jobs of a replay that has begun, in the order of `events`, at most `rate` events a second.

    When `stop` is set it ends after the batch under way. However it ends, the record says how far it came.
    """
    tempo, size = Tempo(rate), _FEWEST_EVENTS
    try:
        while batch := events[standing.events : standing.events + tempo.batch(size)]:
            if not await tempo.wait(len(batch), stop=stop):
                break
            began = time.monotonic()
            standing = await lasting(store, standing, partial(_make, store, batch, wish), stop=stop)
            size = next_size(size, time.monotonic() - began)
            told(standing)
    finally:
        await store.replays.end(standing.replay, is_through=standing.is_through)
    return standing


async def _make(store: Store, batch: Sequence[int], wish: Wish, standing: Standing) -> Standing:
    made = await store.replays.make(standing.replay, batch, wish, at=standing.place)
    return standing._replace(events=standing.events + len(batch), jobs=standing.jobs + made.jobs)


async def lasting(
    store: Store,
    standing: Standing,
    step: Callable[[Standing], Awaitable[Standing]],
    *,
    stop: asyncio.Event | None = None,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> Standing:
    """Take a step that goes on record, exactly once, whatever becomes of the store meanwhile.

    A store that went away is waited for; its record says then whether the step was taken. Raise StoreDown
    when it stays away, or there is a stop.
    """
    gives_up_at: float | None = None
    while True:
        try:
            if gives_up_at is not None and (found := await _stands(store, standing)) != standing:
                return found
            return await step(standing)
        except StoreDown:
            gives_up_at = gives_up_at or time.monotonic() + patience_seconds
            if time.monotonic() > gives_up_at or not await pause(asyncio.sleep(_LOOK_SECONDS), stop=stop):
                raise
        except NotFound:  # unless the first one came late, not never
            if gives_up_at is None or (found := await _stands(store, standing)) == standing:
                raise
            return found


async def _stands(store: Store, standing: Standing) -> Standing:
    for row in await store.replays.last(prefix=standing.replay, limit=1):
        return standing._replace(events=row["events"], jobs=row["jobs"], failed=row["failed"])
    return standing


def next_size(size: int, seconds: float) -> int:
    """How many events the next batch has, by how long the last one took: a machine may be busy or not."""
    if seconds < _SHORT_SECONDS:
        return min(MOST_EVENTS, size * 2)
    return max(_FEWEST_EVENTS, size // 2) if seconds > 2 * _SHORT_SECONDS else size
