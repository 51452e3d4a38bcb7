"""How questions are answered: JSON, or bytes that are sent in pieces; each with the same guarding headers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import orjson

from receiver.answers import GUARDED, RETRY_SECONDS, RawHeaders, Receive, Scope, Send, retry_after
from receiver.errors import Hopeless, StoreError, Unavailable

JSON = b"application/json"
LINES = b"application/x-ndjson"
_LONGEST_RANGE = 64
_RANGE = re.compile(rb"(?i:bytes)=[ \t]*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))[ \t]*")
_STALLED_SECONDS = 60.0
"""So long may a reader take for one piece; then the connection is closed."""


class Reply(Protocol):
    """An answer."""

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that is there as a whole."""

    status: int
    body: bytes
    headers: RawHeaders = field(default_factory=list)
    kind: bytes = JSON

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `Reply`."""
        length = (b"content-length", b"%d" % len(self.body))
        await begin(send, self.status, [(b"content-type", self.kind), length, *self.headers])
        await send({"type": "http.response.body", "body": self.body})


def problem(status: int, error: str, *, headers: RawHeaders | None = None) -> Whole:
    """Say what is wrong."""
    return Whole(status, orjson.dumps({"status": "error", "error": error}), headers or [])


def busy(error: str) -> Whole:
    """Ask to come again."""
    return problem(503, error, headers=retry_after(RETRY_SECONDS))


async def begin(send: Send, status: int, headers: RawHeaders) -> None:
    """Send the head of an answer."""
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *GUARDED]})


class Content(Protocol):
    """Bytes whose number is known."""

    size: int
    kind: bytes
    """The media type: never what a sender said."""
    name: str
    """What a reader may call the file: letters, digits, `_` and one dot."""
    etag: bytes

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """The bytes from `begin` up to but without `end`. Blocks. Raise OSError or Hopeless."""
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


@dataclass(frozen=True, slots=True)
class Pieces:
    """Bytes that are read while they are sent, in flat memory; a part of them when one is asked for.

    One range at a time is given (RFC 9110, 14.2); several are refused, unknown units and what is no range
    are passed over.
    """

    content: Content
    executor: ThreadPoolExecutor
    release: Callable[[], None]
    """Called at the end, whatever it was."""

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `Reply`."""
        try:
            with closing(self.content):
                await self._send(scope, receive, send)
        finally:
            self.release()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = self.content
        if is_known(scope["headers"], content.etag):
            await begin(send, 304, [(b"etag", content.etag)])
            await send({"type": "http.response.body", "body": b""})
            return
        part = wanted_part(scope["headers"], size=content.size, etag=content.etag)
        if isinstance(part, Whole):
            await part.send(scope, receive, send)
            return
        first, end = part or (0, content.size)
        headers = [
            (b"content-type", content.kind),
            (b"content-length", b"%d" % (end - first)),
            (b"content-disposition", b'attachment; filename="%b"' % content.name.encode("ascii")),
            (b"accept-ranges", b"bytes"),
            (b"etag", content.etag),
        ]
        if part:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (first, end - 1, content.size)))
        await begin(send, 206 if part else 200, headers)
        if scope["method"] == "HEAD" or first == end:
            await send({"type": "http.response.body", "body": b""})
            return
        async with until_gone(receive) as gone:
            # An answer that is left unfinished ends its connection: nobody takes it for the whole.
            with suppress(OSError, Hopeless, TimeoutError):
                await self._pour(content.pieces(first, end), send, gone)

    async def _pour(self, pieces: Iterator[bytes], send: Send, gone: asyncio.Future[None]) -> None:
        """Send the pieces while there is somebody who takes them."""
        read = partial(asyncio.get_running_loop().run_in_executor, self.executor, next, pieces, None)
        piece = await read()
        while piece is not None and not gone.done():
            following = await read()
            message = {"type": "http.response.body", "body": piece, "more_body": following is not None}
            async with asyncio.timeout(_STALLED_SECONDS):
                await send(message)
            piece = following


@dataclass(frozen=True, slots=True)
class Lines:
    """JSON objects, one on each line, that are asked for while they are sent."""

    lines: AsyncIterator[bytes]
    """Whole lines, several at once."""
    release: Callable[[], None]
    """Called at the end, whatever it was."""

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `Reply`."""
        try:
            await begin(send, 200, [(b"content-type", LINES)])
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            async with until_gone(receive) as gone:
                # As above: who reads the answer sees that it was not ended.
                with suppress(Unavailable, StoreError, TimeoutError):
                    await self._pour(send, gone)
        finally:
            self.release()

    async def _pour(self, send: Send, gone: asyncio.Future[None]) -> None:
        async for lines in self.lines:
            if gone.done():
                return
            async with asyncio.timeout(_STALLED_SECONDS):
                await send({"type": "http.response.body", "body": lines, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def is_known(headers: RawHeaders, etag: bytes) -> bool:
    """Whether a reader says that it has these bytes already (RFC 9110, 13.1.2)."""
    known = b",".join(value for name, value in headers if name == b"if-none-match")
    return known.strip() == b"*" or etag in [each.strip().removeprefix(b"W/") for each in known.split(b",")]


def wanted_part(headers: RawHeaders, *, size: int, etag: bytes) -> tuple[int, int] | Whole | None:
    """The part that a Range header asks for, as begin and end; None when all is asked for.

    However long the header is, this takes one look at its beginning.
    """
    said = [value for name, value in headers if name == b"range"]
    only_if = [value for name, value in headers if name == b"if-range"]
    if not said or only_if not in ([], [etag]):
        return None
    if len(said) > 1 or b"," in said[0]:
        return problem(416, "one range at a time")
    found = _RANGE.fullmatch(said[0]) if len(said[0]) <= _LONGEST_RANGE else None
    if found is None:
        return None
    if found[3] is not None:
        first, end = max(0, size - int(found[3])), size
    else:
        first, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < int(found[1]):
            return None  # no range at all (RFC 9110, 14.1.1)
    if first >= end:
        return problem(
            416, "the range lies beyond the end", headers=[(b"content-range", b"bytes */%d" % size)]
        )
    return first, end


@asynccontextmanager
async def until_gone(receive: Receive) -> AsyncIterator[asyncio.Future[None]]:
    """A future that is done when there is nobody left to read."""

    async def wait() -> None:
        while (await receive())["type"] != "http.disconnect":
            continue

    task = asyncio.ensure_future(wait())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
