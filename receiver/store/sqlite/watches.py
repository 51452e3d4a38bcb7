"""Watches as rows, and in memory which are open: recording looks there first, and asks the table seldom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import orjson

from receiver.record import Arrival, Known
from receiver.sources.base import WATCH_EXPIRED
from receiver.store.sqlite.database import Database
from receiver.store.values import Row
from receiver.store.watches import Ending, NewWatch, Opened, Outcome, Seen, Watch

_ENDS = {"completed", "failed"}


class Watches:
    """The open watches. Belongs to the one connection that writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.forget()

    def forget(self) -> None:
        """Read again which are open, after a transaction was undone."""
        self.open: dict[tuple[str, str], int] = {
            (identity, source): seq for identity, source, seq in self._database.execute("open_watches")
        }
        """Identity and source → number."""

    def add(self, watch: NewWatch, video: Mapping[str, Known], *, now: int) -> Opened:
        """Watch a video whose events are known."""
        open_seq = self.open.get((watch.identity, watch.source))
        if open_seq is not None:
            times = {"first_at": watch.first_at, "deadline_at": watch.deadline_at}
            self._database.execute("hasten_watch", {**times, "seq": open_seq})
            return Opened.KNOWN
        if "completed" in video or ("failed" in video and not self._has_expired(video["failed"])):
            return Opened.OVER
        self._database.execute("remove_former_watch", _names(watch))
        self._insert(watch, now=now)
        return Opened.NEW

    def _has_expired(self, failed: Known) -> bool:
        row = self._database.execute("status_of_event", {"seq": failed.seq}).fetchone()
        return row is not None and row["status"] == WATCH_EXPIRED

    def _insert(self, watch: NewWatch, *, now: int) -> int:
        source, kind, identity, video_id, first_at, deadline_at = watch
        row = (source, kind, identity, video_id, first_at, deadline_at, now)
        seq = int(self._database.execute("insert_watch", row).lastrowid or 0)
        self.open[identity, source] = seq
        return seq

    def follow(self, arrival: Arrival, event: int, video: Mapping[str, Known]) -> None:
        """Let an arrival, which is recorded with an event in this transaction, end, show or open a watch.

        `video` is what is known of its video by now.
        """
        key = (arrival.identity, arrival.source)
        if arrival.what in _ENDS:
            if key in self.open:
                ending = Ending.EXPIRED if arrival.status == WATCH_EXPIRED else Ending(arrival.what)
                is_asked = arrival.via == "poll" and ending is not Ending.EXPIRED
                seen = {"status": arrival.status, "progress": arrival.progress, "asked": int(is_asked)}
                self._end(self.open[key], ending, arrival.received_at, seen)
        elif arrival.what == "progress":
            if key not in self.open and not self._opens(arrival, video):
                return
            first_at = arrival.watch[0] if arrival.watch else 0
            seen_now = (arrival.status, arrival.progress, arrival.received_at, event, first_at)
            self._database.execute("see_progress", (*seen_now, self.open[key]))

    def _opens(self, arrival: Arrival, video: Mapping[str, Known]) -> bool:
        """Open a watch of a video that nobody watches, unless one had been opened and ended before."""
        if arrival.watch is None or not _ENDS.isdisjoint(video):
            return False
        if self._database.execute("former_watch", _names(arrival)).fetchone() is not None:
            return False
        where = (arrival.source, arrival.kind, arrival.identity, arrival.video_id)
        self._insert(NewWatch(*where, *arrival.watch), now=arrival.received_at)
        return True

    def due(self, sources: Iterable[str], *, now: int, count: int, busy: Sequence[int]) -> list[Watch]:
        """The open watches of some sources that are due."""
        found: list[Watch] = []
        for source in sources:
            wanted = {"source": source, "now": now, "busy": _json(busy), "count": count}
            found += [Watch(*row) for row in self._database.execute("due_watches", wanted)]
        return sorted(found, key=lambda watch: watch.next_at)[:count]

    def next_due(self, sources: Iterable[str], *, busy: Sequence[int]) -> int | None:
        """When the next of them is due."""
        asked = (
            self._database.execute("next_due_watch", {"source": source, "busy": _json(busy)}).fetchone()
            for source in sources
        )
        return min((row["due"] for row in asked if row["due"] is not None), default=None)

    def note(self, watch: int, seen: Seen) -> None:
        """Keep what asking has shown, with the event of the video's progress, too."""
        outcome, at, next_at, status, progress, error = seen
        shown = {"status": status, "progress": progress}
        row = {**shown, "seq": watch, "at": at, "next_at": next_at, "error": error}
        row["is_answered"] = outcome != Outcome.UNANSWERED
        for (event,) in self._database.execute("note_watch", row).fetchall():
            if event is not None and outcome == Outcome.PROGRESS:
                self._database.execute("note_progress", {**shown, "seq": event})

    def end(self, watch: int, ending: str, *, at: int) -> bool:
        """End a watch; False when it had ended."""
        return self._end(watch, Ending(ending), at, {"status": None, "progress": None, "asked": 0})

    def _end(self, watch: int, ending: Ending, at: int, seen: Mapping[str, object]) -> bool:
        ended = {**seen, "seq": watch, "at": at, "ending": ending.value}
        return self._close(self._database.execute("end_watch", ended).fetchall()) > 0

    def reopen(self, event: Row) -> None:
        """Ask on about a video whose end, as this event had it, was none."""
        wanted = {name: event[name] for name in ("source", "video_id", "identity")}
        for (seq,) in self._database.execute("reopen_watch", {**wanted, "ending": event["what"]}).fetchall():
            self.open[event["identity"], event["source"]] = seq

    def remove(self, watches: Sequence[int], *, before: int) -> int:
        """Remove what was over before a time; return how many."""
        wanted = {"watches": _json(watches), "before": before}
        return self._close(self._database.execute("remove_watches", wanted).fetchall())

    def _close(self, rows: Sequence[tuple[str, str]]) -> int:
        for identity, source in rows:
            self.open.pop((identity, source), None)
        return len(rows)


def _names(watch: NewWatch | Arrival) -> dict[str, str]:
    return {"source": watch.source, "video_id": watch.video_id, "identity": watch.identity}


def _json(values: Sequence[int]) -> str:
    return orjson.dumps(list(values)).decode()
