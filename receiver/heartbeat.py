"""A worker's second thread: renews its lease and watches its loop, whatever the handlers do to it.

When the lease can't be renewed, everything is stopped before it has run out: somebody else gets the
jobs then, and nothing may run twice side by side.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn

from receiver import logs, retry
from receiver.errors import StoreError, Unavailable
from receiver.lifeline import REPLACE_ME
from receiver.outcome import Retry
from receiver.store.remote import Remote
from receiver.store.values import Row, Settlement

_LOOK_SECONDS = 0.25
_RENEWALS = 10
"""In the time of a lease: so that a store may be away for two thirds of it without any harm."""
_RECONCILIATIONS = 3
"""How often the store is told which jobs there are: a claim whose answer is on its way is not among them."""
_STOP_SHARE, _END_SHARE = 0.8, 0.9
"""How much of the lease may have passed when handlers are told to stop, and when the process ends."""
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
        runs: Callable[[], bool],
        lapse: Callable[[], None],
        log: Any,
    ) -> None:
        """`jobs` gives the numbers of the jobs that the worker has, `due` those that run, each with when
        it is out of time (monotonic seconds), `runs` says whether a handler runs. They are called in this
        thread; `lapse`, which stops all handlers, on the loop that is watched."""
        self._database = database
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._look_seconds = min(_LOOK_SECONDS, lease_seconds / 20)
        self._jobs = jobs
        self._due = due
        self._attempts_of = attempts_of
        self._runs = runs
        self._lapse = lapse
        self._log = log
        self._confirmed_at = time.monotonic()
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

    def confirm(self, at: float) -> None:
        """The store has begun the lease anew, at this time (monotonic seconds) or later.

        Too late for handlers that run: their jobs may be somebody else's by now.
        """
        if not (self.has_lapsed and self._runs()):
            self._confirmed_at = max(self._confirmed_at, at)

    @property
    def has_lapsed(self) -> bool:
        """Whether the lease is about to run out, or has: nothing may be begun."""
        return self._passed() > _STOP_SHARE

    def _passed(self) -> float:
        """How much of the lease has passed, for all that is known."""
        return (time.monotonic() - self._confirmed_at) / self._lease_seconds

    def _mark(self) -> None:
        self._seen_at = time.monotonic()
        self._tick = self._watched.call_later(_LOOK_SECONDS, self._mark)

    def _run(self) -> None:
        try:
            asyncio.run(self._beat())
        finally:
            if not self._ended.is_set():  # nobody would renew the lease any more
                self._end_process(handler=self._holder(), exc_info=True)

    async def _beat(self) -> None:
        remote = Remote(self._database)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in (self._renew(remote), self._watch_lease())]
            await self._watch_loop(remote)
            for task in tasks:
                task.cancel()
        await remote.close()

    async def _renew(self, remote: Remote) -> None:
        told_at = float("-inf")
        while True:
            asked_at = time.monotonic()
            is_standing = asked_at - self._seen_at > STALL_SECONDS  # and may have claims that it has not seen
            must_tell = asked_at - told_at >= self._lease_seconds / _RECONCILIATIONS and not is_standing
            try:
                await remote.renew(self._worker, self._jobs() if must_tell else None)
            except (Unavailable, StoreError):
                await asyncio.sleep(self._look_seconds)
                continue
            self.confirm(asked_at)
            told_at = asked_at if must_tell else told_at
            await asyncio.sleep(asked_at + self._lease_seconds / _RENEWALS - time.monotonic())

    async def _watch_lease(self) -> None:
        """Have the work stopped when the lease can't be renewed, and end the process when it is not."""
        while True:
            if self.has_lapsed and self._runs():
                self._log.error("worker.lapsed", worker=self._worker, jobs=len(self._due()))
                self._watched.call_soon_threadsafe(self._lapse)
                while self._runs():
                    if self._passed() > _END_SHARE:
                        self._end_process(handler=self._holder())
                    await asyncio.sleep(self._look_seconds)
            await asyncio.sleep(self._look_seconds)

    async def _watch_loop(self, remote: Remote) -> None:
        told_of = 0.0
        while not self._ended.is_set():
            if time.monotonic() - self._seen_at > STALL_SECONDS and told_of != self._seen_at:
                told_of = self._seen_at
                handler = self._holder()
                self._log.warning("worker.stalled", handler=handler, seconds=STALL_SECONDS)
            await self._end_if_stuck(remote)
            await asyncio.sleep(self._look_seconds)

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
        to_blame = next((job for _, job in due if job["handler"] == handler), None)
        if to_blame is not None:
            with suppress(Unavailable, StoreError):  # else it is lost, and costs nothing
                await remote.settle([self._failed(to_blame)], worker=self._worker)
        self._end_process(handler=handler, seconds=seconds)

    def _end_process(self, **fields: Any) -> NoReturn:
        self._log.error("worker.killed", worker=self._worker, **fields)
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
