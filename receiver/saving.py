"""From a stream of bytes to a finished video file: judged, hashed, written and named on the way.

Disk and hash work in a thread on one piece while the next one arrives, so that the loop stays free
and memory holds a few pieces, whatever the size of the video.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from receiver.errors import Hopeless
from receiver.files import OutputDirectory, Partial
from receiver.media import HEAD_BYTES, Container, describe, sniff

PIECE_BYTES = 1 << 20


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


async def save_stream(
    chunks: AsyncIterator[bytes], *, target: Target, name: Callable[[Container], str]
) -> Saved:
    """Save a video; `name` says what to call it, once its container is known.

    Raise Hopeless when the bytes are no video, whatever the stream raises, and OSError. Unless it
    returns, nothing is left behind.
    """
    sink = _Sink(target)
    try:
        await asyncio.to_thread(sink.open)
        container = await _pour(chunks, sink)
        return await asyncio.to_thread(sink.commit, name(container))
    finally:
        # Shielded: a cancelled attempt must not leave its file open, nor close it under a write.
        await asyncio.shield(asyncio.to_thread(sink.close))


def save_bytes(content: bytes, *, target: Target, name: str) -> Saved:
    """Save a small file as a whole. Blocks. Raise Hopeless, OSError."""
    sink = _Sink(target)
    try:
        sink.open()
        sink.write(content)
        return sink.commit(name)
    finally:
        sink.close()


async def _pour(chunks: AsyncIterator[bytes], sink: _Sink) -> Container:
    """Write a stream, one piece behind. Return its container; raise Hopeless when it is no video."""
    loop = asyncio.get_running_loop()
    container: Container | None = None
    writing: asyncio.Future[None] | None = None
    async with aclosing(_pieces(chunks)) as pieces:
        async for piece in pieces:
            container = container or _recognise(piece)
            if writing is not None:
                await writing
            writing = loop.run_in_executor(None, sink.write, piece)
            # When the stream fails first, nobody will ask what became of this write.
            writing.add_done_callback(lambda done: done.cancelled() or done.exception())
    if writing is not None:
        await writing
    return container or _recognise(b"")


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Join chunks to pieces of at least a mebibyte; the last one may be shorter."""
    gathered: list[bytes] = []
    length = 0
    async for chunk in chunks:
        gathered.append(chunk)
        length += len(chunk)
        if length >= PIECE_BYTES:
            yield b"".join(gathered)
            gathered, length = [], 0
    if length:
        yield b"".join(gathered)


def _recognise(piece: bytes) -> Container:
    head = piece[:HEAD_BYTES]
    container = sniff(head)
    if container is None:
        raise Hopeless(f"what arrived is not a video ({describe(head)})")
    return container


class _Sink:
    """A file being written by threads that may outlive the task that started them."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = Lock()
        self._is_closed = False
        self._directory: OutputDirectory | None = None
        self._partial: Partial | None = None
        self._sha256 = hashlib.sha256()
        self._bytes = 0

    def open(self) -> None:
        """Create the file."""
        with self._lock:
            if not self._is_closed:
                self._directory = OutputDirectory(self._target.directory, folder=self._target.folder)
                self._partial = self._directory.begin(self._target.event_id)

    def write(self, piece: bytes) -> None:
        """Append a piece."""
        with self._lock:
            self._sha256.update(piece)
            self._bytes += len(piece)
            self._opened().write(piece)

    def commit(self, name: str) -> Saved:
        """Let the file appear."""
        with self._lock:
            path = self._opened().commit(name)
            return Saved(path, self._bytes, self._sha256.hexdigest())

    def close(self) -> None:
        """Give everything back; a file that was not committed is gone."""
        with self._lock:
            self._is_closed = True
            if self._partial is not None:
                self._partial.discard()
                self._partial = None
            if self._directory is not None:
                self._directory.close()
                self._directory = None

    def _opened(self) -> Partial:
        if self._partial is None:
            raise OSError("the file was closed before this was written")
        return self._partial
