"""The live stream: events as server-sent events, those that were missed first, then those that come.

A reader that is slow waits for nobody and nobody waits for it: it holds one batch of messages, and
reads on from the store when the newest events are not in memory any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from receiver.answers import Receive, Scope, Send
from receiver.api.cursors import Cursors
from receiver.api.replies import begin, until_gone
from receiver.api.tail import Entry, Tail, matches
from receiver.errors import StoreError, Unavailable
from receiver.store.base import Reads
from receiver.store.values import EventFilter
from receiver.views import View, to_json

KIND = b"text/event-stream"
HEARTBEAT_SECONDS = 5.0
_AT_ONCE = 100
_AWAY_SECONDS = 0.5
_END_SECONDS = 1.0
_COME_AGAIN = b"retry: 2000\n\n"
_AS_IT_COMES = (b"x-accel-buffering", b"no")
"""Proxies such as nginx keep what is small for themselves until there is more of it, unless told not to."""


class Gap(View):
    """The message `gap`: events that a reader should have had, and never will."""

    reason: Literal["retention", "another_record"] = Field(
        description="Retention removed them; or the cursor is of another record, or of what came after the "
        "copy from which this one was restored, and all of it is told anew."
    )
    missing: int | None = Field(description="How many, of whatever kind; null when nobody knows.")


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stream begins."""

    after: int
    """The `seq` of the last event that the reader has."""
    is_known: bool
    """Whether the reader said so: then it is told of what it missed."""
    is_foreign: bool = False
    """Whether it named a place that is not in this record."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One reader's stream; it ends when the reader goes, or when `ending` is done."""

    store: Reads
    tail: Tail
    cursors: Cursors
    wanted: EventFilter
    start: Start
    ending: asyncio.Future[None]
    release: Callable[[], None]
    """Called at the end, whatever it was."""
    heartbeat_seconds: float = HEARTBEAT_SECONDS

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `Reply`."""
        try:
            await begin(send, 200, [(b"content-type", KIND), _AS_IT_COMES])
            if scope["method"] == "HEAD":
                await _finish(send)
                return
            async with self.tail.followed(), until_gone(receive) as gone:
                telling = asyncio.create_task(_Teller(self, send).tell())
                await asyncio.wait([telling, gone, self.ending], return_when=asyncio.FIRST_COMPLETED)
                telling.cancel()
                await asyncio.wait([telling])
                if not telling.cancelled():
                    telling.result()
                if not gone.done():
                    await _finish(send)
        finally:
            self.release()


async def _finish(send: Send) -> None:
    """End the answer, if the reader takes it in time; else the connection is closed without."""
    try:
        async with asyncio.timeout(_END_SECONDS):
            await send({"type": "http.response.body", "body": b""})
    except TimeoutError:
        return


class _Teller:
    """What one stream says, and how far it has come."""

    def __init__(self, stream: Stream, send: Send) -> None:
        self._stream = stream
        self._send = send
        self._after = stream.start.after
        self._cursor: str | None = None
        """The same as a cursor, once it is known which event that is."""
        self._is_told_of_gaps = stream.start.is_known
        self._clock = asyncio.get_running_loop().time
        self._speak_at = self._clock()

    async def tell(self) -> None:
        """Say what there is, then what comes, without end."""
        await self._write(_COME_AGAIN)
        if self._stream.start.is_foreign:
            await self._write(_gap(Gap(reason="another_record", missing=None)))
        elif self._is_told_of_gaps:
            await self._write(await self._place())
        while True:
            if self._clock() >= self._speak_at:  # whatever passes that is not wanted
                await self._write(b": nothing new\n" + await self._place())
            ring = self._stream.tail.next_ring()
            entries = self._stream.tail.behind(self._after, most=_AT_ONCE)
            if entries is None:
                await self._catch_up(ring)
            elif entries:
                await self._pass_on(entries)
            else:
                await self._wait(ring)

    async def _catch_up(self, ring: asyncio.Future[None]) -> None:
        """Read on from the store; while it can't be asked, the reader waits with us."""
        stream = self._stream
        try:
            stretch = await stream.store.following(stream.wanted, limit=_AT_ONCE, after=self._after)
        except (Unavailable, StoreError):
            await asyncio.sleep(_AWAY_SECONDS)
            return
        if stretch.removed and self._is_told_of_gaps:
            await self._write(_gap(Gap(reason="retention", missing=stretch.removed)))
        entries = [Entry(row, stream.cursors) for row in stretch.events]
        has_moved = stretch.through > self._after
        if has_moved:
            is_told = bool(entries) and entries[-1].seq == stretch.through
            self._after, self._cursor = stretch.through, entries[-1].cursor if is_told else None
        self._is_told_of_gaps = True
        if entries:
            await self._write(b"".join(entry.message for entry in entries))
        elif not has_moved:  # the tail has not had its first look yet
            await self._wait(ring)

    async def _pass_on(self, entries: list[Entry]) -> None:
        """Tell of events that are in memory, those that are wanted."""
        self._after, self._cursor = entries[-1].seq, entries[-1].cursor
        wanted = self._stream.wanted
        messages = b"".join(entry.message for entry in entries if matches(entry.row, wanted))
        if messages:
            await self._write(messages)

    async def _wait(self, ring: asyncio.Future[None]) -> None:
        """Wait for other events, or until something should be said."""
        await asyncio.wait([ring], timeout=max(0.0, self._speak_at - self._clock()))

    async def _place(self) -> bytes:
        """Say how far it has come, unless the store would have to be asked and is away."""
        if self._cursor is None:
            try:
                event = await self._stream.store.id_of(self._after)
            except (Unavailable, StoreError):
                return b"\n"
            self._cursor = self._stream.cursors.write(self._after, event)
        return b"id: %b\n\n" % self._cursor.encode()

    async def _write(self, messages: bytes) -> None:
        await self._send({"type": "http.response.body", "body": messages, "more_body": True})
        self._speak_at = self._clock() + self._stream.heartbeat_seconds


def _gap(gap: Gap) -> bytes:
    return b"event: gap\ndata: %b\n\n" % to_json(gap)
