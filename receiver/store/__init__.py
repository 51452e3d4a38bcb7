"""The record: where events, deliveries, jobs and attempts are kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from receiver.errors import StoreDown
from receiver.store.base import Store
from receiver.store.remote import Remote

_LOCK_WAIT_SECONDS = 5.0
_RESTART_SECONDS = 5.0


@asynccontextmanager
async def opened(database: Path, *, lease_seconds: float) -> AsyncIterator[Store]:
    """The store of a running server, or, when none runs, the database opened by this process.

    Raise StoreInUse when somebody holds the file but does not serve it.
    """
    remote = Remote(database)
    try:
        await _connect(remote, database)
    except StoreDown:
        async with _embedded(database, lease_seconds=lease_seconds) as store:
            yield store
        return
    try:
        yield remote
    finally:
        await remote.close()


async def _connect(remote: Remote, database: Path) -> None:
    """Connect. A server whose store was killed is about to have another one: that is not to be kept out."""
    from receiver.store.lock import bereaved

    deadline = time.monotonic() + _RESTART_SECONDS
    while True:
        try:
            await remote.connect()
        except StoreDown:
            if time.monotonic() > deadline or not bereaved(database):
                raise
        else:
            return
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _embedded(database: Path, *, lease_seconds: float) -> AsyncIterator[Store]:
    from receiver.store.lock import StoreLock
    from receiver.store.service import Service

    lock = await asyncio.to_thread(StoreLock, database, wait_seconds=_LOCK_WAIT_SECONDS, is_embedded=True)
    try:
        service = Service(database, run=None, lease_seconds=lease_seconds)
        try:
            yield service
        finally:
            await service.close()
    finally:
        lock.release()
