"""Group commit: whatever queued while the last transaction ran is the next one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from receiver.errors import StoreDamaged, Unavailable
from receiver.store.sqlite.database import Database

T = TypeVar("T")
_ERRORS = (
    sqlite3.Error,
    StoreDamaged,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What a transaction may fail with: the database, or a value that it can't keep."""


class GroupCommit:
    """Runs operations in transactions, on the loop: its process has nothing else to do."""

    def __init__(
        self,
        database: Database,
        *,
        forget: Callable[[], None],
        on_fatal: Callable[[BaseException], None] | None,
    ) -> None:
        """`forget` is called when a transaction was undone, `on_fatal` once, when no other may follow."""
        self._database = database
        self._forget = forget
        self._on_fatal = on_fatal
        self._queue: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._is_scheduled = False
        self._is_broken = False

    def write(self, operation: Callable[[], T]) -> asyncio.Future[T]:
        """Have an operation run in the next transaction; its result is there when it is durable.

        The future raises Unavailable when it is not: nothing of the transaction is kept then.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.append((operation, future))
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._commit)
        return future

    def _commit(self) -> None:
        self._is_scheduled = False
        batch, self._queue = self._queue, []
        try:
            if self._is_broken:
                raise StoreDamaged("a former error has ended this store")
            self._database.begin()
            results = [operation() for operation, _ in batch]
            self._database.commit()
        except _ERRORS as error:
            self._undo([future for _, future in batch], error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _undo(self, futures: list[asyncio.Future[Any]], error: Exception) -> None:
        try:
            self._database.rollback()
            self._forget()
        except sqlite3.Error as second:
            error = second
        refusal = Unavailable(f"the database can't be written: {error}")
        for future in futures:
            if not future.done():
                future.set_exception(refusal)
        if is_fatal(error) and not self._is_broken:
            self._is_broken = True
            if self._on_fatal is not None:
                self._on_fatal(error)


def is_fatal(error: Exception) -> bool:
    """Say whether going on would be a lie: after a failed sync nobody knows what is on disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    lies = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, StoreDamaged) or code in lies
