"""What wakes those who wait for something to change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Bell:
    """Wakes everybody who began to listen before it rings."""

    def __init__(self) -> None:
        self._ring: asyncio.Future[None] | None = None

    def next_ring(self) -> asyncio.Future[None]:
        """A future that is done when the bell rings next."""
        if self._ring is None:
            self._ring = asyncio.get_running_loop().create_future()
        return self._ring

    def ring(self) -> None:
        """Wake them."""
        if self._ring is not None:
            self._ring.set_result(None)
            self._ring = None


class News:
    """Tells those who wait for it of the newest event."""

    def __init__(self, newest: Callable[[], int], monotonic: Callable[[], float]) -> None:
        """`newest` says which number that has."""
        self._newest = newest
        self._monotonic = monotonic
        self._bell = Bell()

    def ring(self) -> None:
        """There may be a newer one."""
        self._bell.ring()

    async def after(self, seq: int, *, wait_ms: int) -> int:
        """The number of the newest event; wait up to `wait_ms` for one after `seq`."""
        deadline = self._monotonic() + wait_ms / 1000
        while (newest := self._newest()) <= seq:
            left_seconds = deadline - self._monotonic()
            if left_seconds <= 0:
                break
            await asyncio.wait([self._bell.next_ring()], timeout=left_seconds)
        return newest
