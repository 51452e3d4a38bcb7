"""A worker's second thread: renews its leases and watches its loop, whatever the handlers do to it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from receiver import logs, retry
from receiver.errors import StoreError, Unavailable
from receiver.lifeline import REPLACE_ME
from receiver.outcome import Retry
from receiver.store.base import Row, Settlement
from receiver.store.remote import Remote

_LOOK_SECONDS = 0.25
STALL_SECONDS = 1.0
STUCK_SECONDS = 5.0
"""How long a loop may stand still after the first of its attempts was out of time."""


class Heartbeat:
    """Runs from `start` to `stop`, on a connection to the store and an event loop of its own."""

    def __init__(
        self,
        database: Path,
        *,
        worker: str,
        lease_seconds: float,
        jobs: Callable[[], Sequence[int]],
        due: Callable[[], Sequence[tuple[float, Row]]],
        attempts_of: Callable[[str], int],
        log: Any,
    ) -> None:
        """`jobs` gives the numbers of the jobs that the worker has, `due` those that run, each with when
        it is out of time (monotonic seconds). Both are called in this thread."""
        self._database = database
        self._worker = worker
        self._every_seconds = max(0.05, lease_seconds / 3)
        self._jobs = jobs
        self._due = due
        self._attempts_of = attempts_of
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
                handler = self._holder()
                self._log.warning("worker.stalled", handler=handler, seconds=STALL_SECONDS)
            await self._end_if_stuck(remote)
            await asyncio.sleep(_LOOK_SECONDS)
        await remote.close()

    async def _renew(self, remote: Remote) -> bool:
        try:
            await remote.renew(self._worker, self._jobs())
        except (Unavailable, StoreError):
            return False  # a store that restarts gives everybody a new lease
        return True

    async def _end_if_stuck(self, remote: Remote) -> None:
        """End this process when an attempt is long out of time and the loop can't say so: nothing
        else can take the loop from a handler. Whoever started the worker starts another one.

        The attempt that has the loop is to blame, whichever was out of time: else it would block the
        next process, too, and never be counted."""
        now = time.monotonic()
        due = sorted(self._due(), key=itemgetter(0))
        if now - self._seen_at <= STALL_SECONDS or not due or now <= due[0][0] + STUCK_SECONDS:
            return
        seconds = round(now - self._seen_at, 1)
        handler = self._holder()
        self._log.error("worker.killed", worker=self._worker, handler=handler, seconds=seconds)
        to_blame = next((job for _, job in due if job["handler"] == handler), None)
        if to_blame is not None:
            with suppress(Unavailable, StoreError):  # else it is lost, and costs nothing
                await remote.settle([self._failed(to_blame)], worker=self._worker)
        logs.finish()
        os._exit(REPLACE_ME)

    def _failed(self, job: Row) -> Settlement:
        """The attempt that holds the loop, as one that did not end in time."""
        now = time.time_ns() // 1_000_000
        decision = retry.decide(
            Retry(reason="did not give the loop back in time, and had to be ended with its process"),
            attempt=job["attempts"] + 1,
            attempts=self._attempts_of(job["handler"]),
            now_ms=now,
            random=retry.luck_of(f"{job['id']}:{job['handler']}"),
            expires_at_ms=job["expires_at"],
        )
        return Settlement(
            *(job["job"], job["claim"], decision.move, now),
            *(decision.run_at_ms, decision.error, None, "TimeoutError"),
        )

    def _holder(self) -> str:
        """The handler whose task has the loop."""
        task = asyncio.current_task(self._watched)
        return task.get_name() if task is not None else "unknown"
