"""A look for damage in the whole file, beside the work: once, at the first quiet moment of a store."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from receiver.store.sqlite.database import read_only
from receiver.store.sqlite.reads import damage

_LOOK_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 60.0
_FEW_CHANGES = 25
"""Rows between two looks that are no traffic to speak of: some callbacks, questions about readiness."""
_NICE = 10
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
        """Wait for a quiet moment, then say what is wrong with the file."""
        loop = asyncio.get_running_loop()
        await self._quiet(until=loop.time() + _LONGEST_WAIT_SECONDS)
        found: asyncio.Future[list[str]] = loop.create_future()

        def tell(problems: list[str]) -> None:
            if not found.done():
                found.set_result(problems)

        def look() -> None:
            problems = self._look()
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(tell, problems)

        # No executor: the end of the process does not wait for a daemon.
        self._thread = threading.Thread(target=look, name="inspection", daemon=True)
        self._thread.start()
        return await found

    async def _quiet(self, *, until: float) -> None:
        before, changed = self._changes(), _FEW_CHANGES + 1
        while changed > _FEW_CHANGES and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(_LOOK_SECONDS)
            changed, before = self._changes() - before, self._changes()

    def _look(self) -> list[str]:
        with suppress(OSError):  # on Linux a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        connection = sqlite3.connect(read_only(self._path), uri=True, check_same_thread=False)
        with closing(connection):
            self._connection = connection
            with suppress(sqlite3.DatabaseError):  # stopped, or kept out: nothing has been found
                return damage(connection)
        return []

    def stop(self) -> None:
        """Give it up, so that the file can be closed."""
        if self._thread is None or not self._thread.is_alive():
            return
        if self._connection is not None:
            with suppress(sqlite3.ProgrammingError):  # it was closed this moment
                self._connection.interrupt()
        self._thread.join(_STOP_SECONDS)
