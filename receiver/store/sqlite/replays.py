"""Replays over one database: what is planned is planned inside the transaction that makes it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from receiver import ids
from receiver.errors import NotFound
from receiver.life import JobState
from receiver.record import Wish
from receiver.store.replays import KEPT, Begun, Made, Place
from receiver.store.sqlite.database import Database
from receiver.store.sqlite.jobs import first_times
from receiver.store.sqlite.reads import Reads
from receiver.store.values import EventFilter, Row

if TYPE_CHECKING:
    from receiver.replanning import Replanned, Replanner

_PLANNED_AT_ONCE = 200
"""So that nobody who is acknowledged waits for a plan."""


class Replays:
    """The verbs of `receiver.store.replays.Replays`."""

    def __init__(
        self,
        database: Database,
        reads: Reads,
        *,
        write: Callable[[Callable[[], Any]], asyncio.Future[Any]],
        now: Callable[[], int],
        wake: Callable[[], None],
    ) -> None:
        """`now` says by which time jobs are due; `wake` those who wait for jobs."""
        self._database = database
        self._reads = reads
        self._write = write
        self._now = now
        self._wake = wake

    # Choosing.

    async def select(self, wanted: EventFilter, *, limit: int, before: int | None = None) -> list[int]:
        """See `replays.Replays`."""
        return await self._reads.seqs(wanted, limit=limit, before=before)

    async def find(self, prefixes: Sequence[str]) -> list[int]:
        """See `replays.Replays`."""
        found = [await self._reads.seq_of(prefix) for prefix in dict.fromkeys(prefixes)]
        return list(dict.fromkeys(found))

    async def plan(self, events: Sequence[int], wish: Wish) -> list[Row]:
        """See `replays.Replays`."""
        return [
            {**event, "jobs": planned.jobs, "left": planned.left}
            async for event, planned in self._planned(events, wish)
        ]

    async def sum_up(self, events: Sequence[int], wish: Wish) -> Row:
        """See `replays.Replays`."""
        touched, jobs, left = 0, Counter[str](), Counter[str]()
        async for _, planned in self._planned(events, wish):
            touched += bool(planned.jobs)
            jobs.update(handler for handler, *_ in planned.jobs)
            left.update(reason for _, reason in planned.left)
        return {"events": touched, "jobs": dict(jobs), "left": dict(left)}

    async def _planned(self, events: Sequence[int], wish: Wish) -> AsyncIterator[tuple[Row, Replanned]]:
        replanner = _replanner(wish)
        for start in range(0, len(events), _PLANNED_AT_ONCE):
            wanted = {"events": _json(events[start : start + _PLANNED_AT_ONCE])}
            found = await self._reads.rows("events_to_replay", wanted)
            had = _histories(await self._reads.rows("jobs_had", wanted))
            for event in found:
                yield event, had.get(event["seq"], _NOTHING).plan(replanner, event)

    # Making.

    async def begin(self, replay: Begun) -> None:
        """See `replays.Replays`."""

        def insert() -> None:
            fields = replay._asdict()
            self._database.execute("insert_replay", {**fields, "began_at": fields.pop("at")})
            self._database.execute("trim_replays", {"kept": KEPT})

        await self._write(insert)

    async def make(self, replay: str, events: Sequence[int], wish: Wish, *, at: Place | None = None) -> Made:
        """See `replays.Replays`."""
        replanner = _replanner(wish)
        made: Made | None = await self._write(lambda: self._make(replay, events, replanner, at))
        if made is None:
            raise NotFound(f"no replay {replay} goes on")
        self._wake()
        return made

    def _make(
        self, replay: str, events: Sequence[int], replanner: Replanner, at: Place | None
    ) -> Made | None:
        now = self._now()
        wanted = {"events": _json(list(dict.fromkeys(events)))}
        had = _histories(self._database.execute("jobs_had", wanted))
        jobs: list[tuple[Any, ...]] = []
        touched = 0
        for event in self._database.execute("events_to_replay", wanted):
            history = had.get(event["seq"], _NOTHING)
            planned = history.plan(replanner, event)
            touched += bool(planned.jobs)
            for handler, state, waits_for, reason in planned.jobs:
                times = first_times(state, now)
                follows = history.follows(state, waits_for)
                fields = (reason, replay, event["seq"], history.expires_at, follows)
                jobs.append((handler, *times, state, waits_for, *fields))
        if not self._count(replay, now, at, events=len(events), jobs=len(jobs), failed=0):
            return None
        self._database.executemany("insert_replayed_job", jobs)
        return Made(touched, len(jobs))

    async def count(
        self, replay: str, *, events: int, jobs: int, failed: int, at: Place | None = None
    ) -> None:
        """See `replays.Replays`."""
        counts = {"events": events, "jobs": jobs, "failed": failed}
        if not await self._write(lambda: self._count(replay, self._now(), at, **counts)):
            raise NotFound(f"no replay {replay} goes on")

    def _count(self, replay: str, now: int, at: Place | None, **counts: int) -> bool:
        at_events, at_jobs = at or (None, None)
        stands = {"id": replay, "at_events": at_events, "at_jobs": at_jobs}
        return bool(self._database.execute("count_in_replay", {**stands, "now": now, **counts}).rowcount)

    async def end(self, replay: str, *, is_through: bool) -> None:
        """See `replays.Replays`."""
        status = "finished" if is_through else "stopped"
        fields = {"id": replay, "status": status}
        await self._write(
            lambda: self._database.execute("end_replay", {**fields, "now": self._now()}).rowcount
        )

    async def last(self, *, prefix: str = "", limit: int = 20) -> list[Row]:
        """See `replays.Replays`."""
        wanted = {"prefix": ids.whole("rpl", prefix), "limit": limit}
        rows = await self._reads.rows("last_replays", wanted)
        for row in rows if prefix else ():
            states = await self._reads.rows("states_of_replay", {"replay": row["id"]})
            row["states"] = {state["state"]: state["jobs"] for state in states}
        return rows


def _replanner(wish: Wish) -> Replanner:
    from receiver.replanning import Replanner  # knows the handlers' cards; a store starts faster without

    return Replanner(wish)


class _History(NamedTuple):
    """The jobs that one event has had."""

    last: dict[str, str]
    """The state of each handler's last job."""
    done: dict[str, int]
    """The last job of each handler that is done."""
    expires_at: int | None = None

    def plan(self, replanner: Replanner, event: Mapping[str, Any]) -> Replanned:
        sort = (event["source"], event["kind"], event["type"], event["via"])
        return replanner.plan(*sort, self.last, self.done.keys(), has_object=bool(event["has_object"]))

    def follows(self, state: str, waits_for: str | None) -> int | None:
        """Whose result a job goes on with that runs without the one that it comes after."""
        return self.done.get(waits_for) if waits_for is not None and state == JobState.READY else None


_NOTHING = _History({}, {})


def _histories(rows: Iterable[Mapping[str, Any]]) -> dict[int, _History]:
    histories: dict[int, _History] = {}
    for row in rows:
        seq, handler = row["event"], row["handler"]
        history = histories.get(seq) or _History({}, {})
        history.last[handler] = row["state"]
        if row["state"] == JobState.DONE:
            history.done[handler] = row["seq"]
        expiries = [each for each in (history.expires_at, row["expires_at"]) if each is not None]
        histories[seq] = history._replace(expires_at=max(expiries, default=None))
    return histories


def _json(values: Sequence[int]) -> str:
    return orjson.dumps(values).decode()
