"""Recording: one delivery, its event and its jobs, or one more delivery of a known event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from receiver.record import Arrival, Known, Verdict, decide
from receiver.store.sqlite.database import Database
from receiver.store.sqlite.jobs import first_times
from receiver.store.sqlite.known import KnownEvents
from receiver.store.sqlite.watches import Watches
from receiver.store.values import Receipt, Rejection, Row
from receiver.store.watches import NewWatch, Opened

REJECTIONS_KEPT = 1000
_LONGEST_TITLE = 1000


class Intake:
    """Writes arrivals; numbers events and deliveries itself, as nobody else writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = KnownEvents(database)
        self.watches = Watches(database)
        self._event, self._delivery = database.execute("last_seqs").fetchone()

    def forget(self) -> None:
        """Read again what is known, after a transaction was undone."""
        self._known.forget()
        self.watches.forget()
        self._event, self._delivery = self._database.execute("last_seqs").fetchone()

    @property
    def newest(self) -> int:
        """The number of the newest event, be it there or removed."""
        newest: int = self._event
        return newest

    def unlearn(self, events: Sequence[Row]) -> None:
        """Know no more of events whose rows are removed in this transaction; no number is given twice."""
        self._known.unlearn(events)
        removed = max(int(self._database.value("removed_through") or 0), *(row["seq"] for row in events))
        numbers = {
            "last_event": self._event,
            "last_delivery": self._delivery,
            "removed_through": removed,
        }
        for key, seq in numbers.items():
            self._database.set_value(key, str(seq))

    def disown(self, event: Row) -> None:
        """Know no more of an event whose row stays: what it ended goes on."""
        self._known.disown(event)
        self.watches.reopen(event)

    def record(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        """Write arrivals in their order; the receipts are valid after the commit."""
        known = self._known.of(arrivals)
        batch = _Batch()
        receipts = []
        for arrival in arrivals:
            video = known[arrival.identity, arrival.source]
            decision = decide(arrival.what, arrival.content, video)
            self._delivery += 1
            if decision.of is None:
                event = self._add_event(arrival, batch, [*arrival.warnings, *decision.warnings])
                video[arrival.what] = event
            else:
                event = decision.of
                batch.repeats.append((decision.verdict is Verdict.CONFLICT, event.seq))
                if decision.updates_progress:
                    batch.progress.append((arrival.status, arrival.progress, event.seq))
            if self.watches.open or arrival.watch is not None:
                self.watches.follow(arrival, event.seq, video)
            batch.add_delivery(arrival, event.seq, self._delivery, decision.verdict)
            receipts.append(Receipt(decision.verdict, event.id))
        batch.write(self._database)
        self._known.step(len(arrivals))
        return receipts

    def _add_event(self, arrival: Arrival, batch: _Batch, warnings: list[str]) -> Known:
        self._event += 1
        event = Known(self._event, arrival.event_id, arrival.content)
        self._known.add(arrival, event)
        batch.add_event(arrival, event.seq, self._delivery, warnings)
        return event

    def watch(self, watches: Sequence[NewWatch], *, now: int) -> list[Opened]:
        """Watch videos whose end is not recorded; the answers are valid after the commit."""
        known = self._known.of(watches)
        return [self.watches.add(watch, known[watch.identity, watch.source], now=now) for watch in watches]

    def expire(self, watch: int, arrival: Arrival) -> Receipt | None:
        """Record that a video was given up, if its watch is still open."""
        is_open = self.watches.open.get((arrival.identity, arrival.source)) == watch
        return self.record([arrival])[0] if is_open else None

    # What was recorded elsewhere, and is decided already.

    def knows(self, arrival: Arrival) -> bool:
        """Whether there is an event of the same key."""
        return arrival.what in self._known.of([arrival])[arrival.identity, arrival.source]

    def adopt(self, arrival: Arrival, *, copied_at: int) -> int:
        """Write an event whose key is not known, with its first delivery; return its number."""
        batch = _Batch(copied_at)
        self._delivery += 1
        if self.watches.open:
            known = self._known.of([arrival])[arrival.identity, arrival.source]
            self.watches.follow(arrival, self._event + 1, known)
        event = self._add_event(arrival, batch, arrival.warnings)
        batch.add_delivery(arrival, event.seq, self._delivery, Verdict.ACCEPTED)
        batch.write(self._database)
        self._known.step(1)
        return event.seq

    def repeat(self, event: int, arrival: Arrival, verdict: Verdict, *, copied_at: int) -> None:
        """Write one more delivery of an event."""
        batch = _Batch(copied_at)
        self._delivery += 1
        batch.repeats.append((verdict is Verdict.CONFLICT, event))
        batch.add_delivery(arrival, event, self._delivery, verdict)
        batch.write(self._database)

    def reject(self, rejections: Sequence[Rejection]) -> None:
        """Add to the list of rejections and keep it bounded."""
        self._database.executemany("insert_rejection", rejections)
        self._database.execute("trim_rejections", {"kept": REJECTIONS_KEPT})


class _Batch:
    """The rows of one transaction, by table."""

    def __init__(self, copied_at: int | None = None) -> None:
        self._copied_at = copied_at
        self.events: list[tuple[Any, ...]] = []
        self.deliveries: list[tuple[Any, ...]] = []
        self.jobs: list[tuple[Any, ...]] = []
        self.repeats: list[tuple[bool, int]] = []
        self.progress: list[tuple[str | None, float | None, int]] = []

    def add_event(self, arrival: Arrival, seq: int, delivery: int, warnings: list[str]) -> None:
        title = arrival.title[:_LONGEST_TITLE] if arrival.title else arrival.title
        self.events.append(
            (
                seq,
                arrival.event_id,
                arrival.source,
                arrival.kind,
                arrival.identity,
                arrival.what,
                arrival.type,
                arrival.video_id,
                arrival.status,
                arrival.progress,
                title,
                arrival.received_at,
                arrival.size,
                orjson.dumps(warnings).decode() if warnings else "[]",
                arrival.content,
                delivery,
            )
        )
        now = self._copied_at or arrival.received_at
        for handler, state, waits_for, reason in arrival.jobs:
            times = first_times(state, now)
            self.jobs.append((seq, handler, state, waits_for, *times, reason, arrival.expires_at))

    def add_delivery(self, arrival: Arrival, event: int, seq: int, verdict: Verdict) -> None:
        self.deliveries.append(
            (
                seq,
                event,
                verdict.value,
                arrival.via,
                arrival.received_at,
                arrival.method,
                arrival.path,
                arrival.headers,
                arrival.size,
                arrival.body,
                arrival.body_sha256,
                arrival.payload,
                arrival.strings,
                self._copied_at,
            )
        )

    def write(self, database: Database) -> None:
        for statement, rows in (
            ("insert_event", self.events),
            ("insert_delivery", self.deliveries),
            ("insert_job", self.jobs),
            ("count_repeat", self.repeats),
            ("update_progress", self.progress),
        ):
            if rows:
                database.executemany(statement, rows)
