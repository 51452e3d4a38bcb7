"""Copies as verbs of the store: what another receiver recorded is taken as it stands, and given away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from receiver.record import Arrival
from receiver.store.values import Row

COPIED, KNOWN, STRAY = "copied", "known", "stray"
"""What becomes of a copy: it is recorded, it is there already, or nobody knows the event that it repeats."""


class KeptVideo(NamedTuple):
    """The file of a linked video that came along; it lies among the body files, durably."""

    sha256: str
    bytes: int


class Finding(NamedTuple):
    """What the provider said of the event there, when it was asked."""

    object: str | None
    """Its own object of the video, as JSON."""
    refuted_at: int | None
    """When it denied what the event says, in unix milliseconds."""


class Copy(NamedTuple):
    """One delivery that was recorded elsewhere; travels as an array, in this order."""

    arrival: Arrival
    """As it was there. Of one that was not accepted the event's own fields don't count, but for its id."""
    verdict: str
    nth: int
    """How many equal deliveries of the event there were so far, with this one."""
    at: int
    """When it is copied, in unix milliseconds."""
    video: KeptVideo | None = None
    finding: Finding | None = None


class Copies(Protocol):
    """What `receiver export`, `import` and `listen` do in the store."""

    async def take(self, copies: Sequence[Copy]) -> list[str]:
        """Record deliveries in their order, in one transaction; say of each COPIED, KNOWN or STRAY.

        An event whose id or key is there already is KNOWN, and gets no jobs. The first delivery of an event
        comes before the others.
        """
        ...

    async def newest(self) -> int:
        """The number of the newest delivery."""
        ...

    async def find(self, ids: Sequence[str]) -> dict[str, int]:
        """The numbers (`seq`) of some events, in their order; without those that are not there."""
        ...

    async def give(
        self,
        events: Sequence[int],
        *,
        after: tuple[int, int] = (-1, 0),
        through: int | None = None,
        limit: int = 200,
    ) -> list[Row]:
        """Deliveries of some events (`seq`) with their bodies, by event, then in their order.

        Without those that came after the one of number `through`.

        Each row is what `copies.line_of` reads, with `place` (which of the events) and `seq` to go on
        `after`, `body_removed_at`, and `video_sha256` and `video_bytes` of the kept video.
        """
        ...

    async def carried(self, event: int, sha256: str) -> Row | None:
        """The `body_sha256` and `body_removed_at` of a delivery that came with that body file, if one did."""
        ...

    async def bookmark(self, name: str) -> str | None:
        """The place that was remembered last under a name."""
        ...

    async def set_bookmark(self, name: str, place: str) -> None:
        """Remember a place, durably."""
        ...


class RemoteCopies:
    """The verbs from another process."""

    def __init__(self, ask: Callable[[str, Any], Awaitable[Any]]) -> None:
        self._ask = ask

    async def take(self, copies: Sequence[Copy]) -> list[str]:
        """See `Copies`."""
        taken: list[str] = await self._ask("copies.take", [_plain(copy) for copy in copies])
        return taken

    async def newest(self) -> int:
        """See `Copies`."""
        return int(await self._ask("copies.newest", None))

    async def find(self, ids: Sequence[str]) -> dict[str, int]:
        """See `Copies`."""
        seqs: dict[str, int] = await self._ask("copies.find", list(ids))
        return seqs

    async def give(
        self,
        events: Sequence[int],
        *,
        after: tuple[int, int] = (-1, 0),
        through: int | None = None,
        limit: int = 200,
    ) -> list[Row]:
        """See `Copies`."""
        rows: list[Row] = await self._ask("copies.give", [list(events), after, through, limit])
        return rows

    async def carried(self, event: int, sha256: str) -> Row | None:
        """See `Copies`."""
        row: Row | None = await self._ask("copies.carried", [event, sha256])
        return row

    async def bookmark(self, name: str) -> str | None:
        """See `Copies`."""
        place: str | None = await self._ask("copies.bookmark", name)
        return place

    async def set_bookmark(self, name: str, place: str) -> None:
        """See `Copies`."""
        await self._ask("copies.set_bookmark", [name, place])


def _plain(copy: Copy) -> list[Any]:
    """As arrays all through, which JSON can carry."""
    parts = (copy.video, copy.finding)
    return [tuple(copy.arrival), *copy[1:4], *(None if part is None else tuple(part) for part in parts)]


def _copy(row: Sequence[Any]) -> Copy:
    arrival, verdict, nth, at, video, finding = row
    kept = None if video is None else KeptVideo(*video)
    return Copy(Arrival(*arrival), verdict, nth, at, kept, None if finding is None else Finding(*finding))


VERBS: Mapping[str, Callable[[Copies, Any], Awaitable[Any]]] = {
    "copies.take": lambda copies, rows: copies.take([_copy(row) for row in rows]),
    "copies.bookmark": lambda copies, name: copies.bookmark(name),
    "copies.set_bookmark": lambda copies, a: copies.set_bookmark(*a),
    "copies.find": lambda copies, ids: copies.find(ids),
    "copies.newest": lambda copies, a: copies.newest(),
    "copies.give": lambda copies, a: copies.give(a[0], after=tuple(a[1]), through=a[2], limit=a[3]),
    "copies.carried": lambda copies, a: copies.carried(*a),
}
