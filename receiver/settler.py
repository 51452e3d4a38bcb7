"""Settling: what attempts decided goes to the store in batches, and waits while the store is away."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from receiver import dispatch, retry
from receiver.errors import StoreError, Unavailable
from receiver.life import Move
from receiver.model import utc
from receiver.ration import Ration
from receiver.router import Handler
from receiver.store.base import Jobs
from receiver.store.values import Row, Settlement

_AGAIN_SECONDS = 0.2
_LOGGED = {
    Move.FINISH: "job.finished",
    Move.RETRY: "job.retried",
    Move.FAIL: "job.failed",
    Move.CANCEL: "job.cancelled",
}


class Settler:
    """The settlements of one worker. The work is done, so that none is ever given up."""

    def __init__(self, store: Jobs, *, worker: str, ration: Ration, log: Any) -> None:
        self._store = store
        self._worker = worker
        self._ration = ration
        self._log = log
        self._waiting: list[Settlement] = []
        self._task: asyncio.Task[None] | None = None

    def jobs(self) -> list[int]:
        """The jobs whose settlement is still under way; may be called in any thread."""
        return [settlement.job for settlement in list(self._waiting)]

    def conclude(self, handler: Handler, row: Row, ran: dispatch.Ran, log: Any, **fields: Any) -> None:
        """Decide what becomes of a job, settle it with whatever else waits by then, and tell."""
        decision = retry.decide(
            ran.outcome,
            attempt=row["attempts"] + 1,
            attempts=handler.attempts,
            now_ms=(now := time.time_ns() // 1_000_000),
            random=retry.luck_of(f"{row['id']}:{handler.name}"),
            expires_at_ms=row["expires_at"],
        )
        result = None if decision.result is None else orjson.dumps(decision.result).decode()
        self._settle(
            Settlement(
                *(row["job"], row["claim"], decision.move, now),
                *(decision.run_at_ms, decision.error, result, ran.error_class),
            )
        )
        if decision.move is Move.FINISH and not self._ration.allows("finished"):
            return
        if decision.error is not None:
            fields["reason"] = decision.error
        if decision.run_at_ms is not None:
            fields["run_at"] = utc(decision.run_at_ms).isoformat(timespec="seconds")
        tell = log.error if decision.move is Move.FAIL else log.info
        tell(_LOGGED[decision.move], **fields)

    def _settle(self, settlement: Settlement) -> None:
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
