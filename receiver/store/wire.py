"""How the store's verbs cross its Unix socket: length-prefixed JSON frames, and where the socket is.

A request is `[number, verb, arguments]`, its answer `[number, result, null]` or
`[number, null, [error, reason]]`. The first request is `hello`, so that versions are compared
before anything else is said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from receiver.errors import NotFound, StoreError, Unavailable, Unstorable

PROTOCOL = 3
LARGEST_FRAME = 256 * 2**20
_LONGEST_SOCKET_NAME = 100  # bytes; the kernel's limit is 108

ERRORS: dict[str, type[Exception]] = {
    error.__name__: error for error in (NotFound, StoreError, Unavailable, Unstorable)
}


def pack(message: Any) -> bytes:
    """One frame: four bytes of length, then JSON. Raise Unstorable for a value that JSON can't carry."""
    try:
        text = orjson.dumps(message)
    except TypeError as error:  # lone surrogates and integers beyond 64 bits are told so, too
        raise Unstorable(f"it can't be sent to the store: {error}") from error
    return len(text).to_bytes(4, "big") + text


class Frames:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Give every message that is complete now. Raise StoreError for what is no frame."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 4:
            length = int.from_bytes(buffer[start : start + 4], "big")
            if length > LARGEST_FRAME:
                raise StoreError("the other side of the socket does not speak the store's language")
            end = start + 4 + length
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                message = orjson.loads(view[start + 4 : end])
            start = end
            yield message
        del buffer[:start]


def socket_path(database: Path) -> Path:
    """Where the store of a database listens."""
    return database.absolute().with_name(database.name + ".sock")


def lock_path(database: Path) -> Path:
    """The file whose lock says that a store is open."""
    return database.absolute().with_name(database.name + ".lock")


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name for a socket in a folder of any depth: the kernel takes about 100 bytes only."""
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_NAME:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
