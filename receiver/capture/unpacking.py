"""A capture that is compressed becomes a plain one, in a nameless file: as much as it says, and no more."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from receiver.capture import layout
from receiver.errors import BadCapture

_GZIP = b"\x1f\x8b"
_PACKED = 1 << 16
_PIECE = 1 << 20
_SCRATCH = Path("/var/tmp")  # noqa: S108 - on a disk, where /tmp may be memory; the file has no name
_RESERVE = 256 << 20


@contextmanager
def plain(file: BinaryIO) -> Iterator[IO[bytes]]:
    """The file itself, or what it holds when it is compressed. Raise BadCapture and OSError."""
    is_compressed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    if not is_compressed:
        yield file
        return
    with tempfile.TemporaryFile(dir=_SCRATCH if _SCRATCH.is_dir() else None) as unpacked:
        _unpack(file, unpacked)
        unpacked.flush()
        unpacked.seek(0)
        yield unpacked


def _unpack(file: BinaryIO, target: IO[bytes]) -> None:
    """Of a file that is cut short, or damaged somewhere, what comes before that."""
    begin, written = bytearray(), 0
    most: int | None = None
    for piece in _pieces(file):
        if most is None:
            begin += piece
            most = _announced(bytes(begin), target)
        written += len(piece)
        if written > (most or layout.BLOCK + layout.LARGEST_MANIFEST + _PIECE):
            raise BadCapture("it unpacks to more than it says that it holds")
        target.write(piece)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """What is packed, in pieces of at most a mebibyte, however tightly; where it can't be read it ends."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    packed = b""
    with suppress(zlib.error):
        while not unpacker.eof and (packed := packed or file.read(_PACKED)):
            yield unpacker.decompress(packed, _PIECE)
            packed = unpacker.unconsumed_tail


def _announced(begin: bytes, target: IO[bytes]) -> int | None:
    """How many bytes a capture that begins like this may have in all; None when that is still to come.

    Raise BadCapture when the disk has no room for so many.
    """
    if len(begin) < layout.BLOCK:
        return None
    first = layout.first_head(begin[: layout.BLOCK])
    text = begin[layout.BLOCK : layout.BLOCK + first.size]
    if len(text) < first.size:
        return None
    most = layout.read_manifest(text).most_bytes
    status = os.fstatvfs(target.fileno())
    if most > status.f_bavail * status.f_frsize - _RESERVE:
        raise BadCapture(f"it unpacks to {most} bytes, for which there is no room here")
    return most
