"""Jobs of a store of our own, run in this process: one after another, one attempt each.

For captures: a breakpoint in a handler works, a failure is final, and nobody else takes part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import orjson

from receiver import dispatch, retry
from receiver.attempts import Attempts
from receiver.fetch import Fetcher
from receiver.life import JobState
from receiver.loading import Loaded
from receiver.outcome import Fail, Retry
from receiver.router import Handler
from receiver.settings import Settings
from receiver.store.service import Service
from receiver.store.values import EventFilter, Row, Settlement

_NAME = "rehearsal"
_PAGE = 1000
_PATIENT = timedelta(days=1)


class Rehearsed(NamedTuple):
    """What became of one handler's job on one event."""

    event: str
    video_id: str
    handler: str
    state: str
    """done, dead or cancelled."""
    seconds: float | None
    """None where nobody knows any more, as a later job ended the process."""
    error: str | None
    result: Any

    @property
    def has_failed(self) -> bool:
        """Whether the handler has failed; to have nothing to do is none."""
        return self.state == JobState.DEAD


class Rehearsal:
    """Runs what is ready, until nothing is."""

    def __init__(
        self, config: Settings, loaded: Loaded, store: Service, *, log: Any, is_patient: bool
    ) -> None:
        """Who is patient lets a handler take as long as it likes: somebody may be looking at it."""
        self._handlers = {handler.name: handler for handler in loaded.handlers}
        self._store = store
        self._log = log
        self._is_patient = is_patient
        self._fetcher = Fetcher(max_bytes=config.worker.max_video)
        self._attempts = Attempts(config, loaded.settings, fetcher=self._fetcher)
        self.is_abandoned = False
        """Whether a function still runs, past its time: nothing but the end of the process ends it."""
        self._seconds: dict[int, float] = {}

    async def run(
        self,
        told: Callable[[int], None],
        *,
        begins: Callable[[int], None] = lambda job: None,
        crashed: Mapping[int, str] | None = None,
    ) -> None:
        """Run all jobs. `told` hears how many ran, and `begins` of each before it does.

        `crashed` are those that ended a process which ran them before, each with how: they have failed.
        """
        crashed = crashed or {}
        if crashed:
            await self._store.release(_NAME)
        free = dict.fromkeys(self._handlers, 1)
        try:
            while rows := await self._store.claim(_NAME, free, count=1, wait_ms=0):
                for row in rows:
                    if row["job"] in crashed:
                        await self._settle(row, dispatch.Ran(Fail(crashed[row["job"]])))
                        continue
                    begins(row["job"])
                    began = time.monotonic()
                    await self._run(row)
                    self._seconds[row["job"]] = time.monotonic() - began
                told(len(self._seconds))
        finally:
            await self._fetcher.aclose()

    async def _run(self, row: Row) -> None:
        handler = self._patient(self._handlers[row["handler"]])
        event = self._attempts.event(row)
        log = self._log.bind(handler=handler.name, event_id=event.id, video=event.video.id)
        context = self._attempts.context(handler, event, row, log=log)
        threads = ThreadPoolExecutor(1, thread_name_prefix="handler")
        try:
            ran = await dispatch.run(
                handler,
                event,
                context,
                timeout_seconds=handler.timeout.total_seconds(),
                threads=threads,
                log=log,
            )
        finally:
            threads.shutdown(wait=False)
        self.is_abandoned |= ran.is_abandoned
        await self._settle(row, ran)

    def _patient(self, handler: Handler) -> Handler:
        """One attempt, so that a handler that asks which one this is knows that it is the last."""
        return replace(handler, attempts=1, timeout=_PATIENT if self._is_patient else handler.timeout)

    async def _settle(self, row: Row, ran: dispatch.Ran) -> None:
        now = time.time_ns() // 1_000_000
        outcome = Fail(ran.outcome.reason) if isinstance(ran.outcome, Retry) else ran.outcome
        decision = retry.decide(outcome, attempt=1, attempts=1, now_ms=now, random=0.0)
        result = None if decision.result is None else orjson.dumps(decision.result).decode()
        settlement = Settlement(
            *(row["job"], row["claim"], decision.move, now, None, decision.error, result, ran.error_class)
        )
        await self._store.settle([settlement], worker=_NAME)

    async def report(self) -> list[Rehearsed]:
        """What became of every job, by event."""
        rows: list[Row] = []
        while page := await self._store.events(
            EventFilter(), limit=_PAGE, before=rows[-1]["seq"] if rows else None
        ):
            rows += page
        return [
            Rehearsed(
                row["id"],
                row["video_id"],
                job["handler"],
                job["state"],
                self._took(job),
                job["last_error"],
                orjson.loads(job["result"]) if job["result"] else None,
            )
            for row in reversed(rows)
            for job in row["jobs"]
        ]

    def _took(self, job: Row) -> float | None:
        if job["id"] in self._seconds:
            return round(self._seconds[job["id"]], 3)
        return None if job["attempts"] else 0.0
