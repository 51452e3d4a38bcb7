"""From a stream of bytes to a finished video file: judged, hashed, written and named on the way.

Disk and hash work in a thread each on a few pieces while the next ones arrive, so that the loop stays
free and memory holds a few pieces, whatever the size of the video. What came of a download that broke off
is kept, and the next attempt goes on with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from receiver.errors import Hopeless, Unfinished
from receiver.files import OutputDirectory, Partial
from receiver.media import HEAD_BYTES, VIDEO, Container, Medium, describe
from receiver.stream import Kept, VideoStream

PIECE_BYTES = 1 << 20
_PIECES_BEHIND = 3
"""So that neither thread waits for the loop to hand it the next piece."""
_TELL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Saved:
    """A finished file."""

    path: Path
    """Where it stands; absolute."""
    bytes: int
    """Its size."""
    sha256: str
    """Its checksum, in hex."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where files go, and whose they are."""

    directory: str | Path
    """Absolute, or relative to `folder`."""
    folder: Path
    event_id: str


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a download that breaks off leaves behind for others."""

    link: str
    """The video's URL; the same link of the same event goes on where the last attempt ended."""
    is_last: bool
    """Whether there is no other attempt, so that nothing is left."""


class Progress:
    """Says in the log how far a long video is, every ten seconds."""

    def __init__(self, log: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._tell_at = clock() + _TELL_SECONDS

    def resumed(self, received: int) -> None:
        """A download goes on with what an earlier attempt left."""
        self._log.info("video.resumed", bytes=received)

    def reached(self, received: int, total: int | None) -> None:
        """So much is there by now."""
        if self._clock() < self._tell_at:
            return
        self._tell_at = self._clock() + _TELL_SECONDS
        share = {"of": total, "percent": round(100 * received / total)} if total else {}
        self._log.info("video.progressed", bytes=received, **share)


async def save_stream(
    open_video: Callable[[Kept], VideoStream],
    *,
    target: Target,
    name: Callable[[Container], str],
    progress: Progress,
    resumption: Resumption | None = None,
    medium: Medium = VIDEO,
) -> Saved:
    """Save a video; `open_video` gets what is there already, `name` says what to call the file, once
    its container is known.

    Raise Hopeless when the bytes are not of this medium, whatever the stream raises, and OSError. Unless it
    returns, nothing is left behind but what `resumption` allows.
    """
    sink = _Sink(target, progress, None if resumption is None else resumption.link)
    keep = False
    try:
        await asyncio.to_thread(sink.open)
        async with open_video(sink) as stream:
            container = await _pour(aiter(stream), sink, progress, medium)
        return await asyncio.to_thread(sink.commit, name(container))
    except (Unfinished, asyncio.CancelledError):
        keep = resumption is not None and not resumption.is_last
        raise
    finally:
        # Shielded: a cancelled attempt must not leave its file open, nor close it under a write.
        await asyncio.shield(asyncio.to_thread(sink.close, keep=keep))


def save_bytes(content: bytes, *, target: Target, name: str) -> Saved:
    """Save a small file as a whole. Blocks. Raise Hopeless, OSError."""
    sink = _Sink(target)
    try:
        sink.open()
        sink.write(content)
        sink.digest(content)
        return sink.commit(name)
    finally:
        sink.close()


async def _pour(chunks: AsyncIterator[bytes], sink: _Sink, progress: Progress, medium: Medium) -> Container:
    """Write a stream, a few pieces behind. Return its container; raise Hopeless when it is something else."""
    container: Container | None = None
    busy: deque[asyncio.Future[Any]] = deque()
    try:
        async with aclosing(_pieces(chunks)) as pieces:
            async for piece in pieces:
                container = container or _recognise(sink.head or piece, medium)
                if len(busy) == _PIECES_BEHIND:
                    await busy.popleft()
                progress.reached(sink.bytes, sink.total)
                busy.append(sink.put(piece))
    except Unfinished:
        for work in busy:  # it belongs to what the next attempt goes on with
            await work
        raise
    for work in busy:
        await work
    return container or _recognise(sink.head, medium)


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Join chunks to pieces of at least a mebibyte; the last one may be shorter.

    Before a break it is given, too, if it is enough to be recognised.
    """
    gathered: list[bytes] = []
    length = 0
    try:
        async for chunk in chunks:
            gathered.append(chunk)
            length += len(chunk)
            if length >= PIECE_BYTES:
                yield gathered[0] if len(gathered) == 1 else b"".join(gathered)
                gathered, length = [], 0
    except Unfinished:
        if length >= HEAD_BYTES:
            yield b"".join(gathered)
        raise
    if length:
        yield b"".join(gathered)


def _recognise(piece: bytes, medium: Medium) -> Container:
    head = piece[:HEAD_BYTES]
    container = medium.sniff(head)
    if container is None:
        raise Hopeless(f"what arrived is not a {medium.name} ({describe(head)})")
    return container


class _Sink:
    """A file being written by threads that may outlive the task that started them."""

    def __init__(self, target: Target, progress: Progress | None = None, link: str | None = None) -> None:
        self.bytes = 0
        self.etag: str | None = None
        self.total: int | None = None
        self.head = b""
        """How the file begins, when an earlier attempt wrote that."""
        self._target = target
        self._progress = progress
        self._key = link and hashlib.sha256(f"{target.event_id} {link}".encode()).hexdigest()
        self._lock = Lock()
        self._is_closed = False
        self._has_failed = False
        self._directory: OutputDirectory | None = None
        self._partial: Partial | None = None
        self._sha256 = hashlib.sha256()
        self._writer = ThreadPoolExecutor(1, "write")
        self._digester = ThreadPoolExecutor(1, "digest")

    def open(self) -> None:
        """Create the file, or open what an earlier attempt kept and take its checksum so far."""
        with self._lock:
            if self._is_closed:
                return
            self._directory = OutputDirectory(self._target.directory, folder=self._target.folder)
            self._partial = self._directory.begin(self._target.event_id, key=self._key)
            self.etag = self._partial.part.etag
            for piece in self._partial.part.slices():
                self.head = self.head or piece[:HEAD_BYTES]
                self._sha256.update(piece)
                self.bytes += len(piece)

    async def begin(self, offset: int, etag: str | None, total: int | None) -> None:
        """Hear what the next bytes are the beginning or the rest of."""
        self.total = total
        if not offset:
            await asyncio.to_thread(self._restart, etag)
        elif self.head and self._progress is not None:
            self._progress.resumed(offset)

    def put(self, piece: bytes) -> asyncio.Future[Any]:
        """Write a piece and add it to the checksum, each in a thread of its own, after all before it."""
        loop = asyncio.get_running_loop()
        both = ((self._writer, self.write), (self._digester, self.digest))
        work = asyncio.gather(*(loop.run_in_executor(thread, do, piece) for thread, do in both))
        # When the stream fails first, nobody will ask what became of it.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        return work

    def write(self, piece: bytes) -> None:
        """Append a piece; after one that failed there is no place for another."""
        with self._lock:
            if self._has_failed:
                raise OSError("an earlier piece could not be written")
            try:
                self._opened().write(piece)
            except OSError:
                self._has_failed = True
                raise
            self.bytes += len(piece)

    def digest(self, piece: bytes) -> None:
        """Add a piece to the checksum."""
        self._sha256.update(piece)

    def commit(self, name: str) -> Saved:
        """Let the file appear."""
        with self._lock:
            path = self._opened().commit(name)
            return Saved(path, self.bytes, self._sha256.hexdigest())

    def close(self, *, keep: bool = False) -> None:
        """Give everything back; a file that was not committed is gone, or kept."""
        for thread in (self._writer, self._digester):
            thread.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._is_closed = True
            if self._partial is not None:
                (self._partial.leave if keep else self._partial.discard)()
                self._partial = None
            if self._directory is not None:
                self._directory.close()
                self._directory = None

    def _restart(self, etag: str | None) -> None:
        with self._lock:
            self._opened().part.restart(etag)
            self.bytes, self.head, self._sha256 = 0, b"", hashlib.sha256()

    def _opened(self) -> Partial:
        if self._partial is None:
            raise OSError("the file was closed before this was written")
        return self._partial
