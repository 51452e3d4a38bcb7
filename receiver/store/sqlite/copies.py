"""Copies over one database: deliveries that were recorded elsewhere are recorded as they stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from receiver.record import Verdict
from receiver.store.copies import COPIED, KNOWN, STRAY, Copy, Finding
from receiver.store.sqlite.database import Database
from receiver.store.sqlite.intake import Intake
from receiver.store.sqlite.reads import Reads
from receiver.store.values import Row

_BOOKMARK = "bookmark:"


class Copies:
    """The verbs of `receiver.store.copies.Copies`."""

    def __init__(
        self,
        database: Database,
        intake: Intake,
        reads: Reads,
        *,
        write: Callable[[Callable[[], Any]], asyncio.Future[Any]],
        wake: Callable[[], None],
    ) -> None:
        """`wake` those who wait for jobs or news."""
        self._database = database
        self._intake = intake
        self._reads = reads
        self._write = write
        self._wake = wake

    async def take(self, copies: Sequence[Copy]) -> list[str]:
        """See `copies.Copies`."""
        taken: list[str] = await self._write(lambda: [self._take(copy) for copy in copies])
        self._wake()
        return taken

    def _take(self, copy: Copy) -> str:
        arrival = copy.arrival
        found = self._database.execute("seq_of_event", {"id": arrival.event_id}).fetchone()
        if copy.verdict == Verdict.ACCEPTED:
            is_refuted = copy.finding is not None and copy.finding.refuted_at is not None
            if found is not None or (not is_refuted and self._intake.knows(arrival)):
                return KNOWN
            event = self._intake.adopt(arrival, copied_at=copy.at)
            self._note(event, copy.finding)
            if copy.video is not None:
                self._database.execute("keep_video", {"event": event, **copy.video._asdict()})
            return COPIED
        if found is None:
            return STRAY
        event = found["seq"]
        if self._count_equal(event, copy) >= copy.nth:
            return KNOWN
        self._intake.repeat(event, arrival, Verdict(copy.verdict), copied_at=copy.at)
        return COPIED

    def _note(self, event: int, finding: Finding | None) -> None:
        """Keep what the provider said; an event that it denied is known no more."""
        if finding is None or finding == Finding(None, None):
            return
        fields = {"event": event, **finding._asdict()}
        for row in self._database.execute("copy_finding", fields).fetchall():
            if finding.refuted_at is not None:
                self._intake.disown(row)

    def _count_equal(self, event: int, copy: Copy) -> int:
        fields = copy.arrival._asdict()
        same = {name: fields[name] for name in ("received_at", "via", "headers", "body", "body_sha256")}
        same |= {"event": event, "verdict": copy.verdict, "bytes": copy.arrival.size}
        return int(self._database.execute("count_equal_deliveries", same).fetchone()["deliveries"])

    async def newest(self) -> int:
        """See `copies.Copies`."""
        (row,) = await self._reads.rows("newest_delivery", {})
        return int(row["seq"])

    async def find(self, ids: Sequence[str]) -> dict[str, int]:
        """See `copies.Copies`."""
        rows = await self._reads.rows("seqs_of_ids", {"ids": orjson.dumps(list(ids)).decode()})
        return {row["id"]: row["seq"] for row in rows}

    async def give(
        self,
        events: Sequence[int],
        *,
        after: tuple[int, int] = (-1, 0),
        through: int | None = None,
        limit: int = 200,
    ) -> list[Row]:
        """See `copies.Copies`."""
        wanted = {"events": orjson.dumps(list(events)).decode(), "through": through, "limit": limit}
        return await self._reads.rows("given_deliveries", {**wanted, "place": after[0], "seq": after[1]})

    async def carried(self, event: int, sha256: str) -> Row | None:
        """See `copies.Copies`."""
        rows = await self._reads.rows("carried_body", {"event": event, "sha256": sha256})
        return rows[0] if rows else None

    async def bookmark(self, name: str) -> str | None:
        """See `copies.Copies`."""
        return self._database.value(_BOOKMARK + name)

    async def set_bookmark(self, name: str, place: str) -> None:
        """See `copies.Copies`."""
        await self._write(lambda: self._database.set_value(_BOOKMARK + name, place))
