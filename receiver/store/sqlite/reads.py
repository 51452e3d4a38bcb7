"""Looking: read-only queries on a connection of their own, in aiosqlite's thread, beside the writer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiosqlite
import orjson

from receiver import ids
from receiver.errors import NotFound, Unavailable
from receiver.life import JobState
from receiver.store import queries
from receiver.store.sqlite import pages, retention
from receiver.store.sqlite.database import read_only
from receiver.store.sqlite.jobs import as_row
from receiver.store.submissions import Submission
from receiver.store.values import EventFilter, Keep, Pruned, Row, Stretch
from receiver.store.watches import Watch

MOST_ARRIVALS = 100
"""So many deliveries are told with their event; `copies.give` has all of them."""
_PATIENCE_SECONDS = 5.0
_CANDIDATES = 5


class Reads:
    """Read-only verbs; the connection is opened at the first one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sql = queries.load("sqlite")
        self._connection: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()
        self._is_closed = False

    async def rows(self, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """Run a named query. Raise Unavailable."""
        try:
            async with self._turn:
                rows = await self._rows(name, parameters)
        except sqlite3.Error as error:
            raise Unavailable(f"the database can't be read: {error}") from error
        return [as_row(row) for row in rows]

    async def _rows(self, name: str, parameters: Mapping[str, object]) -> Iterable[sqlite3.Row]:
        if self._is_closed:
            raise Unavailable("the database has been closed")
        if self._connection is None:
            self._connection = await aiosqlite.connect(read_only(self._path), uri=True, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
        try:
            return await self._connection.execute_fetchall(self._sql[name], parameters)
        except asyncio.CancelledError:
            await self._connection.interrupt()  # nobody waits for it any more, but others do for their turn
            raise

    async def events(self, wanted: EventFilter, *, limit: int, before: int | None) -> list[Row]:
        """A page of events with their jobs."""
        async with _in_time():
            seqs = await self.seqs(wanted, limit=limit, before=before)
            rows = await self.rows("listed_events", {"seqs": orjson.dumps(seqs).decode()})
            return await self._with_jobs(rows)

    async def seqs(self, wanted: EventFilter, *, limit: int, before: int | None) -> list[int]:
        """The numbers of a page of events."""
        return await pages.find(self.rows, wanted, limit=limit, before=before)

    async def following(self, wanted: EventFilter, *, limit: int, after: int) -> Stretch:
        """The next events after a `seq`, with their jobs."""
        async with _in_time():
            found = await pages.follow(self.rows, wanted, limit=limit, after=after)
            rows = await self.rows("listed_events", {"seqs": orjson.dumps(found.seqs).decode()})
            return Stretch(await self._with_jobs(rows[::-1]), found.through, found.removed)

    async def id_of(self, seq: int) -> str | None:
        """Which event has a `seq`."""
        rows = await self.rows("id_of_seq", {"seq": seq})
        return rows[0]["id"] if rows else None

    async def _with_jobs(self, events: list[Row]) -> list[Row]:
        by_seq: dict[int, Row] = {event["seq"]: {**event, "jobs": []} for event in events}
        seqs = orjson.dumps(list(by_seq)).decode()
        for job in await self.rows("jobs_of_events", {"events": seqs}):
            by_seq[job.pop("event")]["jobs"].append(job)
        return list(by_seq.values())

    async def event(self, prefix: str) -> Row:
        """Everything about one event, found by the beginning of its id. Raise NotFound."""
        async with _in_time():
            seq = await self.seq_of(prefix)
            (event,) = await self._with_jobs(await self.rows("event_by_seq", {"seq": seq}))
            shown = {"seq": seq, "newest": MOST_ARRIVALS - 1}
            event["deliveries"] = await self.rows("deliveries_of_event", shown)
            event["attempts"] = await self.rows("attempts_of_event", {"seq": seq})
            watch = await self.watch_of(event["source"], event["video_id"], event["identity"])
        event["watch"] = None if watch is None else watch._asdict()
        for delivery in event["deliveries"]:
            delivery["headers"] = orjson.loads(delivery["headers"])
            event["arrivals"] = delivery.pop("arrivals")
        return event

    async def seq_of(self, prefix: str) -> int:
        """The number of an event, found by the beginning of its id. Raise NotFound."""
        whole = ids.whole("evt", prefix)
        wanted = {"prefix": whole, "limit": _CANDIDATES + 1}
        found = await self.rows("find_event", wanted) if prefix else []
        exact = [row for row in found if row["id"] == whole]
        if not found:
            raise NotFound(f"no event {prefix!r}")
        if len(found) > 1 and not exact:
            raise NotFound(_several(prefix, [row["id"] for row in found]))
        return int((exact or found)[0]["seq"])

    async def rejections(self, *, limit: int) -> list[Row]:
        """The last rejections."""
        return await self.rows("last_rejections", {"limit": limit})

    async def figures(self, *, now: int) -> Row:
        """Jobs by state, seconds that the oldest due job has waited, bytes of the write-ahead log."""
        (row,) = await self.rows("figures", {})
        jobs = {state: row[state] for state in JobState if state in row}
        jobs[JobState.DONE] = row["jobs"] - sum(jobs.values())  # so that those are never counted
        due_at = row["oldest_ready_at"]
        return {
            "jobs": {state.value: count for state, count in jobs.items() if count},
            "oldest_ready_seconds": 0.0 if due_at is None else max(0, now - due_at) / 1000,
            "wal_bytes": _size(self._path.with_name(f"{self._path.name}-wal")),
        }

    async def watches(self, *, source: str | None, ended: bool, limit: int) -> list[Watch]:
        """Watches, the newest first."""
        wanted = {"source": source, "ended": ended, "limit": limit}
        return [Watch(**row) for row in await self.rows("listed_watches", wanted)]

    async def watch_of(self, source: str, video_id: str, identity: str | None = None) -> Watch | None:
        """The watch of a video."""
        wanted = {"source": source, "video_id": video_id, "identity": identity}
        rows = await self.rows("watch_of_video", wanted)
        return Watch(**rows[0]) if rows else None

    async def submissions(self, query: str, wanted: Mapping[str, object]) -> list[Submission]:
        """Submissions, by one of the queries that list them."""
        return [Submission(**row) for row in await self.rows(query, wanted)]

    async def bodies_in_use(self, digests: Sequence[str]) -> list[str]:
        """Which of these body files have a row."""
        rows = await self.rows("bodies_in_use", {"digests": orjson.dumps(list(digests)).decode()})
        return [row["body_sha256"] for row in rows]

    async def all_bodies(self) -> list[str]:
        """Every body file that a row names."""
        return [row["body_sha256"] for row in await self.rows("all_bodies", {})]

    async def old(
        self, step: Sequence[Any] | None, keep: Keep, *, count: int
    ) -> tuple[list[int], retention.Step | None]:
        """The next few events that may be old enough to be removed, and where to go on."""
        phase, after_at, after = step or retention.FIRST
        return await retention.look(self.rows, (phase, after_at, after), keep, count=count)

    async def prunable(self, keep: Keep) -> Pruned:
        """What may be removed, all in all."""
        return await retention.plan(self.rows, keep)

    async def close(self) -> None:
        """Close the connection, one that is just being opened, too: its thread would hold the process."""
        self._is_closed = True
        async with self._turn:
            if self._connection is not None:
                await self._connection.close()
                self._connection = None


def _several(prefix: str, ids: list[str]) -> str:
    named = ", ".join(ids[:_CANDIDATES])
    more = " and others" if len(ids) > _CANDIDATES else ""
    return f"several events begin with {prefix!r}; give more of the id: {named}{more}"


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Let no question keep others waiting for long."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            yield
    except TimeoutError:
        raise Unavailable("the database took too long to answer; ask for less") from None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def integrity(path: Path) -> list[str]:
    """Check the whole file: its structure and its references. Blocking, and as long as the file is big."""
    with closing(sqlite3.connect(read_only(path), uri=True)) as connection:
        try:
            return damage(connection)
        except sqlite3.DatabaseError as error:
            return [str(error)]


def damage(connection: sqlite3.Connection) -> list[str]:
    """Check all that a connection can read. Raise DatabaseError when that can't be known."""
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        strays = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return [str(error)]
        raise
    return found + [f"{table} row {row} refers to nothing in {parent}" for table, row, parent, _ in strays]
