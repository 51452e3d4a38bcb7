"""What was not believed: gathered in memory, written to the bounded list at most once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from receiver.errors import StoreError, Unavailable
from receiver.store.base import Intake
from receiver.store.values import Rejection

_FLUSH_SECONDS = 1.0
_MOST_KINDS = 100
"""Different entries between two writes; what is more is only counted with its like."""


class Rejections:
    """Equal rejections between two writes become one entry that says how many they were."""

    def __init__(self, intake: Intake, *, wall: Callable[[], int], log: Any) -> None:
        self._intake = intake
        self._wall = wall
        self._log = log
        self._waiting: dict[tuple[str, int, str, str], list[int]] = {}
        self._flushed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: set[asyncio.Task[None]] = set()

    def add(self, source: str, status: int, reason: str, peer: str) -> None:
        """Note one; `reason` names what failed, never a value that was sent."""
        key = (source, status, reason, peer)
        if key not in self._waiting and len(self._waiting) >= _MOST_KINDS:
            key = (source, status, reason, "many")
        entry = self._waiting.setdefault(key, [self._wall(), 0])
        entry[1] += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            delay = max(0.0, self._flushed_at + _FLUSH_SECONDS - loop.time())
            self._timer = loop.call_later(delay, self._flush)

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        self._flushed_at = loop.time()
        waiting, self._waiting = self._waiting, {}
        rows = []
        for (source, status, reason, peer), (at, repeated) in waiting.items():
            rows.append(Rejection(at, source, status, reason, peer, repeated))
            self._log.warning(
                "delivery.rejected", source=source, status=status, reason=reason, peer=peer, repeated=repeated
            )
        task = loop.create_task(self._write(rows))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _write(self, rows: list[Rejection]) -> None:
        try:
            await self._intake.reject(rows)
        except (Unavailable, StoreError):
            return  # the log has them; a list for looking at is not worth a queue

    async def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._flush()
        if self._writing:
            await asyncio.wait(self._writing)
