"""Child processes of `serve`: started with a lifeline, watched, started again when they die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from receiver.errors import CommandFailed, UsageError

_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 10.0
_STEADY_SECONDS = 30.0
"""A child that lived this long is started again without delay."""

_SAFE_PATH = "-P"
"""Python's option not to import from the working directory: a queue.py there is not Python's."""

REFUSED = 2
"""The exit status of a child that says itself, on standard error, what is wrong with its usage."""


class Child:
    """One place in the family: a command, and the process that runs it at the moment."""

    def __init__(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        *,
        log: Any,
        on_death: Callable[[int, int], Awaitable[None]] | None = None,
        may_end: bool = False,
        may_refuse: bool = True,
    ) -> None:
        """`command` gives the arguments after the interpreter for the nth process of this place,
        and `on_death` is told n and its exit status before the next one is started. A process that
        `may_end` is not started again when it ends with status 0. A first process that `may_refuse`
        does so with status 2, and is left alone."""
        self.name = name
        self._command = command
        self._log = log
        self._on_death = on_death
        self._may_end = may_end
        self.may_refuse = may_refuse
        self._generation = 0
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the first process refused to start (exit status 2)."""
        self.first_status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """How the first process ended, when it did so by itself."""

    @property
    def is_alive(self) -> bool:
        """Whether a process runs in this place."""
        return self._process is not None and self._process.returncode is None

    async def start(self, *, descriptors: Sequence[int] = ()) -> None:
        """Start the first process; from then on the place is kept filled until `stop`.

        Only the first process inherits `descriptors`.
        """
        await self._spawn(descriptors)
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    async def _spawn(self, descriptors: Sequence[int] = ()) -> None:
        self._generation += 1
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            _SAFE_PATH,
            *self._command(self._generation),
            stdin=asyncio.subprocess.PIPE,  # the lifeline: see receiver.lifeline
            pass_fds=descriptors,
            start_new_session=True,  # Ctrl-C is for the parent, which tells the children in its order
        )
        self._log.debug("process.started", name=self.name, pid=self._process.pid)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        delay = 0.0
        while True:
            assert self._process is not None  # noqa: S101 - start() spawned it
            born = loop.time()
            status = await self._process.wait()
            self._end_group(self._process.pid)
            if self._is_stopping:
                return
            if self._generation == 1:
                self.first_status.set_result(status)
            if status == REFUSED and self._generation == 1 and self.may_refuse:
                self.refused.set_result(None)
                return
            has_ended = status == 0 and self._may_end
            is_early = status == -signal.SIGHUP  # it could not hear that yet; its successor reads all afresh
            if not is_early and not has_ended:
                self._log.error("process.died", name=self.name, pid=self._process.pid, status=status)
            if self._on_death is not None:
                await self._on_death(self._generation, status)
            if has_ended:
                return
            steady = is_early or loop.time() - born > _STEADY_SECONDS
            delay = 0.0 if steady else _next_delay(delay)
            delay = await self._spawn_after(delay)

    def _end_group(self, pid: int) -> None:
        """End what a process that is gone has left behind: it was a session of its own."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)

    async def _spawn_after(self, delay: float) -> float:
        """Wait, then spawn; when there are no processes or descriptors left, wait longer. Return the wait."""
        while True:
            await asyncio.sleep(delay)
            try:
                await self._spawn()
            except OSError as error:
                self._log.error("process.died", name=self.name, reason=error.strerror)
                delay = _next_delay(delay)
            else:
                return delay

    @property
    def pid(self) -> int | None:
        """The number of the process that runs at the moment."""
        return self._process.pid if self._process is not None and self.is_alive else None

    @property
    def generation(self) -> int:
        """The how manyth process of this place it is."""
        return self._generation

    @property
    def has_ended(self) -> bool:
        """Whether it was started, has ended, and is not started again."""
        return self._watcher is not None and self._watcher.done()

    def signal(self, number: int) -> None:
        """Send a signal to the process that runs at the moment, if one does."""
        if self._process is not None and self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self, *, seconds: float) -> None:
        """Ask it to end (SIGTERM), and end it (SIGKILL) when it has not after `seconds`."""
        self._is_stopping = True
        if self._watcher is None or self._process is None:
            return
        if self.is_alive:  # else it waits to be started again, and is not
            await self._end(self._process, self._watcher, seconds=seconds)
        self._watcher.cancel()
        await asyncio.wait([self._watcher])
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _end(
        self, process: asyncio.subprocess.Process, watcher: asyncio.Task[None], *, seconds: float
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        _, late = await asyncio.wait([watcher], timeout=seconds)
        if late and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            self._end_group(process.pid)


def _next_delay(delay: float) -> float:
    return min(_LONGEST_DELAY_SECONDS, max(_FIRST_DELAY_SECONDS, delay * 2))


async def output_of(arguments: Sequence[str]) -> bytes:
    """Run a short-lived child to its end and give its standard output; its errors are shown as they come.

    Raise UsageError (without text: the child has said it) for exit status 2, else CommandFailed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        _SAFE_PATH,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode == REFUSED:
        raise UsageError("")
    if process.returncode:
        raise CommandFailed(
            f"the handlers could not be listed: a child ended with status {process.returncode}"
        )
    return output
