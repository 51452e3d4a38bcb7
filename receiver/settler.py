"""Settling: what attempts decided goes to the store in batches, and waits while the store is away."""

from __future__ import annotations

import asyncio
from typing import Any

from receiver.errors import StoreError, Unavailable
from receiver.store.base import Jobs, Settlement

_AGAIN_SECONDS = 0.2


class Settler:
    """The settlements of one worker. The work is done, so that none is ever given up."""

    def __init__(self, store: Jobs, *, worker: str, log: Any) -> None:
        self._store = store
        self._worker = worker
        self._log = log
        self._waiting: list[Settlement] = []
        self._task: asyncio.Task[None] | None = None

    def jobs(self) -> list[int]:
        """The jobs whose settlement is still under way; may be called in any thread."""
        return [settlement.job for settlement in list(self._waiting)]

    def settle(self, settlement: Settlement) -> None:
        """Settle, with whatever else waits by then."""
        self._waiting.append(settlement)
        if self._task is None:
            self._task = asyncio.create_task(self._settle_all())

    async def finish(self, *, seconds: float) -> None:
        """Wait for what is under way, but no longer."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)

    async def _settle_all(self) -> None:
        try:
            while self._waiting:
                batch = list(self._waiting)
                try:
                    owned = await self._store.settle(batch, worker=self._worker)
                except (Unavailable, StoreError):
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                del self._waiting[: len(batch)]
                for settlement, is_owned in zip(batch, owned, strict=True):
                    if not is_owned:
                        self._log.warning("job.lost", job=settlement.job, worker=self._worker)
        finally:
            self._task = None
