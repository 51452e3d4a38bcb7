"""The loop that asks: as many watches as are due, as often as is allowed, each in a task of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from receiver.bucket import Bucket
from receiver.errors import StoreError, Unavailable
from receiver.question import Inquirer
from receiver.sources.base import Source
from receiver.store.watches import Watch, Watches

_LONGEST_WAIT_SECONDS = 5.0
_BUSY_WAIT_SECONDS = 0.25
_STORE_AWAY_SECONDS = 1.0
_UNRECORDED_SECONDS = 5.0


class Poller:
    """Takes watches that are due and has each asked about, until it is stopped."""

    def __init__(self, watches: Watches, *, log: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """It asks nobody before it is told whom to `use`."""
        self._watches = watches
        self._log = log
        self._clock = clock
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._is_connected = True
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sources: dict[str, Source] = {}

    def use(
        self,
        sources: Mapping[str, Source],
        inquirer: Inquirer,
        *,
        requests_per_second: float,
        concurrency: int,
    ) -> None:
        """Ask these from now on; what is under way goes on as it began."""
        self._sources = dict(sources)
        self._inquirer = inquirer
        self._bucket = Bucket(requests_per_second)
        self._concurrency = concurrency
        self._peace: dict[str, float] = {}

    async def run(self, *, until: asyncio.Event) -> None:
        """Ask until then; what is not answered by that time is asked again by the next process.

        Raise what asking raises unforeseen, which is a mistake of ours.
        """
        loop = asyncio.get_running_loop()
        asking = loop.create_task(self._ask_on())
        stopping = loop.create_task(until.wait())
        try:
            ends: list[asyncio.Future[Any]] = [asking, stopping, self._failed]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            tasks = [asking, stopping, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        if self._failed.done():
            self._failed.result()
        if not asking.cancelled():
            asking.result()

    async def _ask_on(self) -> None:
        while True:
            if len(self._tasks) >= self._concurrency:
                await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(self._bucket.seconds_to_wait(self._clock()))
            watch = await self._next()
            if watch is not None and watch.source in self._sources:
                self._bucket.take(self._clock())
                self._begin(self._sources[watch.source], watch)

    async def _next(self) -> Watch | None:
        """The next watch that is due; None when there was none for a while."""
        now = self._clock()
        in_peace = {name: until - now for name, until in self._peace.items() if until > now}
        # Of what is busy now the store says nothing while it waits, and it may be due again any time.
        longest = _BUSY_WAIT_SECONDS if self._tasks else _LONGEST_WAIT_SECONDS
        wait = min([longest, *in_peace.values()])
        sources = [name for name in self._sources if name not in in_peace]
        try:
            due = await self._watches.due(
                sources, count=1, wait_ms=round(wait * 1000), busy=list(self._tasks)
            )
        except (Unavailable, StoreError) as error:
            await self._wait_for_store(error, seconds=_STORE_AWAY_SECONDS)
            return None
        self._is_connected = True
        return due[0] if due else None

    async def _wait_for_store(self, error: Exception, *, seconds: float) -> None:
        if self._is_connected:
            self._log.warning("poller.disconnected", reason=str(error))
        self._is_connected = False
        await asyncio.sleep(seconds)

    def _begin(self, source: Source, watch: Watch) -> None:
        task = asyncio.create_task(self._inquire(source, watch))
        self._tasks[watch.seq] = task
        task.add_done_callback(lambda task: self._end(watch, task))

    async def _inquire(self, source: Source, watch: Watch) -> None:
        try:
            peace = await self._inquirer.inquire(source, watch)
        except (Unavailable, StoreError) as error:
            # It is still due. As long as it is busy, nobody asks for an answer that can't be recorded.
            await self._wait_for_store(error, seconds=_UNRECORDED_SECONDS)
            return
        if peace is not None:
            self._peace[source.name] = self._clock() + peace

    def _end(self, watch: Watch, task: asyncio.Task[None]) -> None:
        del self._tasks[watch.seq]
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)
