"""Group commit: whatever queued while the last transaction ran is the next one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from receiver.errors import StoreDamaged, Unavailable, Unstorable
from receiver.store.sqlite.database import Database

T = TypeVar("T")
Item = TypeVar("Item")
_Write = tuple[Callable[[], Any], asyncio.Future[Any]]
_MOST_SAID = 200
_OF_THE_VALUE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_BY_THE_DATABASE = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)
"""What it says of a value, too: a broken constraint, one that is too big, a type that it does not have."""


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
        self._queue: list[_Write] = []
        self._is_scheduled = False
        self._is_broken = False

    def write(self, operation: Callable[[], T]) -> asyncio.Future[T]:
        """Have an operation run in the next transaction; its result is there when it is durable.

        The future raises Unavailable when it is not: nothing of the transaction is kept then. Who has a value
        that can't be kept gets Unstorable, and the others of the transaction another one.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.append((operation, future))
        if not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._commit)
        return future

    async def write_each(
        self, operation: Callable[[Sequence[Item]], list[T]], items: Sequence[Item]
    ) -> Sequence[T | Unstorable]:
        """Have an operation run on several items in one transaction, if that can be.

        When one of them can't be kept they are halved until it is alone, so that the others are.
        """
        try:
            return await self.write(partial(operation, items))
        except Unstorable as error:
            if len(items) == 1:
                return [error]
        middle = len(items) // 2
        first = await self.write_each(operation, items[:middle])
        return [*first, *await self.write_each(operation, items[middle:])]

    def _commit(self) -> None:
        self._is_scheduled = False
        batch, self._queue = self._queue, []
        self._transact(batch)

    def _transact(self, batch: Sequence[_Write]) -> None:
        try:
            if self._is_broken:
                raise StoreDamaged("a former error has ended this store")
            self._database.begin()
            results = _results(batch)
            self._database.commit()
        except Unstorable as error:
            if self._undo(batch):
                self._transact_each(batch, error)
        except (sqlite3.Error, StoreDamaged) as error:
            if self._undo(batch):
                self._fail(batch, error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    def _transact_each(self, batch: Sequence[_Write], error: Unstorable) -> None:
        """Give each operation a transaction of its own, after one of them brought what can't be kept."""
        if len(batch) == 1:
            _refuse(batch, error)
            return
        for one in batch:
            self._transact([one])

    def _undo(self, batch: Sequence[_Write]) -> bool:
        """Undo what the open transaction has done; False when not even that is possible."""
        try:
            self._database.rollback()
            self._forget()
        except sqlite3.Error as error:
            self._fail(batch, error)
            return False
        return True

    def _fail(self, batch: Sequence[_Write], error: Exception) -> None:
        _refuse(batch, Unavailable(f"the database can't be written: {error}"))
        if is_fatal(error) and not self._is_broken:
            self._is_broken = True
            if self._on_fatal is not None:
                self._on_fatal(error)


def _results(batch: Sequence[_Write]) -> list[Any]:
    """Run the operations of a transaction. Raise Unstorable when a value is to blame."""
    try:
        return [operation() for operation, _ in batch]
    except _OF_THE_VALUE as error:
        raise _unstorable(error) from error
    except _BY_THE_DATABASE as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
            raise  # somebody planted it, for reasons of their own
        raise _unstorable(error) from error


def _unstorable(error: Exception) -> Unstorable:
    return Unstorable(f"it can't be stored ({type(error).__name__}: {str(error)[:_MOST_SAID]})")


def _refuse(batch: Sequence[_Write], error: Unavailable) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def is_fatal(error: Exception) -> bool:
    """Say whether going on would be a lie: after a failed sync nobody knows what is on disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    lies = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, StoreDamaged) or code in lies
