"""Removing what is old: events whose jobs have all ended, body files before the rest of their rows,
watches and submissions.

Looking is done on the connection that reads, in steps; each step that removes is a transaction of its own
and looks again, as a delivery or a replay may have come in between. Files are the caller's to remove,
after the commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import orjson

from receiver.store.sqlite.database import Database
from receiver.store.sqlite.intake import Intake
from receiver.store.sqlite.submissions import Submissions
from receiver.store.values import Keep, Pruned, Row

Ask = Callable[[str, Mapping[str, object]], Awaitable[list[Row]]]
"""Run a named query on the connection that reads."""
Step = tuple[str, int, int]
"""Where a pass is: what it looks for (the name of a query), and after which time and number."""

FIRST: Step = ("old_events", -1, -1)
_SECOND: Step = ("old_files", -1, -1)
_THIRD: Step = ("old_watches", -1, -1)
_FOURTH: Step = ("old_submissions", -1, -1)
_NEXT: dict[str, Step | None] = {
    FIRST[0]: _SECOND,
    _SECOND[0]: _THIRD,
    _THIRD[0]: _FOURTH,
    _FOURTH[0]: None,
}
_LOOKED_AT_ONCE = 1000
_TABLES = ("events", "deliveries", "jobs", "attempts")
_REMOVALS = ("remove_attempts", "remove_jobs", "remove_videos", "remove_deliveries", "remove_events")
"""What refers to others comes first."""


class Retention:
    """Removes rows, as part of the open transaction."""

    def __init__(self, database: Database, intake: Intake) -> None:
        self._database = database
        self._intake = intake
        self._submissions = Submissions(database)

    def remove(self, step: Sequence[Any] | None, found: Sequence[int], keep: Keep, *, now: int) -> Pruned:
        """Remove what a step has found: it may be kept by now."""
        phase = (step or FIRST)[0]
        if phase == _FOURTH[0]:
            return Pruned(submissions=self._submissions.remove(found, before=keep.events_before))
        if phase == _THIRD[0]:
            return Pruned(watches=self._intake.watches.remove(found, before=keep.events_before))
        if phase == _SECOND[0]:
            return self.remove_files(found, keep, now=now)
        return self.remove_events(found, keep)

    def remove_events(self, events: Collection[int], keep: Keep) -> Pruned:
        """Remove whatever belongs to those events that may go."""
        rows = self._finished(events, keep, before=keep.events_before)
        if not rows:
            return Pruned()
        wanted = {"events": _json([row["seq"] for row in rows])}
        counted = dict(self._database.execute("count_rows_of_events", wanted).fetchone())
        digests = self._files(wanted)
        for removal in _REMOVALS:
            self._database.execute(removal, wanted)
        self._intake.unlearn([dict(row) for row in rows])
        return Pruned(**counted, digests=digests)

    def remove_files(self, events: Collection[int], keep: Keep, *, now: int) -> Pruned:
        """Note that the body files of those events that are over are not there any more."""
        rows = self._finished(events, keep, before=keep.bodies_before)
        if not rows:
            return Pruned()
        wanted = {"events": _json([row["seq"] for row in rows])}
        digests = self._files(wanted)
        self._database.execute("mark_files_removed", {**wanted, "now": now})
        self._database.execute("remove_videos", wanted)
        return Pruned(digests=digests)

    def _finished(self, events: Collection[int], keep: Keep, *, before: int) -> list[Row]:
        return self._database.execute("finished_events", _finished(events, keep, before=before)).fetchall()

    def _files(self, wanted: Mapping[str, str]) -> list[str]:
        return [digest for (digest,) in self._database.execute("files_of_events", wanted)]


async def look(ask: Ask, step: Step, keep: Keep, *, count: int) -> tuple[list[int], Step | None]:
    """The next few events that may be old enough, and where to go on; None after the last."""
    phase, after_at, after = step
    before = keep.bodies_before if phase == _SECOND[0] else keep.events_before
    rows = await ask(phase, {"before": before, "after_at": after_at, "after": after, "count": count})
    events: list[int] = list(dict.fromkeys(row.get("event") or row["seq"] for row in rows))
    if len(rows) == count:
        return events, (phase, rows[-1]["received_at"], rows[-1]["seq"])
    return events, _NEXT[phase]


async def plan(ask: Ask, keep: Keep) -> Pruned:
    """What a whole pass would remove, now."""
    gone: set[int] = set()
    bare: set[int] = set()
    counts = dict.fromkeys(_TABLES, 0)
    others = {_THIRD[0]: 0, _FOURTH[0]: 0}
    step: Step | None = FIRST
    while step is not None:
        phase = step[0]
        old, step = await look(ask, step, keep, count=_LOOKED_AT_ONCE)
        if phase in others:
            others[phase] += len(old)
            continue
        before = keep.events_before if phase == FIRST[0] else keep.bodies_before
        found = await ask("finished_events", _finished(set(old) - gone, keep, before=before))
        seqs = [row["seq"] for row in found]
        if phase == _SECOND[0]:
            bare.update(seqs)
            continue
        gone.update(seqs)
        (counted,) = await ask("count_rows_of_events", {"events": _json(seqs)})
        counts = {table: counts[table] + counted[table] for table in _TABLES}
    unused = await ask("files_of_events", {"events": _json(sorted(gone | bare))})
    events, deliveries, jobs, attempts = (counts[table] for table in _TABLES)
    digests = [row["digest"] for row in unused]
    watches, submissions = others.values()
    return Pruned(events, deliveries, jobs, attempts, digests, None, watches, submissions)


def _finished(events: Collection[int], keep: Keep, *, before: int) -> dict[str, object]:
    dead_before = min(before, keep.dead_before)
    return {"events": _json(sorted(events)), "before": before, "dead_before": dead_before}


def _json(values: Sequence[int]) -> str:
    return orjson.dumps(values).decode()
