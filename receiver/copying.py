"""Events of another receiver, fetched with all their deliveries and recorded here, a few at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

from receiver.bodies import Bodies
from receiver.copies import CopiedDelivery, copy_of, read_line, take_body
from receiver.errors import BadCopy
from receiver.feed import Feed
from receiver.record import JobRow, Verdict
from receiver.recording import Plans
from receiver.sources.base import Source
from receiver.store.base import Store
from receiver.store.copies import COPIED, Copy

_PORTION_BYTES = 2**20
"""Bodies within their lines that are recorded at once: an event that was redelivered for days has many."""


class Copier:
    """Copies events from one receiver into one store."""

    def __init__(
        self,
        feed: Feed,
        *,
        store: Store,
        bodies: Bodies,
        plans: Plans,
        sources: Mapping[str, Source],
        limit: int,
        wall: Callable[[], int],
    ) -> None:
        """`sources` are those that are configured here; `limit` is for bodies, in bytes."""
        self._feed = feed
        self._store = store
        self._bodies = bodies
        self._plans = plans
        self._sources = sources
        self._limit = limit
        self._wall = wall

    async def copy(self, events: Sequence[str]) -> AsyncIterator[tuple[str, bool]]:
        """Tell of each event that is recorded as a whole now, and whether it was new here.

        Of an event that is not there any more nothing is told. Raise BadCopy for what can't be understood,
        and whatever `Feed` and the store raise; what was told before stays recorded.
        """
        portion = _Portion(events)
        async with aclosing(self._feed.deliveries(events)) as lines:
            async for line in lines:
                delivery = read_line(line)
                nth = portion.turn_to(delivery)
                portion.add(await self._copy_of(delivery, nth=nth))
                if portion.bytes > _PORTION_BYTES:
                    await self._record(portion)
                    for told in portion.whole(but=delivery.event):
                        yield told
        await self._record(portion)
        for told in portion.whole():
            yield told

    async def _copy_of(self, delivery: CopiedDelivery, *, nth: int) -> Copy:
        async with AsyncExitStack() as stack:
            chunks = None
            if delivery.body is None:  # it is closed as soon as it can't be kept: a connection hangs on it
                body_there = self._feed.body(delivery.event, delivery.body_sha256)
                chunks = await stack.enter_async_context(aclosing(body_there))
            body = await take_body(delivery, chunks, bodies=self._bodies, limit=self._limit)
        return copy_of(delivery, body, now=self._wall(), nth=nth, jobs=self._jobs(delivery))

    def _jobs(self, delivery: CopiedDelivery) -> Sequence[JobRow]:
        """The jobs of an event here; with the receiver's own before them, where the source is configured."""
        if delivery.news is None:
            return ()
        source = self._sources.get(delivery.source)
        is_ours = source is not None and source.kind == delivery.kind
        first = source.first_job(delivery.news.type, delivery.via) if source and is_ours else None
        return self._plans.jobs(delivery.source, delivery.news.type, first=first)

    async def _record(self, portion: _Portion) -> None:
        copies = portion.empty()
        if copies:
            portion.note(copies, await self._store.copies.take(copies))


class _Portion:
    """What was read of some events and is not recorded yet, and how far each of them is."""

    def __init__(self, events: Sequence[str]) -> None:
        self.bytes = 0
        self._left = {*events}
        """Events of which nothing was read."""
        self._event = ""
        self._copies: list[Copy] = []
        self._is_new: dict[str, bool] = {}
        """Events that are recorded, and not told of yet."""
        self._alike: Counter[tuple[Any, ...]] = Counter()

    def turn_to(self, delivery: CopiedDelivery) -> int:
        """Say how many deliveries of its event were like this one, itself included. Raise BadCopy."""
        if delivery.event != self._event:
            if delivery.event not in self._left or delivery.news is None:
                raise BadCopy("event: it is another one than was asked for, or its first delivery is missing")
            self._left.remove(delivery.event)
            self._event = delivery.event
            self._alike.clear()
        alike = (
            delivery.verdict,
            delivery.via,
            delivery.received_at,
            delivery.headers,
            delivery.body_sha256,
        )
        self._alike[alike] += 1
        return self._alike[alike]

    def add(self, copy: Copy) -> None:
        """Keep a delivery until it is recorded."""
        self._copies.append(copy)
        self.bytes += len(copy.arrival.body or "")

    def empty(self) -> list[Copy]:
        """Take out what is to be recorded."""
        copies, self._copies, self.bytes = self._copies, [], 0
        return copies

    def note(self, copies: Sequence[Copy], outcomes: Sequence[str]) -> None:
        """Remember what became of each."""
        for copy, outcome in zip(copies, outcomes, strict=True):
            if copy.verdict == Verdict.ACCEPTED:
                self._is_new[copy.arrival.event_id] = outcome == COPIED

    def whole(self, *, but: str | None = None) -> Iterator[tuple[str, bool]]:
        """Tell once of each event that is recorded, but of the one that is still being read."""
        for event in [event for event in self._is_new if event != but]:
            yield event, self._is_new.pop(event)
