"""Which events are known of a video: of the newest events in memory, of all others in a table.

The ids of videos are random, so an index of them touches a page of its own for each event: it was half
of what went to disk and a third of the store's time. Here the newest events are held in memory, and go
into the table in the order of their hashes, some with each transaction. What was not in the table when
a store ended is read from the events when the next one starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import orjson

from receiver.record import Arrival, Known
from receiver.store.sqlite.database import Database
from receiver.store.values import Row
from receiver.store.watches import NewWatch

GENERATION = 8192
"""Events that are gathered before they go into the table; at most twice as many are in memory."""
_LEAST_STEP = 64
_THROUGH = "indexed_through"

Key = tuple[str, str]
"""Identity and source."""
Events = dict[str, Known]
"""What happened to a video → the event that says so."""


def hash_of(video_id: str) -> int:
    """64 bits, signed: the same in every process and for ever."""
    return int.from_bytes(hashlib.blake2b(video_id.encode(), digest_size=8).digest(), signed=True)


class KnownEvents:
    """The events of each video. Belongs to the one connection that writes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.forget()

    def forget(self) -> None:
        """Read what is not in the table yet, again, after a transaction was undone."""
        through = self._database.value(_THROUGH)
        self._newest: dict[Key, Events] = {}
        self._older: dict[Key, Events] = {}
        self._gathered: list[tuple[int, int]] = []
        self._leaving: list[tuple[int, int]] = []
        """Hash and number of events on their way into the table, the highest hash first."""
        self._leaving_through = 0
        for video_id, identity, source, what, seq, event_id, content, refuted_at in self._database.execute(
            "events_after", {"seq": int(through or 0)}
        ):
            if refuted_at is None:
                self._newest.setdefault((identity, source), {})[what] = Known(seq, event_id, content)
            self._gathered.append((hash_of(video_id), seq))

    def of(self, arrivals: Sequence[Arrival | NewWatch]) -> Mapping[Key, Events]:
        """The events that are known of the videos that are meant; `add` adds to what is returned, too."""
        wanted = {(arrival.identity, arrival.source): arrival.video_id for arrival in arrivals}
        found: dict[Key, Events] = {key: {} for key in wanted}
        triples = [(hash_of(video_id), *key) for key, video_id in wanted.items()]
        for identity, source, what, seq, event_id, content in self._database.execute(
            "known_events", {"videos": orjson.dumps(triples).decode()}
        ):
            found[identity, source][what] = Known(seq, event_id, content)
        for generation in (self._older, self._newest):
            for key in wanted.keys() & generation.keys():
                found[key] |= generation[key]
        return found

    def add(self, arrival: Arrival, event: Known) -> None:
        """Know a new event, whose row is part of the open transaction."""
        self._newest.setdefault((arrival.identity, arrival.source), {})[arrival.what] = event
        self._gathered.append((hash_of(arrival.video_id), event.seq))

    def unlearn(self, events: Sequence[Row]) -> None:
        """Know no more of events that are being removed, wherever they are known from."""
        gone = {event["seq"] for event in events}
        for event in events:
            self.disown(event)
        self._gathered = [pair for pair in self._gathered if pair[1] not in gone]
        self._leaving = [pair for pair in self._leaving if pair[1] not in gone]
        hashes = [(hash_of(event["video_id"]), event["seq"]) for event in events]
        self._database.executemany("remove_known", hashes)

    def disown(self, event: Row) -> None:
        """Know no more of an event that is still found by its video: it stands in the way of no news."""
        key, what = (event["identity"], event["source"]), event["what"]
        for generation in (self._older, self._newest):
            known = generation.get(key, {})
            if what in known and known[what].seq == event["seq"]:
                del known[what]
                if not known:
                    del generation[key]

    def step(self, arrivals: int) -> None:
        """Put some of the older events into the table, as part of the open transaction."""
        if not self._leaving:
            if len(self._gathered) < GENERATION:
                return
            self._leaving_through = self._gathered[-1][1]
            self._leaving = sorted(self._gathered, reverse=True)
            self._older, self._newest, self._gathered = self._newest, {}, []
        count = max(2 * arrivals, _LEAST_STEP)
        self._database.executemany("index_event", reversed(self._leaving[-count:]))
        del self._leaving[-count:]
        if not self._leaving:
            self._database.set_value(_THROUGH, str(self._leaving_through))
            self._older = {}
