"""A look for damage in the whole file, beside the work: once, at the first quiet moment of a store."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from receiver.store.sqlite.database import read_only
from receiver.store.sqlite.reads import damage

_LOOK_SECONDS = 0.1
_QUIET_SECONDS = 2.0
_LONGEST_WAIT_SECONDS = 60.0
_FEW_CHANGES = 5
"""Rows between two looks that are no traffic to speak of: some callbacks, questions about readiness."""
_MANY_CHANGES = 100
"""Rows between two looks that are too many to have the inspection run beside."""
_LONGEST_YIELDING_SECONDS = 600.0
"""Then it is done beside the work, however much there is."""
_STOP_SECONDS = 1.0


class Inspection:
    """Reads the whole file on a connection and in a thread of its own, at a lower priority.

    One statement after the other, as each keeps the write-ahead log from starting over.
    """

    def __init__(self, path: Path, *, changes: Callable[[], int]) -> None:
        """`changes` counts the rows that the store has written so far."""
        self._path = path
        self._changes = changes
        self._connection: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None

    async def problems(self) -> list[str]:
        """Wait for a quiet moment, then say what is wrong with the file; begin anew when it gets busy."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _LONGEST_YIELDING_SECONDS
        while True:
            await self._quiet(until=loop.time() + _LONGEST_WAIT_SECONDS)
            found = self._start()
            if loop.time() < give_up_at:
                await self._interrupt_when_busy(found)
            problems = await found
            if problems is not None:
                return problems

    def _start(self) -> asyncio.Future[list[str] | None]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str] | None] = loop.create_future()

        def tell(problems: list[str] | None) -> None:
            if not found.done():
                found.set_result(problems)

        def look() -> None:
            problems = self._look()
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(tell, problems)

        # No executor: the end of the process does not wait for a daemon.
        self._thread = threading.Thread(target=look, name="inspection", daemon=True)
        self._thread.start()
        return found

    async def _quiet(self, *, until: float) -> None:
        loop = asyncio.get_running_loop()
        quiet_since = loop.time()
        while loop.time() < min(until, quiet_since + _QUIET_SECONDS):
            if await self._changes_of_a_look() > _FEW_CHANGES:
                quiet_since = loop.time()

    async def _interrupt_when_busy(self, found: asyncio.Future[Any]) -> None:
        while not found.done():
            if await self._changes_of_a_look() > _MANY_CHANGES:
                self._interrupt()

    async def _changes_of_a_look(self) -> int:
        before = self._changes()
        await asyncio.sleep(_LOOK_SECONDS)
        return self._changes() - before

    def _look(self) -> list[str] | None:
        """The problems; None when it was interrupted."""
        with suppress(OSError):  # on Linux a thread has a priority of its own
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))
        connection = sqlite3.connect(read_only(self._path), uri=True, check_same_thread=False)
        with closing(connection):
            self._connection = connection
            try:
                return damage(connection)
            except sqlite3.DatabaseError as error:  # stopped, or kept out: nothing has been found
                return None if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT else []

    def _interrupt(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.ProgrammingError):  # it was closed this moment
                self._connection.interrupt()

    def stop(self) -> None:
        """Give it up, so that the file can be closed."""
        if self._thread is None or not self._thread.is_alive():
            return
        self._interrupt()
        self._thread.join(_STOP_SECONDS)
