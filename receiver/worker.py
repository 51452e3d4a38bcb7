"""A worker process: claims due jobs, has them dispatched, settles what came of them."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from receiver import dispatch, logs, retry, settings
from receiver.attempts import Attempts
from receiver.errors import ReceiverError, StoreError, Unavailable, UsageError
from receiver.fetch import Fetcher
from receiver.heartbeat import REPLACE_ME, Heartbeat
from receiver.life import Move
from receiver.lifeline import end_with_parent
from receiver.loading import Loaded, load, told_when_slow
from receiver.model import utc
from receiver.outcome import Outcome, Retry
from receiver.router import Handler
from receiver.settler import Settler
from receiver.store.base import Row, Settlement
from receiver.store.remote import Remote

_CLAIM_WAIT_MS = 10_000
_FULL_WAIT_MS = 250
"""While some handler is at its limit, so that its next free slot is soon asked for."""
_RECONNECT_SECONDS = 0.05
_DRAIN_SECONDS = 10.0
_NICE = 10
_LOGGED = {
    Move.FINISH: "job.finished",
    Move.RETRY: "job.retried",
    Move.FAIL: "job.failed",
    Move.CANCEL: "job.cancelled",
}


_Load = Callable[[settings.Settings], Loaded]


class Worker:
    """One process's share of the work."""

    def __init__(self, config: settings.Settings, loaded: Loaded, *, name: str, log: Any) -> None:
        self._config = config
        self._handlers = {handler.name: handler for handler in loaded.handlers}
        self._name = name
        self._log = log
        self._fetcher = Fetcher(max_bytes=config.worker.max_video)
        self._attempts = Attempts(config, loaded.settings, fetcher=self._fetcher)
        self._store = Remote(config.database)
        self._threads = ThreadPoolExecutor(config.worker.concurrency, thread_name_prefix="handler")
        self._running: dict[int, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._slot_freed = asyncio.Event()
        self._settler = Settler(self._store, worker=name, log=log)
        self._draining = asyncio.Event()
        self._needs_replacement = False
        self._give_up_at: dict[asyncio.Task[None], float] = {}
        self._heartbeat = Heartbeat(
            config.database,
            worker=name,
            lease_seconds=config.worker.lease.total_seconds(),
            jobs=self._held,
            overdue_at=self._overdue_at,
            log=log,
        )

    def reload(self, config: settings.Settings, loaded: Loaded) -> None:
        """Use other credentials and handler settings from the next job on; the handlers stay."""
        self._attempts = Attempts(config, loaded.settings, fetcher=self._fetcher)
        self._log.info("settings.reloaded", worker=self._name)

    def drain(self) -> None:
        """Take no more jobs, finish those that run, then end."""
        self._draining.set()

    async def run(self) -> int:
        """Work until `drain`; return the exit status."""
        self._heartbeat.start()
        self._log.info("worker.started", worker=self._name, handlers=sorted(self._handlers))
        claiming = asyncio.create_task(self._claim_forever())
        claiming.add_done_callback(lambda _: self.drain())
        await self._draining.wait()
        self._log.info("worker.draining", worker=self._name, jobs=len(self._running))
        claiming.cancel()
        await asyncio.wait([claiming])
        await self._finish()
        self._log.info("worker.stopped", worker=self._name)
        if not claiming.cancelled():  # it never ends by itself: this raises what ended it
            claiming.result()
        return REPLACE_ME if self._needs_replacement else 0

    def _overdue_at(self) -> float:
        """When the first of the running attempts is out of time, on the monotonic clock."""
        return min(list(self._give_up_at.values()), default=float("inf"))

    async def _finish(self) -> None:
        if self._running:
            await asyncio.wait(self._running.values(), timeout=_DRAIN_SECONDS)
        for task in list(self._running.values()):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=1.0)
        await self._settler.finish(seconds=1.0)
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
            free, is_limited = self._free_slots()
            if not free:
                await self._slot_freed.wait()
                continue
            count = self._config.worker.concurrency - len(self._running)
            wait_ms = _FULL_WAIT_MS if is_limited else _CLAIM_WAIT_MS
            try:
                if is_in_doubt:
                    await self._disown_unheard_claims()
                    is_in_doubt = False
                rows = await self._store.claim(self._name, free, count=count, wait_ms=wait_ms)
            except (Unavailable, StoreError) as error:
                self._log.debug("worker.disconnected", worker=self._name, reason=str(error))
                is_in_doubt = True
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            for row in rows:
                self._start(row)

    async def _disown_unheard_claims(self) -> None:
        """Give back what a store that went away may have claimed for us without our hearing of it."""
        for _ in range(2):  # it takes a job back when two renewals in a row don't know it
            await self._store.renew(self._name, self._held())

    def _held(self) -> list[int]:
        """The jobs that run, and those whose settlement is still under way."""
        return [*list(self._running), *self._settler.jobs()]

    def _free_slots(self) -> tuple[dict[str, int], bool]:
        """Free slots by handler, and whether one of them has none of its own left."""
        total = self._config.worker.concurrency - len(self._running)
        free, is_limited = {}, False
        for handler in self._handlers.values() if total > 0 else ():
            own = total if handler.concurrency is None else handler.concurrency - self._busy[handler.name]
            if own > 0:
                free[handler.name] = min(own, total)
            else:
                is_limited = True
        return free, is_limited

    def _start(self, row: Row) -> None:
        handler = self._handlers[row["handler"]]
        self._busy[handler.name] += 1
        task = asyncio.create_task(self._work(handler, row))
        former = self._running.get(row["job"])
        if former is not None:  # its lease ran out; what it still does is in vain
            former.cancel()
        self._running[row["job"]] = task
        self._give_up_at[task] = time.monotonic() + handler.timeout.total_seconds()
        task.add_done_callback(partial(self._end, handler, row))

    def _end(self, handler: Handler, row: Row, task: asyncio.Task[None]) -> None:
        if self._running.get(row["job"]) is task:
            del self._running[row["job"]]
        del self._give_up_at[task]
        self._busy[handler.name] -= 1
        self._slot_freed.set()
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a mistake of ours; the job must not hang on it
            self._conclude(
                handler, row, Retry(reason=f"{type(error).__name__} around the handler"), self._log
            )

    async def _work(self, handler: Handler, row: Row) -> None:
        event = self._attempts.event(row)
        attempt = row["attempts"] + 1
        log = self._log.bind(
            handler=handler.name, event_id=event.id, video=event.video.id, job=row["job"], attempt=attempt
        )
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
        self._conclude(handler, row, ran.outcome, log.bind(seconds=round(time.monotonic() - began, 3)))
        if ran.is_abandoned:
            self._needs_replacement = True
            self.drain()

    def _conclude(self, handler: Handler, row: Row, outcome: Outcome, log: Any) -> None:
        """Decide what becomes of the job, settle it, and tell."""
        now = time.time_ns() // 1_000_000
        luck = retry.luck_of(f"{row['id']}:{handler.name}")
        attempt = row["attempts"] + 1
        decision = retry.decide(outcome, attempt=attempt, attempts=handler.attempts, now_ms=now, random=luck)
        result = None if decision.result is None else orjson.dumps(decision.result).decode()
        self._settler.settle(
            Settlement(
                row["job"], row["claim"], decision.move, now, decision.run_at_ms, decision.error, result
            )
        )
        self._tell(log, decision)

    def _tell(self, log: Any, decision: retry.Decision) -> None:
        fields: dict[str, Any] = {}
        if decision.error is not None:
            fields["reason"] = decision.error
        if decision.run_at_ms is not None:
            fields["run_at"] = utc(decision.run_at_ms).isoformat(timespec="seconds")
        tell = log.error if decision.move is Move.FAIL else log.info
        tell(_LOGGED[decision.move], **fields)


def work(
    config: settings.Settings,
    specs: Sequence[str],
    *,
    name: str,
    relative_to: Path | None = None,
    list_to: int | None = None,
) -> int:
    """Be a worker until SIGTERM or SIGINT; return the exit status. Raise HandlerError.

    SIGHUP reads credentials and handler settings afresh. Which handlers there are is written to the
    descriptor `list_to`, as one line of JSON, and their warnings to standard error.
    """
    import uvloop

    def load_first(config: settings.Settings) -> Loaded:
        if list_to is None:
            return load_handlers(config)
        with told_when_slow(specs or config.handlers.load):
            loaded = load_handlers(config)
        for warning in loaded.warnings:
            sys.stderr.write(f"receiver: warning: {warning}\n")
        with os.fdopen(list_to, "wb") as pipe:
            pipe.write(orjson.dumps([asdict(handler.card) for handler in loaded.handlers]) + b"\n")
        _step_back(config.worker.priority)
        return loaded

    def load_handlers(config: settings.Settings) -> Loaded:
        return load(
            specs or config.handlers.load,
            folder=config.folder,
            tables=config.handlers.tables,
            sources=list(config.sources) or None,
            relative_to=relative_to,
        )

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_work(config, load_first, load_handlers, name=name))


async def _work(config: settings.Settings, load_first: _Load, load_handlers: _Load, *, name: str) -> int:
    log = logs.get()
    worker = Worker(config, load_first(config), name=name, log=log)

    def reload() -> None:
        try:
            fresh = settings.load(str(config.file) if config.file else None)
            worker.reload(fresh, load_handlers(fresh))
        except UsageError as error:
            log.error("settings.refused", worker=name, reason=str(error))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.drain)
    loop.add_signal_handler(signal.SIGHUP, reload)
    return await worker.run()


def main() -> None:
    """`python -m receiver.worker`, started by `serve`; people use `receiver worker`."""
    parser = argparse.ArgumentParser(prog="receiver.worker")
    parser.add_argument("--config")
    parser.add_argument("--name", required=True)
    parser.add_argument("--handlers", action="append", default=[])
    parser.add_argument("--list-to", type=int)
    options = parser.parse_args()
    if options.list_to is not None:
        os.set_inheritable(options.list_to, False)  # its end is the end of this process, not of a handler's
    os.umask(0o077)
    end_with_parent()
    try:
        config = settings.load(options.config)
        if options.list_to is None:  # else all wait for its list, and nobody is served yet
            _step_back(config.worker.priority)
        logs.configure(style=config.log.format, level=config.log.level, waits=False)
        specs = options.handlers
        relative_to = Path.cwd() if specs else None
        status = work(config, specs, name=options.name, relative_to=relative_to, list_to=options.list_to)
    except ReceiverError as error:
        sys.stderr.write(f"receiver: {error}\n")
        status = 2 if isinstance(error, UsageError) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    logs.finish()
    os._exit(status)  # a thread that can't be stopped must not keep the process


def _step_back(priority: str) -> None:
    """Let acknowledgements come before handlers.

    Nice alone lets a handler that computes finish its slice of some milliseconds first, at every step of an
    acknowledgement: its p99 is 50 to 100 ms then, and 23 ms beside handlers that are idle to the kernel.
    Where the kernel shares the processors out by session (sched(7), autogroup), a process is nice within its
    session only. A worker is a session of its own, so that has to be nice as a whole.
    """
    if priority == "normal":
        return
    for thread in threading.enumerate():  # those, too, that modules have started
        number = thread.native_id or 0
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, number, _NICE)
        if priority == "idle":
            with suppress(OSError):
                os.sched_setscheduler(number, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):  # a kernel without autogroups has no such file
        Path("/proc/self/autogroup").write_text(str(_NICE), "ascii")


if __name__ == "__main__":
    main()
