"""Replays as verbs of the store: choosing events, saying what would run, making jobs, a record of it all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from receiver.record import Wish
from receiver.store.values import EventFilter, Row

KEPT = 1000
"""So many replays are remembered."""
MOST_EVENTS = 500
"""As many events as a batch should have: the store does nothing else meanwhile."""


class Begun(NamedTuple):
    """A replay that begins."""

    id: str
    made_by: str
    """Who asked for it, for people."""
    wanted: str
    """Which events and handlers, as a JSON object."""
    target: str | None
    """Where their bodies are posted; None when handlers run."""
    selected: int
    """How many events are to come."""
    at: int
    """Unix milliseconds."""


Place = tuple[int, int]
"""Where a replay stands: the events and the jobs that are counted. No step of one leaves both as they are."""


class Made(NamedTuple):
    """What one batch has made."""

    events: int
    """Those that got jobs."""
    jobs: int


class Replays(Protocol):
    """What `receiver replay` does in the store."""

    async def select(self, wanted: EventFilter, *, limit: int, before: int | None = None) -> list[int]:
        """The `seq` of events, newest first; `before` is the last one of the page before."""
        ...

    async def find(self, prefixes: Sequence[str]) -> list[int]:
        """The `seq` of each event that is named, once, by its id or the beginning of it. Raise NotFound."""
        ...

    async def plan(self, events: Sequence[int], wish: Wish) -> list[Row]:
        """What `make` would do now with each event.

        `seq, id, source, type, video_id, title, received_at`, and `jobs` and `left` as in `Replanned`.
        """
        ...

    async def sum_up(self, events: Sequence[int], wish: Wish) -> Row:
        """The same, counted: `events` that would get jobs, `jobs` by handler, `left` by reason."""
        ...

    async def begin(self, replay: Begun) -> None:
        """Remember that a replay begins."""
        ...

    async def make(self, replay: str, events: Sequence[int], wish: Wish, *, at: Place | None = None) -> Made:
        """Make the jobs of some events, and count them, in one transaction. At most MOST_EVENTS at once.

        Events that are not there any more are passed over. Raise NotFound for a replay that does not go
        on, or not from the place `at`: whoever had no answer may ask once more, and it is made once.
        """
        ...

    async def count(
        self, replay: str, *, events: int, jobs: int, failed: int, at: Place | None = None
    ) -> None:
        """Note how far a replay has come that makes no jobs: requests count as such."""
        ...

    async def end(self, replay: str, *, is_through: bool) -> None:
        """Note that a replay is over; what is over already stays as it is."""
        ...

    async def last(self, *, prefix: str = "", limit: int = 20) -> list[Row]:
        """The last replays, newest first; those whose id begins with `prefix`.

        `id, made_by, wanted, target, status (open, finished, stopped), began_at, last_at, ended_at,
        selected, events, jobs, failed`. With a prefix also `states`: how many of its jobs are in each.
        """
        ...


Ask = Callable[[str, Any], Awaitable[Any]]
"""Send a request to the store's process: a verb and its arguments."""


class RemoteReplays:
    """The verbs from another process."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def select(self, wanted: EventFilter, *, limit: int, before: int | None = None) -> list[int]:
        """See `Replays`."""
        seqs: list[int] = await self._ask("replays.select", [tuple(wanted), limit, before])
        return seqs

    async def find(self, prefixes: Sequence[str]) -> list[int]:
        """See `Replays`."""
        seqs: list[int] = await self._ask("replays.find", list(prefixes))
        return seqs

    async def plan(self, events: Sequence[int], wish: Wish) -> list[Row]:
        """See `Replays`."""
        rows: list[Row] = await self._ask("replays.plan", [list(events), tuple(wish)])
        return rows

    async def sum_up(self, events: Sequence[int], wish: Wish) -> Row:
        """See `Replays`."""
        row: Row = await self._ask("replays.sum_up", [list(events), tuple(wish)])
        return row

    async def begin(self, replay: Begun) -> None:
        """See `Replays`."""
        await self._ask("replays.begin", tuple(replay))

    async def make(self, replay: str, events: Sequence[int], wish: Wish, *, at: Place | None = None) -> Made:
        """See `Replays`."""
        return Made(*await self._ask("replays.make", [replay, list(events), tuple(wish), at]))

    async def count(
        self, replay: str, *, events: int, jobs: int, failed: int, at: Place | None = None
    ) -> None:
        """See `Replays`."""
        await self._ask("replays.count", [replay, events, jobs, failed, at])

    async def end(self, replay: str, *, is_through: bool) -> None:
        """See `Replays`."""
        await self._ask("replays.end", [replay, is_through])

    async def last(self, *, prefix: str = "", limit: int = 20) -> list[Row]:
        """See `Replays`."""
        rows: list[Row] = await self._ask("replays.last", [prefix, limit])
        return rows


async def _make(
    replays: Replays, replay: str, events: Sequence[int], wish: Any, at: Place | None
) -> tuple[int, int]:
    made = await replays.make(replay, events, Wish(*wish), at=at)
    return made.events, made.jobs


VERBS: Mapping[str, Callable[[Replays, Any], Awaitable[Any]]] = {
    "replays.select": lambda replays, a: replays.select(EventFilter(*a[0]), limit=a[1], before=a[2]),
    "replays.find": lambda replays, a: replays.find(a),
    "replays.plan": lambda replays, a: replays.plan(a[0], Wish(*a[1])),
    "replays.sum_up": lambda replays, a: replays.sum_up(a[0], Wish(*a[1])),
    "replays.begin": lambda replays, a: replays.begin(Begun(*a)),
    "replays.make": lambda replays, a: _make(replays, *a),
    "replays.count": lambda replays, a: replays.count(a[0], events=a[1], jobs=a[2], failed=a[3], at=a[4]),
    "replays.end": lambda replays, a: replays.end(a[0], is_through=a[1]),
    "replays.last": lambda replays, a: replays.last(prefix=a[0], limit=a[1]),
}
