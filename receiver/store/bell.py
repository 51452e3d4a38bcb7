"""What wakes those who wait for something to change."""

from __future__ import annotations

import asyncio


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
