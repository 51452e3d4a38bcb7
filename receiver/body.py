"""The intake of a body: read once, as a stream, in flat memory; judged, hashed and kept on the way."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from receiver.arrivals import Arrivals, Message, Receive, at_once
from receiver.bodies import Bodies, Spool
from receiver.errors import Refused, TooLarge, Unavailable
from receiver.model import INLINE_BODY_LIMIT, LongString, Payload
from receiver.permits import Claim, Permit
from receiver.scanner import Scanner
from receiver.sources.base import Admission, Digests
from receiver.strict import parse_small

_PIECE = 1024 * 1024
_DISK = "the body can't be written to disk right now"


class ReceivedBody(NamedTuple):
    """A body that has arrived."""

    raw: bytes | None
    """The bytes, when they are at most 64 KiB."""
    sha256: str | None
    """Hex, when the body is larger and is kept durably under this name."""
    size: int
    """Bytes."""
    payload: Payload
    """What it says; a long string appears as `{"$long_string": {"bytes": n}}`."""
    strings: tuple[LongString, ...] = ()
    """Where the long strings lie."""
    checksums: Mapping[tuple[str | int, ...], str] = MappingProxyType({})
    """Of the raw bytes of each long string, by its path."""

    @property
    def digests(self) -> Digests:
        """What a source may know of the body besides its payload."""
        return Digests(sha256=self.sha256, strings=self.checksums)


async def read_body(
    receive: Receive,
    *,
    admission: Admission,
    limit: int,
    bodies: Bodies,
    declared: int | None,
    idle_seconds: float = 30,
    minimum_rate: float = 1024,
    grace_seconds: float = 30,
) -> ReceivedBody:
    """Read a body of at most `limit` bytes from an ASGI server, feeding every byte to `admission`.

    A body over 64 KiB is on disk, durably, when this returns; when it raises, or is cancelled, nothing is
    kept. A body that the admission does not believe (ask its `conclude`) comes back without a payload, and
    isn't kept either: what is unverified is never judged.

    `declared` is the Content-Length, if there is one. Only time spent waiting for the sender counts:
    `idle_seconds` without a byte, or less than `minimum_rate` bytes a second after `grace_seconds`, raise
    TooSlow. Raise BadBody, TooLarge, Unavailable (also for too many large bodies at once) and Disconnected
    as well.
    """
    if declared is not None and declared > limit:
        raise TooLarge(f"the body has more than {limit} bytes")
    first: Message | Awaitable[Message] | None = None
    if declared is None or declared <= INLINE_BODY_LIMIT:
        first = at_once(receive())
        # Nearly every callback is here already; it takes neither a timer nor a task.
        if isinstance(first, dict) and _is_all(first, min(limit, INLINE_BODY_LIMIT)):
            return read_small(first.get("body", b""), admission)
    arrivals = Arrivals(receive, limit, idle_seconds, minimum_rate, grace_seconds)
    with Permit(bodies.permits) as permit:
        if first is None:
            permit.cover(declared or 0)  # before the first byte is asked for
            first = at_once(receive())
        parts = [await arrivals.take(first)]
        while not arrivals.is_complete and arrivals.size <= INLINE_BODY_LIMIT:
            parts.append(await arrivals.next())
        if arrivals.size <= INLINE_BODY_LIMIT:
            return read_small(b"".join(parts), admission)
        permit.cover(arrivals.size)
        writer = _Writer(bodies, admission, declared or 0)
        try:
            return await _write(writer, parts, arrivals, permit, bodies.executor)
        except BaseException:
            await _discard(writer, bodies.executor)
            raise


def _is_all(message: Message, limit: int) -> bool:
    is_request = message["type"] == "http.request" and not message.get("more_body")
    return is_request and len(message.get("body", b"")) <= limit


def read_small(raw: bytes, admission: Admission) -> ReceivedBody:
    """Judge a body that is there as a whole; without a payload when the admission does not believe it."""
    admission.feed(raw)
    payload = parse_small(raw) if admission.conclude() is None else {}
    return ReceivedBody(raw, None, len(raw), payload)


async def _write(
    writer: _Writer, parts: list[bytes], arrivals: Arrivals, permit: Permit, executor: ThreadPoolExecutor
) -> ReceivedBody:
    """Hand the body to the writer, piece by piece: one is written while the next one arrives."""
    loop = asyncio.get_running_loop()
    flight = loop.run_in_executor(executor, writer.begin)
    flight.add_done_callback(partial(_look_at, arrivals))
    gathered = arrivals.size
    while True:
        while gathered < _PIECE and not arrivals.is_complete:
            chunk = await arrivals.next()
            permit.cover(arrivals.size)
            parts.append(chunk)
            gathered += len(chunk)
            if flight.done():
                flight.result()
        await flight
        flight = loop.run_in_executor(executor, writer.take, parts)
        flight.add_done_callback(partial(_look_at, arrivals))
        if arrivals.is_complete:
            break
        parts, gathered = [], 0
    await flight
    return await loop.run_in_executor(executor, writer.end)


def _look_at(arrivals: Arrivals, flight: asyncio.Future[None]) -> None:
    """Answer early when the writer fails; and say that its error was seen, if the sender fails first."""
    if not flight.cancelled() and flight.exception() is not None:
        arrivals.interrupt()


async def _discard(writer: _Writer, executor: ThreadPoolExecutor) -> None:
    try:
        discarding = executor.submit(writer.discard)
    except RuntimeError:  # the threads have been ended
        writer.discard()
    else:
        # It waits for the piece in flight, and is done even if the request is cancelled once more.
        await asyncio.shield(asyncio.wrap_future(discarding))


class _Writer:
    """What is done to a large body, in threads: written, hashed, scanned and shown to the admission.

    Its calls come one after another, but for `discard`, which may come at any time and is the last.
    """

    def __init__(self, bodies: Bodies, admission: Admission, declared: int) -> None:
        self._bodies, self._admission, self._declared = bodies, admission, declared
        # Of a body that is signed, nothing is said before the signature was checked.
        self._is_signed = type(admission).feed is not Admission.feed
        self._lock = threading.Lock()
        self._is_over = False
        self._spool: Spool | None = None
        self._claim: Claim | None = None
        self._size = 0
        self._hash = hashlib.sha256()
        self._scanner = Scanner()
        self._fault: Refused | None = None

    def begin(self) -> None:
        with self._lock, _disk():
            if not self._is_over:
                self._claim = Claim(self._bodies.room, self._declared)
                self._spool = self._bodies.spool()

    def take(self, parts: list[bytes]) -> None:
        with self._lock:
            if self._is_over or self._spool is None or self._claim is None:
                return
            piece = b"".join(parts)
            parts.clear()
            with _disk():
                self._claim.need(len(piece))
                self._spool.write(piece)
            self._claim.spend(len(piece))
            self._size += len(piece)
            self._hash.update(piece)
            self._admission.feed(piece)
            self._scan(piece)

    def end(self) -> ReceivedBody:
        with self._lock:
            if self._spool is None or self._is_over:
                raise Unavailable(_DISK)
            if self._admission.conclude() is not None:
                self._spool.discard()
                self._give_back()
                return ReceivedBody(None, None, self._size, {})
            if self._fault is not None:
                raise self._fault
            scanned = self._scanner.finish()
            sha256 = self._hash.hexdigest()
            with _disk():
                self._spool.keep(sha256)
            self._give_back()
        return ReceivedBody(None, sha256, self._size, scanned.payload, scanned.strings, scanned.checksums)

    def discard(self) -> None:
        with self._lock:
            self._is_over = True
            if self._spool is not None:
                self._spool.discard()
            self._give_back()

    def _give_back(self) -> None:
        if self._claim is not None:
            self._claim.close()

    def _scan(self, piece: bytes) -> None:
        if self._fault is None:
            try:
                self._scanner.feed(piece)
            except Refused as fault:
                if not self._is_signed:
                    raise
                self._fault = fault


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(_DISK) from error
