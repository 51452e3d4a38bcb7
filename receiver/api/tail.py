"""The newest events, read from the store once for all who follow them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

from receiver.api.cursors import Cursors
from receiver.errors import StoreError, Unavailable
from receiver.store.base import Reads
from receiver.store.bell import Bell
from receiver.store.values import EventFilter, Row, Stretch
from receiver.views import event_view, to_json

_KEPT = 1000
_AT_ONCE = 200
_PAUSE_SECONDS = 0.05
"""However many events there are, the store is asked so often for them, and not more often."""
_WAIT_MS = 10_000
_AWAY_SECONDS = 0.5
_ANY = EventFilter()


class Entry:
    """An event, and the message that tells of it."""

    __slots__ = ("cursor", "message", "row", "seq")

    def __init__(self, row: Row, cursors: Cursors) -> None:
        self.seq: int = row["seq"]
        self.row = row
        self.cursor = cursors.write(self.seq, row["id"])
        self.message = b"id: %b\ndata: %b\n\n" % (self.cursor.encode(), to_json(event_view(row)))


class Tail:
    """The last thousand events, as long as anybody follows."""

    def __init__(self, store: Reads, cursors: Cursors) -> None:
        self._store = store
        self._cursors = cursors
        self._entries: deque[Entry] = deque()
        self._after: int | None = None
        """All events behind this one are among the entries; None before the first look."""
        self._through = 0
        self._bell = Bell()
        self._followers = 0
        self._following: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Look for events while this block lasts."""
        self._followers += 1
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="follow the events")
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers and self._following is not None:
                self._following.cancel()
                self._following = None
                self._entries.clear()
                self._after = None

    def next_ring(self) -> asyncio.Future[None]:
        """Done when there are other events than before."""
        return self._bell.next_ring()

    def behind(self, seq: int, *, most: int) -> list[Entry] | None:
        """The first few events after one; None when that is too long ago to be kept here."""
        if self._after is None or seq < self._after:
            return None
        # From the right: who follows is near the end.
        newer = 0
        for entry in reversed(self._entries):
            if entry.seq <= seq:
                break
            newer += 1
        start = len(self._entries) - newer
        return list(islice(self._entries, start, start + most))

    async def _follow(self) -> None:
        while True:
            try:
                await self._look()
            except (Unavailable, StoreError):
                await asyncio.sleep(_AWAY_SECONDS)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _look(self) -> None:
        if self._after is None:
            self._through = await self._store.newest(after=-1, wait_ms=0)
            self._after = self._through
            self._bell.ring()
        newest = await self._store.newest(after=self._through, wait_ms=_WAIT_MS)
        if newest > self._through:
            self._take(await self._store.following(_ANY, limit=_AT_ONCE, after=self._through))

    def _take(self, stretch: Stretch) -> None:
        if stretch.removed:  # who follows has to hear of it, and reads that stretch for itself
            self._entries.clear()
            self._after = stretch.through
        else:
            self._entries.extend(Entry(row, self._cursors) for row in stretch.events)
        self._through = stretch.through
        while len(self._entries) > _KEPT:
            self._after = self._entries.popleft().seq
        self._bell.ring()


def matches(row: Row, wanted: EventFilter) -> bool:
    """Whether an event is one that is wanted, as the store would say."""
    return (
        wanted.source in (None, row["source"])
        and wanted.type in (None, row["type"])
        and wanted.video in (None, row["video_id"])
        and (wanted.since is None or row["received_at"] >= wanted.since)
        and (wanted.until is None or row["received_at"] < wanted.until)
        and (wanted.state is None or any(job["state"] == wanted.state for job in row["jobs"]))
    )
