"""A worker's second thread: renews its leases and watches its loop, whatever the handlers do to it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from receiver.errors import StoreError, Unavailable
from receiver.store.remote import Remote

_LOOK_SECONDS = 0.25
STALL_SECONDS = 1.0


class Heartbeat:
    """Runs from `start` to `stop`, on a connection to the store and an event loop of its own."""

    def __init__(
        self,
        database: Path,
        *,
        worker: str,
        lease_seconds: float,
        jobs: Callable[[], Sequence[int]],
        log: Any,
    ) -> None:
        """`jobs` gives the numbers of the jobs that run at the moment; it is called in this thread."""
        self._database = database
        self._worker = worker
        self._every_seconds = max(0.05, lease_seconds / 3)
        self._jobs = jobs
        self._log = log
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._watched = asyncio.get_running_loop()
        self._seen_at = time.monotonic()
        self._tick: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; called on the loop that is watched."""
        self._mark()
        self._thread.start()

    def stop(self) -> None:
        """End, without waiting."""
        self._ended.set()
        if self._tick is not None:
            self._tick.cancel()

    def _mark(self) -> None:
        self._seen_at = time.monotonic()
        self._tick = self._watched.call_later(_LOOK_SECONDS, self._mark)

    def _run(self) -> None:
        asyncio.run(self._beat())

    async def _beat(self) -> None:
        remote = Remote(self._database)
        renewed_at, told_of = float("-inf"), 0.0
        while not self._ended.is_set():
            if time.monotonic() - renewed_at >= self._every_seconds and await self._renew(remote):
                renewed_at = time.monotonic()
            if time.monotonic() - self._seen_at > STALL_SECONDS and told_of != self._seen_at:
                told_of = self._seen_at
                self._tell()
            await asyncio.sleep(_LOOK_SECONDS)
        await remote.close()

    async def _renew(self, remote: Remote) -> bool:
        try:
            await remote.renew(self._worker, self._jobs())
        except (Unavailable, StoreError):
            return False  # a store that restarts gives everybody a new lease
        return True

    def _tell(self) -> None:
        task = asyncio.current_task(self._watched)
        handler = task.get_name() if task is not None else "unknown"
        self._log.warning("worker.stalled", handler=handler, seconds=STALL_SECONDS)
