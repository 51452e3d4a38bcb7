"""A capture that is compressed, or comes through a pipe, becomes a plain file without a name.

As much as it says, and no more.
"""

from __future__ import annotations

import io
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from receiver.capture import layout
from receiver.errors import BadCapture

_GZIP = b"\x1f\x8b"
_PACKED = 1 << 16
_PIECE = 1 << 20
_SCRATCH = Path("/var/tmp")  # noqa: S108 - on a disk, where /tmp may be memory; the file has no name
_RESERVE = 256 << 20
_BEGIN = layout.LARGEST_MANIFEST + (256 << 10)
"""So much holds the first member, whatever heads are before it."""


@contextmanager
def plain(file: io.BufferedReader) -> Iterator[IO[bytes]]:
    """The file itself, or what it holds when it is compressed. Raise BadCapture and OSError."""
    is_compressed = file.peek(len(_GZIP)).startswith(_GZIP)
    if not is_compressed and file.seekable():
        yield file
        return
    with tempfile.TemporaryFile(dir=_SCRATCH if _SCRATCH.is_dir() else None) as unpacked:
        _write(_unpacked(file) if is_compressed else _pieces(file), unpacked)
        unpacked.flush()
        unpacked.seek(0)
        yield unpacked


def _write(pieces: Iterator[bytes], target: IO[bytes]) -> None:
    """Of a file that is cut short, or damaged somewhere, what comes before that."""
    begin, written = bytearray(), 0
    most: int | None = None
    for piece in pieces:
        if most is None:
            begin += piece
            most = _announced(bytes(begin), target) if len(begin) >= _BEGIN else None
        written += len(piece)
        if most is not None and written > most:
            raise BadCapture("it unpacks to more than it says that it holds")
        target.write(piece)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """What is packed, in pieces of at most a mebibyte, however tightly; where it can't be read it ends."""
    packed = file.read(_PACKED)
    with suppress(zlib.error):
        while packed:  # there may be several parts, one after the other
            unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            while not unpacker.eof and packed:
                yield unpacker.decompress(packed, _PIECE)
                packed = unpacker.unconsumed_tail or (b"" if unpacker.eof else file.read(_PACKED))
            packed = unpacker.unused_data or file.read(_PACKED)


def _announced(begin: bytes, target: IO[bytes]) -> int:
    """How many bytes a capture that begins like this may have in all.

    Raise BadCapture when the disk has no room for so many.
    """
    file = io.BytesIO(begin)
    first = layout.first_head(file.read)
    most = layout.read_manifest(file.read(first.size)).most_bytes
    status = os.fstatvfs(target.fileno())
    if most > status.f_bavail * status.f_frsize - _RESERVE:
        raise BadCapture(f"it unpacks to {most} bytes, for which there is no room here")
    return most
