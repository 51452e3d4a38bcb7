"""A copy of the database beside the work: as it is at one moment, whatever is written meanwhile."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from receiver.errors import StoreError
from receiver.store import queries
from receiver.store.sqlite.database import read_only
from receiver.store.sqlite.reads import damage

_PAGES = 256
"""A megabyte at a time; then whoever waits for the disk has it for as long."""
_SYNC_EVERY = 16
"""Steps between two syncs, so that the last one does not make everybody wait for all of it."""


async def copy(database: Path, target: Path) -> list[str]:
    """Copy it into a file that is not there yet, for its owner only, and read the copy whole.

    The one who writes never waits, as one read transaction sees one moment; but the write-ahead log grows
    until the copy is complete. Return the body files that the copy names. Raise StoreError when the copy
    is not sound, and OSError.
    """
    stop = threading.Event()
    copying = asyncio.create_task(asyncio.to_thread(_copy, database, target, stop))
    try:
        return await asyncio.shield(copying)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([copying])
        copying.exception()  # that it was given up
        raise


def _copy(database: Path, target: Path, stop: threading.Event) -> list[str]:
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with (
            closing(sqlite3.connect(read_only(database), uri=True, isolation_level=None)) as source,
            closing(sqlite3.connect(target, isolation_level=None)) as copied,
        ):
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -4096"):
                copied.execute(f"PRAGMA {pragma}")
            source.execute("BEGIN")
            source.execute(queries.load("sqlite")["last_seqs"]).fetchone()  # that was the moment
            _Pace(descriptor, stop).follow(source, copied)
        os.fsync(descriptor)
        return _read(target)
    except sqlite3.Error as error:
        raise StoreError(f"the database can't be copied: {error}") from error
    finally:
        os.close(descriptor)


def _read(target: Path) -> list[str]:
    """Read a copy that nobody else has open (nothing is put beside it) and list its body files."""
    address = f"{target.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(address, uri=True)) as connection:
        problems = damage(connection)
        if problems:
            raise StoreError(f"the copy is not sound: {problems[0]}")
        return [digest for (digest,) in connection.execute(queries.load("sqlite")["all_bodies"])]


class _Pace:
    """How fast: as fast as half of what the disk gives."""

    def __init__(self, descriptor: int, stop: threading.Event) -> None:
        self._descriptor = descriptor
        self._stop = stop
        self._steps = 0
        self._began = time.monotonic()

    def follow(self, source: sqlite3.Connection, copied: sqlite3.Connection) -> None:
        """Copy all pages."""
        source.backup(copied, pages=_PAGES, progress=self._rest, sleep=0)

    def _rest(self, _status: int, _remaining: int, _total: int) -> None:
        if self._stop.is_set():
            raise StoreError("the copy was given up")
        self._steps += 1
        if self._steps % _SYNC_EVERY == 0:
            os.fdatasync(self._descriptor)
        time.sleep(min(0.1, time.monotonic() - self._began))
        self._began = time.monotonic()
