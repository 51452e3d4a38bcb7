"""The worker processes of a `serve`: kept alive, kept small, and one more for jobs that may be deadly."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from receiver.errors import StoreError, Unavailable
from receiver.lifeline import REPLACE_ME
from receiver.store.base import Jobs
from receiver.store.values import Lost
from receiver.supervisor import Child

_LOOK_SECONDS = 1.0
_SUSPECTS_SECONDS = 10.0
"""How often is asked for jobs that must run alone, beside each time that a worker died."""
_PAGE = os.sysconf("SC_PAGE_SIZE")

Arguments = Callable[[str], Sequence[str]]
"""The command line of a worker of some name, after the interpreter."""


class Crew:
    """So many workers, and, while there are jobs whose process died, one that runs those alone."""

    def __init__(
        self, count: int, *, run: str, store: Jobs, arguments: Arguments, max_memory: int, log: Any
    ) -> None:
        """`run` begins the workers' names; `max_memory` is in bytes, of each process."""
        self._run = run
        self._store = store
        self._max_memory = max_memory
        self._log = log
        self._killed: set[str] = set()
        self._lives = 0
        self._must_look = asyncio.Event()
        self.handlers: frozenset[str] = frozenset()
        """What there is to run, once that is known."""
        self._arguments = arguments
        self.workers = [self._place(str(number + 1), may_refuse=number == 0) for number in range(count)]
        self._alone: Child | None = None
        self._watch: asyncio.Task[None] | None = None

    def _place(self, place: str, *, is_alone: bool = False, may_refuse: bool = False) -> Child:
        options = ["--alone"] if is_alone else []

        def command(generation: int) -> list[str]:
            return [*self._arguments(self._name(place, generation)), *options]

        async def bury(generation: int, status: int) -> None:
            await self._bury(self._name(place, generation), status)

        return Child(
            f"worker {place}",
            command,
            log=self._log,
            on_death=bury,
            may_end=is_alone,
            may_refuse=may_refuse,
        )

    def _name(self, place: str, generation: int) -> str:
        return f"{self._run}/{place}.{generation}"

    def watch(self) -> None:
        """Look after them from now on."""
        self._watch = asyncio.create_task(self._look_after(), name="watch the crew")

    async def start_others(self) -> None:
        """Start all but the first."""
        for worker in self.workers[1:]:
            await worker.start()

    def signal(self, number: int) -> None:
        """Send a signal to each."""
        for worker in self._all():
            worker.signal(number)

    async def stop(self, *, seconds: float) -> None:
        """Let them finish, and end those that have not after `seconds`."""
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(worker.stop(seconds=seconds) for worker in self._all()))

    def _all(self) -> list[Child]:
        return [*self.workers, *([self._alone] if self._alone else [])]

    # Whose process died.

    async def _bury(self, name: str, status: int) -> None:
        """Give back the jobs of a worker that is gone; those that may have killed it run alone."""
        died = None if status == REPLACE_ME else self._reason(name, status)
        try:
            lost = await self._store.release(name, died=died)
        except (Unavailable, StoreError):
            return  # the lease runs out
        for job in lost if died is not None else ():
            self._tell(job, died or "")
        self._must_look.set()

    def _reason(self, name: str, status: int) -> str:
        if name in self._killed:
            self._killed.discard(name)
            return f"its worker used more than {self._max_memory:,} bytes of memory"
        if status < 0:
            try:
                word = signal.Signals(-status).name
            except ValueError:
                word = f"signal {-status}"
            return f"its worker was killed by {word}"
        return f"its worker ended with exit status {status}"

    def _tell(self, job: Lost, reason: str) -> None:
        fields = {"job": job.job, "handler": job.handler, "crashes": job.crashes, "reason": reason}
        if job.is_dead:
            self._log.error("job.failed", **fields)
        else:
            self._log.warning("job.suspected", **fields)

    # What is looked at again and again.

    async def _look_after(self) -> None:
        loop = asyncio.get_running_loop()
        asked_at = float("-inf")
        while True:
            self._end_the_large()
            if self._must_look.is_set() or loop.time() - asked_at > _SUSPECTS_SECONDS:
                self._must_look.clear()
                asked_at = loop.time()
                await self._run_suspects()
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._must_look.wait()
            except TimeoutError:
                continue

    async def _run_suspects(self) -> None:
        if self._alone is not None and not self._alone.has_ended:
            return
        try:
            if self.handlers.isdisjoint(await self._store.suspects()):
                return
        except (Unavailable, StoreError):
            return  # the next look asks again
        self._lives += 1
        alone = self._place(f"alone {self._lives}", is_alone=True)
        try:
            await alone.start()
        except OSError as error:  # no process or descriptor is left; the next look tries again
            self._log.error("process.died", name=alone.name, reason=error.strerror)
            return
        self._alone = alone

    def _end_the_large(self) -> None:
        """Kill whoever uses too much memory: what it runs can't be asked any more."""
        for worker in self._all():
            pid = worker.pid
            if pid is not None and _resident(pid) > self._max_memory:
                self._log.error("worker.oversized", name=worker.name, pid=pid, bytes=_resident(pid))
                self._killed.add(self._name(worker.name.removeprefix("worker "), worker.generation))
                worker.signal(signal.SIGKILL)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0
