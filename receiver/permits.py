"""What the large bodies that arrive at the same time may take together: places, bytes, room on the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable

from receiver.errors import Unavailable

MOST_UPLOADS = 64
MOST_UPLOAD_BYTES = 16 * 2**30


class Permits:
    """The large uploads under way; it belongs to one event loop.

    More than `most` of them are refused, and so is one that would bring all to more than `most_bytes`,
    unless it is the only one: no body of a permitted size is refused for ever.
    """

    def __init__(self, *, most: int = MOST_UPLOADS, most_bytes: int = MOST_UPLOAD_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self.uploads = 0
        """How many there are."""
        self.size = 0
        """Bytes that they have declared or, where they have not, have brought so far."""

    def cover(self, permit: Permit, size: int) -> None:
        """Let a permit be for `size` bytes. Raise Unavailable."""
        if not permit.size and self.uploads >= self._most:
            raise Unavailable("too many large bodies arrive right now")
        others = self.size - permit.size
        if others and others + size > self._most_bytes:
            raise Unavailable("the large bodies that arrive right now are too large together")
        self.uploads += not permit.size
        self.size = others + size
        permit.size = size

    def give_back(self, permit: Permit) -> None:
        """Let others have what a permit was for."""
        self.uploads -= bool(permit.size)
        self.size -= permit.size
        permit.size = 0


class Permit:
    """The permit of one upload, which is for nothing until it is asked to cover something."""

    __slots__ = ("_permits", "size")

    def __init__(self, permits: Permits) -> None:
        self._permits = permits
        self.size = 0
        """Bytes."""

    def cover(self, size: int) -> None:
        """See that it is for `size` bytes at least. Raise Unavailable."""
        if size > self.size:
            self._permits.cover(self, size)

    def __enter__(self) -> Permit:
        return self

    def __exit__(self, *_: object) -> None:
        self._permits.give_back(self)


class Room:
    """The free space of a disk less what uploads under way will still write; for several threads.

    `free_bytes` raises OSError; `reserve` bytes stay free.
    """

    def __init__(self, free_bytes: Callable[[], int], reserve: int) -> None:
        self._free_bytes = free_bytes
        self.reserve = reserve
        """Bytes."""
        self._lock = threading.Lock()
        self._promised = 0

    def promise(self, size: int) -> None:
        """Keep `size` bytes for somebody. Raise Unavailable and OSError."""
        with self._lock:
            self._check(self._promised + size)
            self._promised += size

    def check(self, size: int) -> None:
        """See that `size` bytes of what was promised are still there: we are not alone on the disk."""
        self._check(size)

    def release(self, size: int) -> None:
        """Take back a promise: the bytes are written, or will not be."""
        with self._lock:
            self._promised -= size

    def _check(self, size: int) -> None:
        if self._free_bytes() - size < self.reserve:
            raise Unavailable("there is not enough space on the disk right now")


class Claim:
    """What one upload was promised of the room and has not yet written."""

    def __init__(self, room: Room, size: int) -> None:
        """Claim `size` bytes. Raise Unavailable and OSError."""
        self._room = room
        self._left = 0
        self.need(size)

    def need(self, size: int) -> None:
        """See that there is room for the next `size` bytes. Raise Unavailable and OSError."""
        if size > self._left or not self._left:
            self._room.promise(size - self._left)
            self._left = size
        else:
            self._room.check(self._left)

    def spend(self, size: int) -> None:
        """Say that `size` bytes have been written."""
        self._room.release(size)
        self._left -= size

    def close(self) -> None:
        """Give back the rest."""
        self._room.release(self._left)
        self._left = 0
