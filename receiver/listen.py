"""Following another receiver: its events are recorded here, each once, and the place is kept behind them.

An event is fetched with all its deliveries, checked, and recorded; only then does the bookmark move past
it, and only when everything before it is recorded, too. So whatever ends this, the next start goes on
where it stood and meets some events again, which are known by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from receiver.bodies import Bodies
from receiver.copies import CopiedDelivery, copy_of, read_line, take_body
from receiver.errors import BadCopy, CommandFailed, NotFound, StoreError, Unavailable, Unfinished
from receiver.feed import Feed
from receiver.places import Place, Places
from receiver.ration import Ration
from receiver.record import JobRow
from receiver.recording import Plans
from receiver.sources.base import Source
from receiver.sse import Message
from receiver.store.base import Store
from receiver.store.copies import COPIED, Copy

_AT_ONCE = 8
_WAITING = 256
"""Messages that were read ahead of what is fetched."""
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0
_BOOKMARK_SECONDS = 0.2
_TRIES = 3
"""So often is asked for a delivery that does not hold together, before it is given up."""
_MOST_UNDER_WAY = 5000
_STRANGE = "what answers there is no receiver, or one of another version"
_ID = re.compile("evt_[0-9a-z]{1,60}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are followed, and from where on."""

    origin: str
    filters: Mapping[str, str]
    since: str | None = None
    """From this time on, whatever was followed before; None = from the bookmark, or from now on."""

    @property
    def bookmark(self) -> str:
        """The name of the place: another one for each origin and each choice of events."""
        said = orjson.dumps([self.origin, dict(self.filters)], option=orjson.OPT_SORT_KEYS)
        return f"listen:{hashlib.sha256(said).hexdigest()[:32]}"


@dataclass(slots=True)
class Tally:
    """What came of it."""

    copied: int = 0
    known: int = 0
    missed: int = 0
    """Events that are lost to us; of a gap without a number, one."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is told of an event."""

    event: Mapping[str, Any]
    outcome: Literal["copied", "known", "missed"]


class Listener:
    """Follows one receiver until it is cancelled; `move_bookmark` then says how far it came."""

    def __init__(
        self,
        feed: Feed,
        wanted: Wanted,
        *,
        store: Store,
        bodies: Bodies,
        plans: Plans,
        sources: Mapping[str, Source],
        limit: int,
        wall: Callable[[], int],
        log: Any,
        told: Callable[[Heard], None] = lambda heard: None,
        pause: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """`sources` are those that are configured here; `limit` is for bodies, in bytes.

        `told` hears of every event; `pause` waits so many seconds.
        """
        self._feed = feed
        self._wanted = wanted
        self._store = store
        self._bodies = bodies
        self._plans = plans
        self._sources = sources
        self._limit = limit
        self._wall = wall
        self._log = log
        self._told = told
        self._pause = pause
        self._queue: asyncio.Queue[tuple[Message, Place]] = asyncio.Queue(_WAITING)
        self._places = Places()
        self._has_moved = asyncio.Event()
        self._read: str | None = None
        """The id of the last message that was read, which is ahead of the bookmark."""
        self._ration = Ration(lambda untold: log.info("copies.summed", **untold))
        self.tally = Tally()

    async def run(self) -> None:
        """Follow. Raise CommandFailed when the other receiver refuses for good."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_on())
                group.create_task(self._keep_the_place())
                for _ in range(_AT_ONCE):
                    group.create_task(self._work())
        except* CommandFailed as failures:
            raise failures.exceptions[0] from None

    # Reading the stream.

    async def _read_on(self) -> None:
        name = self._wanted.bookmark
        if self._wanted.since is None:
            self._read = await self._persistently(lambda: self._store.copies.bookmark(name))
        failures = 0
        while True:
            try:
                async for message in self._messages():
                    if failures >= 0:
                        self._log.info("listener.connected", origin=self._wanted.origin)
                    failures = -1
                    await self._hear(message)
            except Unfinished as error:
                failures = max(1, failures + 1)
                wait = max(_wait(failures), error.retry_after_seconds or 0.0)
                fields = {"origin": self._wanted.origin, "reason": str(error), "seconds": round(wait, 1)}
                self._log.warning("listener.disconnected", **fields)
                await self._pause(wait)

    async def _messages(self) -> AsyncIterator[Message]:
        since = self._wanted.since if self._read is None else None
        parameters = {**self._wanted.filters, **({"since": since} if since else {})}
        async for message in self._feed.messages(after=self._read, parameters=parameters):
            yield message

    async def _hear(self, message: Message) -> None:
        if message.event == "gap":
            self._miss(_object(message.data))
        while len(self._places) > _MOST_UNDER_WAY:  # the first of them is stuck
            await self._pause(_FIRST_WAIT_SECONDS)
        is_done = not message.data or message.event != "message"
        place = self._places.begin(message.id, is_done=is_done)
        self._read = message.id or self._read
        if is_done:
            self._has_moved.set()
        else:
            await self._queue.put((message, place))

    def _miss(self, gap: Mapping[str, Any]) -> None:
        missing = gap.get("missing")
        self.tally.missed += missing if isinstance(missing, int) else 1
        fields = {"reason": gap.get("reason"), "missing": missing}
        self._log.error("events.missed", origin=self._wanted.origin, **fields)

    # Recording.

    async def _work(self) -> None:
        while True:
            message, place = await self._queue.get()
            event = _object(message.data)
            if not _ID.fullmatch(str(event.get("id"))):
                raise CommandFailed(_STRANGE)
            await self._record(event)
            place.is_done = True
            self._has_moved.set()

    async def _record(self, event: Mapping[str, Any]) -> None:
        """Record one event, however long that takes."""
        tries = 0
        while True:
            try:
                is_new = await self._copy(event)
            except (BadCopy, NotFound) as error:
                tries += 1
                if tries < _TRIES and not isinstance(error, NotFound):
                    await self._pause(_wait(tries))
                    continue
                self.tally.missed += 1
                fields = {"origin": self._wanted.origin, "event_id": event["id"], "reason": str(error)}
                self._log.error("events.missed", **fields)
                self._told(Heard(event, "missed"))
                return
            except (Unfinished, Unavailable, StoreError) as error:
                tries += 1
                if tries == _TRIES:
                    self._log.warning("copy.delayed", event_id=event["id"], reason=str(error))
                await self._pause(_wait(tries))
                continue
            self._tell(event, is_new=is_new)
            return

    def _tell(self, event: Mapping[str, Any], *, is_new: bool) -> None:
        self.tally.copied += is_new
        self.tally.known += not is_new
        outcome: Literal["copied", "known"] = "copied" if is_new else "known"
        self._told(Heard(event, outcome))
        if is_new and self._ration.allows(outcome):
            self._log.info("event.copied", event_id=event["id"], source=event["source"], type=event["type"])

    async def _copy(self, event: Mapping[str, Any]) -> bool:
        """Fetch an event with its deliveries and record it; say whether it was new here."""
        seen: Counter[tuple[Any, ...]] = Counter()
        lines = self._feed.deliveries(event["id"])
        copies = [await self._delivery(event["id"], line, seen) async for line in lines]
        if not copies:
            raise BadCopy("it has no deliveries")
        return (await self._store.copies.take(copies))[0] == COPIED

    async def _delivery(self, event: str, line: bytes, seen: Counter[tuple[Any, ...]]) -> Copy:
        delivery = read_line(line)
        if delivery.event != event:
            raise BadCopy("event: it is another one than was asked for")
        chunks = None if delivery.body is not None else self._feed.body(event, delivery.body_sha256)
        body = await take_body(delivery, chunks, bodies=self._bodies, limit=self._limit)
        alike = (delivery.verdict, delivery.via, delivery.received_at, delivery.headers, delivery.body_sha256)
        seen[alike] += 1
        return copy_of(delivery, body, now=self._wall(), nth=seen[alike], jobs=self._jobs(delivery))

    def _jobs(self, delivery: CopiedDelivery) -> Sequence[JobRow]:
        """The jobs of an event here; with the receiver's own before them, where the source is configured."""
        if delivery.news is None:
            return ()
        source = self._sources.get(delivery.source)
        is_ours = source is not None and source.kind == delivery.kind
        first = source.first_job(delivery.news.type, delivery.via) if source and is_ours else None
        return self._plans.jobs(delivery.source, delivery.news.type, first=first)

    # The place.

    async def _keep_the_place(self) -> None:
        """Move the bookmark behind what is recorded, a few times a second."""
        while True:
            await self._has_moved.wait()
            self._has_moved.clear()
            await self.move_bookmark()
            await asyncio.sleep(_BOOKMARK_SECONDS)

    async def move_bookmark(self) -> None:
        """Remember how far everything is recorded."""
        place = self._places.reached()
        if place:
            await self._persistently(lambda: self._store.copies.set_bookmark(self._wanted.bookmark, place))

    async def _persistently(self, ask: Callable[[], Any]) -> Any:
        failures = 0
        while True:
            try:
                return await ask()
            except (Unavailable, StoreError):
                failures += 1
                await self._pause(_wait(failures))


def _object(data: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise CommandFailed(_STRANGE)
    return found


def _wait(failures: int) -> float:
    """Longer each time, and never the same for many who lost one receiver together."""
    longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** min(failures - 1, 10))
    return random.uniform(longest / 2, longest)  # noqa: S311 - nobody is kept out by it
