"""What a worker process does all day: claim due jobs, have them dispatched, settle what came of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

from receiver import dispatch, settings, sources
from receiver.attempts import Attempts
from receiver.backlog import Backlog
from receiver.bodies import Bodies
from receiver.errands import Errands
from receiver.errors import StoreError, Unavailable
from receiver.fetch import Fetcher
from receiver.heartbeat import Heartbeat
from receiver.lifeline import REPLACE_ME
from receiver.loading import Loaded
from receiver.outcome import Retry
from receiver.ration import Ration
from receiver.router import Handler
from receiver.settler import Settler
from receiver.store.remote import Remote
from receiver.store.values import Row
from receiver.threads import Threads
from receiver.watching import Patience

_CLAIM_WAIT_MS = 10_000
_FULL_WAIT_MS = 250
"""While some handler is at its limit, so that its next free slot is soon asked for."""
_RECONNECT_SECONDS = 0.05
_STALE_LOOK_SECONDS = 1.0
_DRAIN_SECONDS = 10.0


class Worker:
    """One process's share of the work."""

    def __init__(
        self, config: settings.Settings, loaded: Loaded, *, name: str, log: Any, alone: bool = False
    ) -> None:
        """A worker that runs its jobs `alone` takes those whose process died, one at a time, and ends
        when there are no more."""
        self._config = config
        self._alone = alone
        self._slots = 1 if alone else config.worker.concurrency
        self._name = name
        self._log = log
        self._fetcher = Fetcher(max_bytes=config.worker.max_video)
        self._attempts = Attempts(config, loaded.settings, fetcher=self._fetcher)
        self._store = Remote(config.database)
        self._errands = Errands(
            sources.configured(config),
            store=self._store,
            fetcher=self._fetcher,
            bodies=Bodies(config.bodies_folder, reserve=config.bodies.reserve),
            patience=Patience.with_caller(config.watch),
            log=log,
        )
        # The receiver's own jobs are done by every worker, whatever it is narrowed to.
        self._handlers = {handler.name: handler for handler in (*loaded.handlers, *self._errands.handlers)}
        self._threads = Threads(config.worker.concurrency, name="handler")
        self._helpers = Threads(name="asyncio")
        self._running: dict[int, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._slot_freed = asyncio.Event()
        self._backlog = Backlog(time.monotonic)
        self._ration = Ration(lambda untold: log.info("jobs.summed", worker=name, **untold))
        self._settler = Settler(self._store, worker=name, ration=self._ration, log=log)
        self._draining = asyncio.Event()
        self._is_told_to_end = False
        self._needs_replacement = False
        self._has_lapsed = False
        self._give_up_at: dict[int, tuple[float, Row]] = {}
        self._heartbeat = Heartbeat(
            config.database,
            worker=name,
            lease_seconds=config.worker.lease.total_seconds(),
            jobs=self._held,
            due=self._due,
            attempts_of=lambda handler: self._handlers[handler].attempts,
            runs=self._runs,
            lapse=self._lapse,
            log=log,
        )

    def reload(self, config: settings.Settings, loaded: Loaded) -> None:
        """Use other credentials and handler settings from the next job on; the handlers stay."""
        self._attempts = Attempts(config, loaded.settings, fetcher=self._fetcher)
        self._errands.use(sources.configured(config))
        self._log.info("settings.reloaded", worker=self._name)

    def drain(self) -> None:
        """Take no more jobs, finish those that run, then end."""
        self._is_told_to_end = True
        self._draining.set()

    async def run(self) -> int:
        """Work until `drain`; return the exit status."""
        asyncio.get_running_loop().set_default_executor(self._helpers)  # what handlers start in threads
        self._heartbeat.start()
        self._log.info("worker.started", worker=self._name, handlers=sorted(self._handlers))
        claiming = asyncio.create_task(self._claim_forever())
        claiming.add_done_callback(lambda _: self._draining.set())
        await self._draining.wait()
        self._log.info("worker.draining", worker=self._name, jobs=len(self._running))
        claiming.cancel()
        await asyncio.wait([claiming])
        await self._hand_back()
        await self._finish()
        self._log.info("worker.stopped", worker=self._name)
        if not claiming.cancelled():  # it never ends by itself: this raises what ended it
            claiming.result()
        return REPLACE_ME if self._needs_replacement else 0

    def _runs(self) -> bool:
        """Whether a handler runs, as far as is known; may be called in any thread."""
        return bool(self._running) or self._threads.are_busy or self._helpers.are_busy

    def _lapse(self) -> None:
        """Stop all handlers and end: the lease is about to run out, and somebody else gets their jobs."""
        self._has_lapsed = self._needs_replacement = True
        self._backlog.clear()
        self._draining.set()
        for task in list(self._running.values()):
            task.cancel()

    def _due(self) -> list[tuple[float, Row]]:
        """The jobs that run, each with when it is out of time, on the monotonic clock."""
        return list(self._give_up_at.values())

    async def _hand_back(self) -> None:
        """Give back what has not begun, before what has is waited for."""
        if self._backlog:
            self._backlog.clear()
            with suppress(Unavailable, StoreError):  # else it is given back at the end
                await self._disown_unheard_claims()

    async def _finish(self) -> None:
        if self._running:
            await asyncio.wait(self._running.values(), timeout=_DRAIN_SECONDS)
        for task in list(self._running.values()):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=1.0)
        await self._settler.finish(seconds=1.0)
        while self._has_lapsed and self._settler.jobs() and not self._is_told_to_end:
            # Nothing runs any more, so that there is time for what was finished: the store may just restart.
            await self._settler.finish(seconds=1.0)
        if self._has_lapsed:
            return  # its jobs are given back by whoever started it, or when the lease has run out
        self._heartbeat.stop()
        await self._store.close()  # first, so that no claim of ours is still being served
        with suppress(Unavailable, StoreError):  # else the lease runs out, or the next server gives them back
            await self._store.release(self._name)
        await self._store.close()
        await self._fetcher.aclose()

    async def _claim_forever(self) -> None:
        is_in_doubt = False
        while True:
            self._slot_freed.clear()
            free, count, is_limited = self._room()
            if not free:
                await self._wait_for_a_slot()
                continue
            wait_ms = _FULL_WAIT_MS if is_limited or self._backlog else _CLAIM_WAIT_MS
            asked_at = time.monotonic()
            try:
                if is_in_doubt:
                    await self._disown_unheard_claims()
                    is_in_doubt = False
                rows = await self._store.claim(
                    self._name, free, count=count, wait_ms=wait_ms, alone=self._alone
                )
            except (Unavailable, StoreError) as error:
                self._log.debug("worker.disconnected", worker=self._name, reason=str(error))
                is_in_doubt = True
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            self._heartbeat.confirm(asked_at)
            for row in rows:
                self._backlog.put(row)
            self._start_what_may()
            if self._alone and not rows and not self._running:
                return

    async def _wait_for_a_slot(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_STALE_LOOK_SECONDS):
                await self._slot_freed.wait()
        if self._backlog.is_stale():  # somebody else may have time for it
            self._backlog.clear()
            with suppress(Unavailable, StoreError):
                await self._disown_unheard_claims()

    async def _disown_unheard_claims(self) -> None:
        """Give back what the store takes for ours, and we don't have, or not any more."""
        for _ in range(2):  # it takes a job back when two renewals in a row don't know it
            await self._store.renew(self._name, self._held())

    def _held(self) -> list[int]:
        """The jobs that run, those that are about to, and those whose settlement is still under way."""
        return [*list(self._running), *self._backlog.jobs(), *self._settler.jobs()]

    def _room(self) -> tuple[dict[str, int], int, bool]:
        """What to claim: free slots by handler, how many jobs in all; whether a handler has no slot left."""
        ahead = 0 if self._alone else self._backlog.ahead()
        waiting = len(self._backlog)
        if waiting > ahead // 2:
            return {}, 0, False
        total = self._slots - len(self._running) + ahead - waiting
        free, is_limited = {}, False
        for handler in self._handlers.values() if total > 0 else ():
            own = total
            if handler.concurrency is not None:
                taken = self._busy[handler.name] + self._backlog.of(handler.name)
                own = handler.concurrency - taken  # what waits for its own handler would be in others' way
            if own > 0:
                free[handler.name] = min(own, total)
            else:
                is_limited = True
        return free, total, is_limited

    def _start_what_may(self) -> None:
        """Start jobs that were claimed, as far as there are slots."""
        if self._heartbeat.has_lapsed:
            self._backlog.clear()
        while len(self._running) < self._slots and not self._draining.is_set():
            row = self._backlog.take(self._may_run)
            if row is None:
                return
            self._start(row)

    def _may_run(self, name: str) -> bool:
        limit = self._handlers[name].concurrency
        return limit is None or self._busy[name] < limit

    def _start(self, row: Row) -> None:
        handler = self._handlers[row["handler"]]
        self._busy[handler.name] += 1
        task = asyncio.create_task(self._work(handler, row))
        former = self._running.get(row["job"])
        if former is not None:  # its lease ran out; what it still does is in vain
            former.cancel()
        self._running[row["job"]] = task
        self._give_up_at[id(task)] = (time.monotonic() + handler.timeout.total_seconds(), row)
        task.add_done_callback(partial(self._end, handler, row))

    def _end(self, handler: Handler, row: Row, task: asyncio.Task[None]) -> None:
        if self._running.get(row["job"]) is task:
            del self._running[row["job"]]
        del self._give_up_at[id(task)]
        self._busy[handler.name] -= 1
        self._backlog.note_done()
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a mistake of ours; the job must not hang on it
            name = type(error).__name__
            ran = dispatch.Ran(Retry(reason=f"{name} around the handler"), error_class=name)
            self._settler.conclude(handler, row, ran, self._log)
        self._start_what_may()
        self._slot_freed.set()

    async def _work(self, handler: Handler, row: Row) -> None:
        event = self._attempts.event(row)
        attempt = row["attempts"] + 1
        log = self._log.bind(
            handler=handler.name, event_id=event.id, video=event.video.id, job=row["job"], attempt=attempt
        )
        if self._ration.allows("started"):
            log.info("job.started")
        began = time.monotonic()
        context = self._attempts.context(handler, event, row, log=log)
        ran = await dispatch.run(
            handler,
            event,
            context,
            timeout_seconds=handler.timeout.total_seconds(),
            threads=self._threads,
            log=log,
        )
        self._settler.conclude(handler, row, ran, log, seconds=round(time.monotonic() - began, 3))
        if ran.is_abandoned:
            self._needs_replacement = True
            self._draining.set()
