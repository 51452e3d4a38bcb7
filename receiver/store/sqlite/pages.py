"""Finding a page of events: by the shortest way that the filters allow, whatever the clock did."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import orjson

from receiver.life import JobState
from receiver.store.sqlite.known import hash_of
from receiver.store.values import EventFilter, Row

Ask = Callable[[str, Mapping[str, object]], Awaitable[list[Row]]]
"""Run a named query."""

_GLANCE = 2000
"""Events that are simply looked at first: most pages are full by then."""
_FEW = 3000
"""Candidates that are looked at one by one, whatever else is asked."""
_BY_STATE = {JobState.READY: "seqs_ready", JobState.RUNNING: "seqs_running"}
_ASCENDING = {
    "seqs_in_range": "seqs_in_range_ascending",
    "seqs_of_video": "seqs_of_video_ascending",
    "seqs_of_kinds": "seqs_of_kinds_ascending",
    "seqs_in_state": "seqs_in_state_ascending",
    "seqs_ready": "seqs_ready_ascending",
    "seqs_running": "seqs_running_ascending",
}


async def find(
    ask: Ask,
    wanted: EventFilter,
    *,
    limit: int,
    before: int | None,
    glance: int = _GLANCE,
    few: int = _FEW,
) -> list[int]:
    """The `seq` of each event of a page, newest first; `glance` and `few` say how far is looked first."""
    (ends,) = await ask("seq_bounds", {})
    if ends["highest"] is None:
        return []
    page = _Page(ask, wanted, limit, (ends["lowest"], ends["highest"]), glance, few)
    page.restrict(highest=None if before is None else before - 1)
    return await page.find()


class Found(NamedTuple):
    """Events in the order of commits."""

    seqs: list[int]
    through: int
    """The `seq` up to which there is nothing else that is wanted."""
    removed: int
    """How many events have been removed from this stretch."""


async def follow(
    ask: Ask, wanted: EventFilter, *, limit: int, after: int, glance: int = _GLANCE, few: int = _FEW
) -> Found:
    """The `seq` of each of the next events after one, oldest first."""
    (ends,) = await ask("seq_bounds", {})
    gone = await ask("removed_through", {})
    removed_through = gone[0]["seq"] if gone else 0
    if ends["highest"] is None:
        through = max(after, removed_through)
        return Found([], through, through - after)
    lowest, highest = ends["lowest"], ends["highest"]
    page = _Ascending(ask, wanted, limit, (lowest, highest), glance, few)
    page.restrict(lowest=after + 1)
    seqs = await page.find() if after < highest else []
    through = seqs[-1] if len(seqs) == limit else max(after, highest, removed_through)
    # No number is left out when events are recorded, so that those which are not there were removed.
    upper = min(through, max(lowest - 1, removed_through))
    if upper <= after:
        return Found(seqs, through, 0)
    (left,) = await ask("count_between", {"after": after, "through": upper})
    return Found(seqs, through, upper - after - left["events"])


class _Page:
    """A page that is looked for between two seqs."""

    def __init__(
        self, ask: Ask, wanted: EventFilter, limit: int, ends: tuple[int, int], glance: int, few: int
    ) -> None:
        self._ask = ask
        self._wanted = wanted
        self._limit = limit
        self._ends = ends
        self._lowest, self._highest = ends
        self._glance = glance
        self._few = few

    def restrict(self, *, lowest: int | None = None, highest: int | None = None) -> None:
        """Look no further than this."""
        self._lowest = self._lowest if lowest is None else max(self._lowest, lowest)
        self._highest = self._highest if highest is None else min(self._highest, highest)

    async def find(self) -> list[int]:
        """The page."""
        if self._wanted.video is not None:
            return await self.look("seqs_of_video", hash=hash_of(self._wanted.video))
        seqs = await self.glance()
        return await self.search() if seqs is None else seqs

    async def look(self, name: str, **more: object) -> list[int]:
        """Ask for the page in one way."""
        between = {"lowest": self._lowest, "highest": self._highest, "limit": self._limit}
        rows = await self._ask(name, {**self._wanted._asdict(), **between, **more})
        return [row["seq"] for row in rows]

    async def glance(self) -> list[int] | None:
        """The page, if it is full or there is no more after the newest few."""
        lowest = max(self._lowest, self._highest - self._glance)
        seqs = await self.look("seqs_in_range", lowest=lowest)
        return seqs if len(seqs) == self._limit or lowest == self._lowest else None

    async def search(self) -> list[int]:
        """The page, through the index that leads to it."""
        kinds = await self._kinds()
        way, candidates = await self._shortest_way(kinds)
        if candidates > self._few:
            seqs = await self._narrow()
            if seqs is not None:
                return seqs
            way, _ = await self._shortest_way(kinds)
        return await self.look(way, kinds=kinds)

    async def _narrow(self) -> list[int] | None:
        """Restrict the search, as time and state allow; the page, if that was enough to find it."""
        wanted, seqs = self._wanted, None
        if wanted.until is not None:
            self.restrict(highest=await self._highest_before(wanted.until))
            seqs = await self.glance()
        if seqs is None and wanted.state == JobState.READY:
            self.restrict(highest=await self._one("newest_ready", default=0, highest=self._highest))
            seqs = await self.glance()
        if seqs is None and wanted.since is not None:
            self.restrict(lowest=await self._lowest_since(wanted.since))
        return seqs

    async def _shortest_way(self, kinds: str | None) -> tuple[str, float]:
        """The statement with the fewest candidates, and their number; more than a few are not counted."""
        wanted, ways = self._wanted, {"seqs_in_range": math.inf}
        if kinds is not None:
            ways["seqs_of_kinds"] = await self._count("count_of_kinds", kinds=kinds)
        if wanted.state is not None:
            way = _BY_STATE.get(JobState(wanted.state), "seqs_in_state")
            ways[way] = await self._count("count_in_state", state=wanted.state)
        return min(ways.items(), key=lambda way: way[1])

    async def _count(self, name: str, **parameters: object) -> float:
        between = {"lowest": self._lowest, "highest": self._highest, "most": self._few + 1}
        (counted,) = await self._ask(name, {**between, **parameters})
        return float(counted["events"])

    # Time. Events come in the order of the clock, but for the times that it was set back. So the
    # border between before and after is guessed from the index, and proved on its shorter side.

    async def _highest_before(self, until: int) -> int:
        """The highest seq of an event before a time; 0 when there is none."""
        lowest, highest = self._ends
        guess = await self._one("last_before", default=0, until=until)
        if highest - guess < guess - lowest:
            (above,) = await self._ask("count_since_above", {"until": until, "seq": guess})
            if above["events"] == above["highest"] - guess:
                return guess
        return await self._one("highest_before", default=guess, until=until, seq=guess)

    async def _lowest_since(self, since: int) -> int:
        """The lowest seq of an event that is not before a time; past the last when there is none."""
        lowest, highest = self._ends
        guess = await self._one("first_since", default=highest + 1, since=since)
        if guess - lowest < highest - guess:
            (below,) = await self._ask("count_before_below", {"since": since, "seq": guess})
            if below["events"] == guess - lowest:
                return guess
        return await self._one("lowest_since", default=guess, since=since, seq=guess)

    async def _one(self, name: str, *, default: int, **parameters: object) -> int:
        rows = await self._ask(name, parameters)
        return int(rows[0]["seq"]) if rows else default

    # Kinds.

    async def _kinds(self) -> str | None:
        """The pairs of source and type that are wanted, as JSON; None when all are."""
        wanted = self._wanted
        if wanted.source is None and wanted.type is None:
            return None
        if wanted.source is not None and wanted.type is not None:
            return _json([(wanted.source, wanted.type)])
        pairs = [(row["source"], row["type"]) for row in await self._ask("kinds", {})]
        return _json([pair for pair in pairs if wanted.source == pair[0] or wanted.type == pair[1]])


class _Ascending(_Page):
    """A page of the oldest events between two seqs."""

    async def look(self, name: str, **more: object) -> list[int]:
        """Ask for the page in one way."""
        return await super().look(_ASCENDING[name], **more)

    async def glance(self) -> list[int] | None:
        """The page, if it is full or there is no more after the oldest few."""
        highest = min(self._highest, self._lowest + self._glance)
        seqs = await self.look("seqs_in_range", highest=highest)
        return seqs if len(seqs) == self._limit or highest == self._highest else None

    async def _narrow(self) -> list[int] | None:
        """Restrict the search, as time and state allow; the page, if that was enough to find it."""
        wanted, seqs = self._wanted, None
        if wanted.since is not None:
            self.restrict(lowest=await self._lowest_since(wanted.since))
            seqs = await self.glance()
        if seqs is None and wanted.state == JobState.READY:
            none = self._highest + 1
            self.restrict(lowest=await self._one("oldest_ready", default=none, lowest=self._lowest))
            seqs = await self.glance()
        if seqs is None and wanted.until is not None:
            self.restrict(highest=await self._highest_before(wanted.until))
        return seqs


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
