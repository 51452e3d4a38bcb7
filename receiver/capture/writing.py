"""Writing a capture: member after member, each one hashed on its way, to the same bytes every time."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from receiver.capture import layout
from receiver.errors import CommandFailed

_PIECE = 1 << 20


class Writer:
    """Writes members in the order that a capture has, and their sums at the end."""

    def __init__(self, file: IO[bytes], stop: threading.Event) -> None:
        self._file = file
        self._stop = stop
        self._sums: list[tuple[str, str]] = []
        self._size = 0

    def add(self, name: str, content: bytes | BinaryIO, *, size: int, sha256: str | None = None) -> None:
        """Write one member of so many bytes.

        Raise CommandFailed when a file has become another one: shorter, longer, or not of this SHA-256.
        """
        self._put(layout.head(name, size))
        digest = hashlib.sha256()
        left = size
        for piece in _pieces(content):
            left -= len(piece)
            if left < 0:
                break
            digest.update(piece)
            self._put(piece)
        if left or sha256 not in (None, digest.hexdigest()):
            raise CommandFailed(f"{name} is damaged, or changed while it was being written")
        self._put(layout.filling(size))
        self._sums.append((name, digest.hexdigest()))

    def finish(self) -> None:
        """Write the sums, which say that the capture is whole, and the end."""
        text = "".join(f"{sha256}  {name}\n" for name, sha256 in self._sums).encode()
        self._put(layout.head(layout.SUMS, len(text)) + text + layout.filling(len(text)))
        self._put(bytes(2 * layout.BLOCK))
        self._put(bytes(-self._size % layout.RECORD))

    def _put(self, data: bytes) -> None:
        if self._stop.is_set():
            raise CommandFailed("it was broken off")
        self._file.write(data)
        self._size += len(data)


def _pieces(content: bytes | BinaryIO) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    while piece := content.read(_PIECE):
        yield piece


@contextmanager
def written(path: Path, *, is_compressed: bool, stop: threading.Event | None = None) -> Iterator[Writer]:
    """Write a new file that only its owner can read; it is on disk, durably, at the end of the block.

    Raise FileExistsError and OSError, and CommandFailed soon after `stop` is set.
    """
    stop = stop or threading.Event()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if is_compressed:
            # Neither a name nor a time in it: the same members make the same bytes.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
                yield Writer(cast(IO[bytes], packed), stop)
        else:
            yield Writer(file, stop)
        file.flush()
        os.fsync(file.fileno())
