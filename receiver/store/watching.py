"""The verbs of watches over SQLite: in the group commit, and waking who waits for one to be due."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from receiver.record import Arrival
from receiver.store.bell import Bell
from receiver.store.clock import DueClock
from receiver.store.commits import GroupCommit
from receiver.store.sqlite.intake import Intake
from receiver.store.sqlite.reads import Reads
from receiver.store.values import Receipt
from receiver.store.watches import NewWatch, Opened, Seen, Watch

_LOOK_SECONDS = 1.0


class Watching:
    """The watches of a store, in the process that owns it."""

    def __init__(
        self,
        intake: Intake,
        reads: Reads,
        commits: GroupCommit,
        *,
        due: DueClock,
        monotonic: Callable[[], float],
        ring: Callable[[], None],
    ) -> None:
        """`ring` wakes those who wait for jobs."""
        self._intake = intake
        self._rows = intake.watches
        self._reads = reads
        self._commits = commits
        self._due = due
        self._monotonic = monotonic
        self._bell = Bell()
        self._ring = ring
        self.polls: Counter[str] = Counter()
        """How many times was asked, by outcome, since this start; those that are durable."""

    @property
    def open(self) -> int:
        """How many there are."""
        return len(self._rows.open)

    async def add(self, watches: Sequence[NewWatch]) -> list[Opened]:
        """See `watches.Watches`."""
        now = self._due()
        ahead = self._due.ahead_ms
        shifted = [
            watch._replace(first_at=watch.first_at + ahead, deadline_at=watch.deadline_at + ahead)
            for watch in watches
        ]
        opened = await self._commits.write(lambda: self._intake.watch(shifted, now=now))
        self._bell.ring()
        return opened

    async def due(
        self, sources: Sequence[str], *, count: int, wait_ms: int, busy: Sequence[int] = ()
    ) -> list[Watch]:
        """See `watches.Watches`."""
        deadline = self._monotonic() + wait_ms / 1000
        while True:
            ring = self._bell.next_ring()
            # Only read, on the connection that writes: between transactions, it sees all that is durable.
            found = self._rows.due(sources, now=self._due(), count=count, busy=busy)
            left_ms = (deadline - self._monotonic()) * 1000
            if found or left_ms <= 0:
                return found
            due = self._rows.next_due(sources, busy=busy)
            if due is not None:
                left_ms = max(1, min(left_ms, due - self._due()))
            # A callback that opens a watch rings no bell: it has better things to do.
            await asyncio.wait([ring], timeout=min(left_ms / 1000, _LOOK_SECONDS))

    async def note(self, watch: int, seen: Seen) -> None:
        """See `watches.Watches`."""
        self._due()  # a step since it was last asked counts, too
        shifted = seen._replace(next_at=seen.next_at + self._due.ahead_ms)
        await self._commits.write(lambda: self._rows.note(watch, shifted))
        self.polls[seen.outcome] += 1

    async def end(self, watch: int, ending: str) -> bool:
        """See `watches.Watches`."""
        now = self._due()
        return await self._commits.write(lambda: self._rows.end(watch, ending, at=now))

    async def expire(self, watch: int, arrival: Arrival) -> Receipt | None:
        """See `watches.Watches`."""
        receipt = await self._commits.write(lambda: self._intake.expire(watch, arrival))
        self._ring()
        return receipt

    async def page(self, *, source: str | None = None, ended: bool = False, limit: int = 1000) -> list[Watch]:
        """See `watches.Watches`."""
        return await self._reads.watches(source=source, ended=ended, limit=limit)

    async def of(self, source: str, video_id: str) -> Watch | None:
        """See `watches.Watches`."""
        return await self._reads.watch_of(source, video_id)
