"""Looking: read-only queries on a connection of their own, in aiosqlite's thread, beside the writer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import aiosqlite
import orjson

from receiver.errors import NotFound, Unavailable
from receiver.store import queries
from receiver.store.base import EventFilter, Row
from receiver.store.sqlite.database import read_only
from receiver.store.sqlite.jobs import as_row


class Reads:
    """Read-only verbs; the connection is opened at the first one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sql = queries.load("sqlite")
        self._connection: aiosqlite.Connection | None = None
        self._opening = asyncio.Lock()

    async def _all(self, name: str, parameters: dict[str, object]) -> list[Row]:
        try:
            async with self._opening:
                if self._connection is None:
                    self._connection = await aiosqlite.connect(
                        read_only(self._path), uri=True, isolation_level=None
                    )
                    self._connection.row_factory = sqlite3.Row
            rows = await self._connection.execute_fetchall(self._sql[name], parameters)
        except sqlite3.Error as error:
            raise Unavailable(f"the database can't be read: {error}") from error
        return [as_row(row) for row in rows]

    async def events(self, wanted: EventFilter, *, limit: int, before: int | None) -> list[Row]:
        """A page of events with their jobs."""
        parameters = {**wanted._asdict(), "limit": limit, "before": before}
        name = "list_events" if wanted.video is None else "list_events_of_video"
        return await self._with_jobs(await self._all(name, parameters))

    async def _with_jobs(self, events: list[Row]) -> list[Row]:
        by_seq: dict[int, Row] = {event["seq"]: {**event, "jobs": []} for event in events}
        seqs = orjson.dumps(list(by_seq)).decode()
        for job in await self._all("jobs_of_events", {"events": seqs}):
            by_seq[job.pop("event")]["jobs"].append(job)
        return list(by_seq.values())

    async def event(self, prefix: str) -> Row:
        """Everything about one event, found by the beginning of its id. Raise NotFound."""
        found = await self._all("find_event", {"prefix": prefix}) if prefix else []
        exact = [row for row in found if row["id"] == prefix]
        if not found:
            raise NotFound(f"no event {prefix!r}")
        if len(found) > 1 and not exact:
            raise NotFound(f"several events begin with {prefix!r}; give more of the id")
        seq = (exact or found)[0]["seq"]
        (event,) = await self._with_jobs(await self._all("event_by_seq", {"seq": seq}))
        event["deliveries"] = await self._all("deliveries_of_event", {"seq": seq})
        event["attempts"] = await self._all("attempts_of_event", {"seq": seq})
        for delivery in event["deliveries"]:
            delivery["headers"] = orjson.loads(delivery["headers"])
        return event

    async def rejections(self, *, limit: int) -> list[Row]:
        """The last rejections."""
        return await self._all("last_rejections", {"limit": limit})

    async def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        return {row["state"]: row["jobs"] for row in await self._all("counts", {})}

    async def bodies_in_use(self, digests: Sequence[str]) -> list[str]:
        """Which of these body files have a row."""
        rows = await self._all("bodies_in_use", {"digests": orjson.dumps(list(digests)).decode()})
        return [row["body_sha256"] for row in rows]

    async def all_bodies(self) -> list[str]:
        """Every body file that a row names."""
        return [row["body_sha256"] for row in await self._all("all_bodies", {})]

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()


def integrity(path: Path) -> list[str]:
    """Check the whole file: its structure and its references. Blocking, and as long as the file is big."""
    connection = sqlite3.connect(read_only(path), uri=True)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        strays = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
        return found + [
            f"{table} row {row} refers to nothing in {parent}" for table, row, parent, _ in strays
        ]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    finally:
        connection.close()
