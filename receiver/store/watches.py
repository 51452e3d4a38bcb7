"""Watches, durable questions of how a video stands: their verbs, their values, and the client of both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from receiver.record import Arrival
from receiver.store.values import Receipt

Ask = Callable[..., Awaitable[Any]]
"""Ask the store's process: a verb, its arguments, and perhaps `seconds` to wait for the answer."""

_ANSWER_SECONDS = 10.0


class Opened(StrEnum):
    """What became of a video that was to be watched."""

    NEW = "new"
    """It is watched from now on."""
    KNOWN = "known"
    """It was watched already: it is asked about no later, and for no shorter, than was wanted now."""
    OVER = "over"
    """Its end is recorded, so there is nothing to ask about."""


class Ending(StrEnum):
    """How a watch ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    """Its deadline passed; `video.failed` with the code `watch_expired` is recorded."""
    STOPPED = "stopped"
    """Somebody did not want to know any more."""


class Outcome(StrEnum):
    """What asking once has brought."""

    PROGRESS = "progress"
    UNKNOWN = "unknown"
    """A status that is not known, which is no end."""
    COMPLETED = "completed"
    FAILED = "failed"
    REFUSED = "refused"
    """An answer that says nothing of the video: a wrong key, no such video, too many requests."""
    UNANSWERED = "unanswered"
    """No answer, or one that speaks of a mistake of the provider's own (5xx)."""


class NewWatch(NamedTuple):
    """A video that is to be watched. Times are unix milliseconds."""

    source: str
    kind: str
    identity: str
    """As in `News.identity`, so that an event ends the watch whichever way it comes."""
    video_id: str
    first_at: int
    """When it is asked about first."""
    deadline_at: int
    """When it is given up."""


class Watch(NamedTuple):
    """A watch as it is stored."""

    seq: int
    source: str
    kind: str
    identity: str
    video_id: str
    opened_at: int
    next_at: int
    """When it is asked next."""
    deadline_at: int
    asked: int
    """How many times it was asked."""
    unanswered: int
    """How many of the last times brought no answer."""
    status: str | None
    """What was seen last, in the provider's own word."""
    progress: float | None
    """Percent."""
    seen_at: int | None
    last_error: str | None
    """What was wrong when it was asked last."""
    event: int | None
    """The number of the event that its progress is recorded with."""
    ended_at: int | None
    ending: str | None
    """See `Ending`."""


class Seen(NamedTuple):
    """What asking once has shown, and when it is to be done again."""

    outcome: str
    """See `Outcome`."""
    at: int
    next_at: int
    status: str | None = None
    progress: float | None = None
    error: str | None = None
    """None clears the last one."""


class Watches(Protocol):
    """What is done with watches; recording an end of a video ends its watch, too."""

    async def add(self, watches: Sequence[NewWatch]) -> list[Opened]:
        """Watch some videos, and say of each what became of it.

        A video that has failed only because its watch expired may be watched again.
        """
        ...

    async def due(
        self, sources: Sequence[str], *, count: int, wait_ms: int, busy: Sequence[int] = ()
    ) -> list[Watch]:
        """Give up to `count` open watches of some sources that are due, the longest waiting first.

        Wait up to `wait_ms` for one. Those that are `busy` (their numbers) are being asked already.
        """
        ...

    async def note(self, watch: int, seen: Seen) -> None:
        """Keep what asking has shown; of a watch that has ended meanwhile nothing changes."""
        ...

    async def end(self, watch: int, ending: str) -> bool:
        """End a watch without an event; False when it had ended already."""
        ...

    async def expire(self, watch: int, arrival: Arrival) -> Receipt | None:
        """Record that a video was given up, and so end its watch; None when that is not open any more."""
        ...

    async def page(self, *, source: str | None = None, ended: bool = False, limit: int = 1000) -> list[Watch]:
        """List open watches, the newest first; with `ended` the others, too."""
        ...

    async def of(self, source: str, video_id: str) -> Watch | None:
        """Find the watch of a video, open or ended."""
        ...


class RemoteWatches:
    """The verbs from another process."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def add(self, watches: Sequence[NewWatch]) -> list[Opened]:
        """See `Watches`."""
        return [Opened(said) for said in await self._ask("watches.add", [tuple(watch) for watch in watches])]

    async def due(
        self, sources: Sequence[str], *, count: int, wait_ms: int, busy: Sequence[int] = ()
    ) -> list[Watch]:
        """See `Watches`."""
        arguments = [list(sources), count, wait_ms, list(busy)]
        patience = _ANSWER_SECONDS + wait_ms / 1000
        return [Watch(*row) for row in await self._ask("watches.due", arguments, seconds=patience)]

    async def note(self, watch: int, seen: Seen) -> None:
        """See `Watches`."""
        await self._ask("watches.note", [watch, tuple(seen)])

    async def end(self, watch: int, ending: str) -> bool:
        """See `Watches`."""
        return bool(await self._ask("watches.end", [watch, ending]))

    async def expire(self, watch: int, arrival: Arrival) -> Receipt | None:
        """See `Watches`."""
        receipt = await self._ask("watches.expire", [watch, tuple(arrival)])
        return None if receipt is None else Receipt(*receipt)

    async def page(self, *, source: str | None = None, ended: bool = False, limit: int = 1000) -> list[Watch]:
        """See `Watches`."""
        return [Watch(*row) for row in await self._ask("watches.page", [source, ended, limit])]

    async def of(self, source: str, video_id: str) -> Watch | None:
        """See `Watches`."""
        row = await self._ask("watches.of", [source, video_id])
        return None if row is None else Watch(*row)
