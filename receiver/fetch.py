"""The only way out: downloads that go where they may, take no more than they should, and wait no
longer than that.

Redirects are not followed, proxies not used, nothing is inflated. What the errors say is fit to be
stored: the kind of error and the status, never a query string or the other side's words.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from receiver import egress
from receiver.errors import DeadLink, FileChanged, Hopeless, Unfinished, VideoError

if TYPE_CHECKING:
    import httpx

    from receiver.transport import Answer, Resolver, Transport
    from receiver.upload import Upload

_LONGEST_WAIT_SECONDS = 3600.0
_SPAN = re.compile(r"bytes [0-9]{1,18}-[0-9]{1,18}/([0-9]{1,18}|\*)")
_DEAD = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.GONE,
}
_MEND = "if the provider still has the video, ask it for a new link, else order the video again"
_TRY_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a download is."""

    connect_seconds: float = 10.0
    """For finding the name and connecting, and again for TLS."""
    idle_seconds: float = 30.0
    """Longest silence."""
    bytes_per_second: float = 16 * 1024
    """Least average rate, counted over the time spent waiting for the other side."""
    grace_seconds: float = 30.0
    """How long the average may be lower at the start."""


class Download:
    """One answer that is being received; iterate over it once for its bytes.

    `status` is 200, or 206 when a part was asked for and given. `length` is how many bytes this
    answer announces, `total` how many the whole file has; None when it doesn't say. Iteration raises
    Unfinished when the body is cut off, too slow or past its deadline, and Hopeless when it is over
    the byte limit.
    """

    def __init__(
        self, answer: Answer, *, limit: int, pace: Pace, clock: Callable[[], float], ends_at: float | None
    ) -> None:
        self.status = answer.status
        self.length = _number(answer.headers.get("content-length"))
        self.total = _total(answer) if self.status == HTTPStatus.PARTIAL_CONTENT else self.length
        self.etag = answer.headers.get("etag")
        self._answer = answer
        self._limit = limit
        self._pace = pace
        self._clock = clock
        self._ends_at = ends_at
        if self.length is not None and self.length > limit:
            raise Hopeless(f"the download is larger than the limit: {self.length} bytes are announced")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._answer)
        received, waited = 0, 0.0
        while True:
            before = self._clock()
            chunk = await self._next(chunks)
            waited += self._clock() - before
            if chunk is None:
                return
            received += len(chunk)
            if received > self._limit:
                raise Hopeless("the download is larger than the limit")
            if waited > self._pace.grace_seconds and received < waited * self._pace.bytes_per_second:
                raise Unfinished("the download was too slow")
            yield chunk

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        left = None if self._ends_at is None else self._ends_at - self._clock()
        # Only near the deadline is a timer worth its price: the transport ends longer silences.
        is_near = left is not None and left < self._pace.idle_seconds
        try:
            async with asyncio.timeout(left if is_near else None):
                return await anext(chunks, None)
        except TimeoutError:
            raise _past_deadline() from None


class Fetcher:
    """Downloads from permitted places; one per event loop, to be closed with `aclose()`.

    `max_bytes` limits every download. `resolver`, `clock`, `now` and `tls` stand for the system's
    name resolution, a monotonic clock in seconds, the time of day and the trusted authorities.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        resolver: Resolver | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pace: Pace | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.max_bytes = max_bytes
        self._resolver = resolver
        self._clock = clock
        self._now = now
        self._pace = pace or Pace()
        self._tls = tls
        self._transports: dict[bool, Transport] = {}

    @asynccontextmanager
    async def open(
        self,
        url: str,
        *,
        base: str,
        headers: Mapping[str, str] | None = None,
        offset: int = 0,
        if_range: str | None = None,
        deadline_seconds: float | None = None,
        allow_private: bool = False,
    ) -> AsyncIterator[Download]:
        """Begin to download `url`, which must lie under `base`.

        With `offset` the rest from that byte on is asked for, provided that the file still has the
        ETag `if_range`: the answer is 206 if it does, else 200 with the whole file. All of it has to
        be done within `deadline_seconds`. Raise Hopeless or Unfinished, FileChanged when the rest of
        another file is offered, or there is none.
        """
        target = egress.under(url, base=base)
        asked = dict(headers or {})
        if offset:
            asked |= {"Range": f"bytes={offset}-"} | ({"If-Range": if_range} if if_range else {})
        ends_at = None if deadline_seconds is None else self._clock() + deadline_seconds
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(deadline_seconds):
                    exchange = self.exchange("GET", target, asked, allow_private=allow_private)
                    answer = await stack.enter_async_context(exchange)
                    await self._judge(answer, offset)
            except TimeoutError:
                raise _past_deadline() from None
            limit = self.max_bytes - (offset if answer.status == HTTPStatus.PARTIAL_CONTENT else 0)
            yield Download(answer, limit=limit, pace=self._pace, clock=self._clock, ends_at=ends_at)

    def exchange(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        content: bytes | Upload | None = None,
        *,
        allow_private: bool = False,
    ) -> AbstractAsyncContextManager[Answer]:
        """Send one request to a URL that `egress` has read; the status is the caller's to judge."""
        # Apart, so that nobody is served by a connection that was opened for those who may go further.
        if allow_private not in self._transports:
            # Here and not above: the HTTP library costs a start-up that may never need it.
            from receiver.transport import Transport

            self._transports[allow_private] = Transport(
                resolver=self._resolver,
                tls=self._tls,
                connect_seconds=self._pace.connect_seconds,
                idle_seconds=self._pace.idle_seconds,
                allow_private=allow_private,
            )
        return self._transports[allow_private].exchange(method, url, headers, content)

    async def aclose(self) -> None:
        """Close all connections; a fetcher can be used again afterwards."""
        while self._transports:
            _, transport = self._transports.popitem()
            await transport.aclose()

    async def _judge(self, answer: Answer, offset: int) -> None:
        status = answer.status
        if status == HTTPStatus.OK:
            return
        if status == HTTPStatus.PARTIAL_CONTENT:
            if not answer.headers.get("content-range", "").startswith(f"bytes {offset}-") or not offset:
                kind = FileChanged if offset else Unfinished
                raise kind("206: another part was sent than the one that was asked for")
            return
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            raise FileChanged("416: the file has become shorter")
        if status in _DEAD:
            raise DeadLink(await _link_refusal(answer), status=status)
        raise self._failure(status, answer.headers.get("retry-after"))

    def _failure(self, status: int, retry_after: str | None) -> VideoError:
        if status in _TRY_AGAIN or status >= 500:
            asks = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
            wait = retry_after_seconds(retry_after, now=self._now()) if asks else None
            return Unfinished(phrase(status), retry_after_seconds=wait)
        if 300 <= status < 400:
            return Hopeless(f"{phrase(status)}: redirects are not followed")
        return Hopeless(phrase(status))


def retry_after_seconds(value: str | None, *, now: datetime) -> float | None:
    """Read a Retry-After header (RFC 9110, 10.2.3): seconds or a date; at most an hour, None if odd."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_WAIT_SECONDS)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return None
    wait = (then if then.tzinfo else then.replace(tzinfo=UTC)) - now
    return min(max(wait.total_seconds(), 0.0), _LONGEST_WAIT_SECONDS)


async def _link_refusal(answer: Answer) -> str:
    """Say why a file host refuses a link; many tell expired ones apart in what they write only."""
    text = b""
    with suppress(Unfinished, TimeoutError):
        async with asyncio.timeout(5):
            text = await answer.read(limit=8192)
    if b"expired" in text.lower():
        return link_expired(answer.status)
    if answer.status == HTTPStatus.FORBIDDEN:
        return f"{phrase(answer.status)}: an expired or forbidden link"
    return phrase(answer.status)


def link_expired(status: int) -> str:
    """What an operator has to know of a link that came too late."""
    return f"link_expired: {phrase(status)}, the link has expired; {_MEND}"


def _past_deadline() -> Unfinished:
    return Unfinished("the download took longer than its deadline allows")


def _total(answer: Answer) -> int | None:
    """Read how many bytes the whole file has (RFC 9110, 14.4)."""
    span = _SPAN.fullmatch(answer.headers.get("content-range", ""))
    return _number(span[1]) if span else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def phrase(status: int) -> str:
    """A status as an operator knows it: `404 Not Found`."""
    with suppress(ValueError):
        return f"{status} {HTTPStatus(status).phrase}"
    return str(status)
