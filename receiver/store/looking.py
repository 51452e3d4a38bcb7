"""The verbs of the store that only read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import orjson

from receiver.store.sqlite.backup import copy
from receiver.store.sqlite.database import Database
from receiver.store.sqlite.reads import Reads, integrity
from receiver.store.values import EventFilter, Keep, Pruned, Row, Stretch

CARDS = "handlers"


class Looking:
    """What a store answers without writing anything."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads = Reads(database.path)

    async def events(self, wanted: EventFilter, *, limit: int, before: int | None) -> list[Row]:
        """See `base.Reads`."""
        return await self._reads.events(wanted, limit=limit, before=before)

    async def following(self, wanted: EventFilter, *, limit: int, after: int) -> Stretch:
        """See `base.Reads`."""
        return await self._reads.following(wanted, limit=limit, after=after)

    async def id_of(self, seq: int) -> str | None:
        """See `base.Reads`."""
        return await self._reads.id_of(seq)

    async def event(self, prefix: str) -> Row:
        """See `base.Reads`."""
        return await self._reads.event(prefix)

    async def rejections(self, *, limit: int) -> list[Row]:
        """See `base.Reads`."""
        return await self._reads.rejections(limit=limit)

    async def bodies_in_use(self, digests: Sequence[str]) -> list[str]:
        """See `base.Reads`."""
        return await self._reads.bodies_in_use(digests)

    async def all_bodies(self) -> list[str]:
        """See `base.Reads`."""
        return await self._reads.all_bodies()

    async def published(self) -> list[Row]:
        """See `base.Store`."""
        cards: list[Row] = orjson.loads(self._database.value(CARDS) or "[]")
        return cards

    async def check(self) -> list[str]:
        """See `base.Store`."""
        return await asyncio.to_thread(integrity, self._database.path)

    async def prunable(self, keep: Keep) -> Pruned:
        """See `base.Upkeep`."""
        return await self._reads.prunable(keep)

    async def backup(self, target: Path) -> list[str]:
        """See `base.Store`."""
        return await copy(self._database.path, target)
