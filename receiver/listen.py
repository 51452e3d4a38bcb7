"""Following another receiver: its events are recorded here, each once, and the place is kept behind them.

An event is fetched with all its deliveries, checked, and recorded; only then does the bookmark move past
it, and only when everything before it is recorded, too. So whatever ends this, the next start goes on
where it stood and meets some events again, which are known by then.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from receiver.copying import Copier
from receiver.errors import BadCopy, CommandFailed, NotFound, StoreError, Unavailable, Unfinished, Unstorable
from receiver.feed import Feed, Wanted
from receiver.model import INLINE_BODY_LIMIT
from receiver.places import Place, Places
from receiver.ration import Ration
from receiver.sse import Message
from receiver.store.base import Store

_AT_ONCE = 4
_TOGETHER = 50
"""Small events that are asked for with one request."""
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
Outcome = Literal["copied", "known", "missed"]


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
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _UnderWay:
    event: Mapping[str, Any]
    place: Place


class Listener:
    """Follows one receiver until it is cancelled; `move_bookmark` then says how far it came."""

    def __init__(
        self,
        feed: Feed,
        wanted: Wanted,
        *,
        copier: Copier,
        store: Store,
        log: Any,
        told: Callable[[Heard], None] = lambda heard: None,
        pause: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """`told` hears of every event; `pause` waits so many seconds."""
        self._feed = feed
        self._copier = copier
        self._wanted = wanted
        self._store = store
        self._log = log
        self._told = told
        self._pause = pause
        self._small: asyncio.Queue[_UnderWay] = asyncio.Queue(_WAITING)
        self._large: asyncio.Queue[_UnderWay] = asyncio.Queue(_WAITING)
        self._places = Places()
        self._has_moved = asyncio.Event()
        self._is_connected = False
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
                    group.create_task(self._work(self._small, most=_TOGETHER))
                    group.create_task(self._work(self._large, most=1))
        except ExceptionGroup as failures:  # what `except*` raises is a group again before Python 3.11.4
            ends, others = failures.split((CommandFailed, OSError))  # the second is of whoever is told
            if ends is None or others is not None:
                raise
            end: Exception = ends
            while isinstance(end, ExceptionGroup):
                end = end.exceptions[0]
            raise end from None

    # Reading the stream.

    async def _read_on(self) -> None:
        name = self._wanted.bookmark
        if self._wanted.since is None:
            self._read = await self._persistently(lambda: self._store.copies.bookmark(name))
        failures = 0
        while True:
            self._is_connected = False
            try:
                async for message in self._messages():
                    await self._hear(message)
                    if not self._is_connected:
                        await self.move_bookmark()
                        self._connect()
            except Unfinished as error:
                failures = 1 if self._is_connected else failures + 1
                wait = max(_wait(failures), error.retry_after_seconds or 0.0)
                fields = {"origin": self._wanted.origin, "reason": str(error), "seconds": round(wait, 1)}
                self._log.warning("listener.disconnected", **fields)
                await self._pause(wait)

    async def _messages(self) -> AsyncIterator[Message]:
        since = self._wanted.since if self._read is None else None
        parameters = {**self._wanted.filters, **({"since": since} if since else {})}
        messages = self._feed.messages(after=self._read, parameters=parameters, begun=self._begin)
        async with aclosing(messages):
            async for message in messages:
                yield message

    def _begin(self) -> None:
        # Without a place of its own it begins with now, which the first message tells.
        if self._read is not None or self._wanted.since is not None:
            self._connect()

    def _connect(self) -> None:
        self._is_connected = True
        self._log.info("listener.connected", origin=self._wanted.origin)

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
            await self._put(_object(message.data), place)

    async def _put(self, event: Mapping[str, Any], place: Place) -> None:
        if not _ID.fullmatch(str(event.get("id"))):
            raise CommandFailed(_STRANGE)
        # What is large goes alone, so that nothing small waits behind it.
        queue = self._small if _size(event) <= INLINE_BODY_LIMIT else self._large
        await queue.put(_UnderWay(event, place))

    def _miss(self, gap: Mapping[str, Any]) -> None:
        missing = gap.get("missing")
        missing = missing if isinstance(missing, int) and missing > 0 else None
        self.tally.missed += missing or 1
        fields = {"reason": str(gap.get("reason"))[:40], "missing": missing}
        self._log.error("events.missed", origin=self._wanted.origin, **fields)

    # Recording.

    async def _work(self, queue: asyncio.Queue[_UnderWay], *, most: int) -> None:
        """Record what is in a queue, as much of it together as there is."""
        while True:
            together = [await queue.get()]
            while len(together) < most and not queue.empty():
                together.append(queue.get_nowait())
            await self._record({one.event["id"]: one for one in together})
            self._pass(*together)  # one that was told twice, too

    async def _record(self, left: dict[str, _UnderWay]) -> None:
        """Record some events, however long that takes."""
        tries = 0
        while left:
            try:
                async for event, is_new in self._copier.copy([*left]):
                    self._tell(left.pop(event), "copied" if is_new else "known")
                self._give_up([*left.values()], "no event has this id any more")
                return
            except (BadCopy, Unstorable, NotFound) as error:
                tries += 1
                if len(left) > 1:
                    await self._record_each(left)
                    return
                if tries >= _TRIES or isinstance(error, NotFound):
                    self._give_up([*left.values()], str(error))
                    return
            except (Unfinished, Unavailable, StoreError) as error:
                tries += 1
                if tries == _TRIES:
                    for event in left:
                        self._log.warning("copy.delayed", event_id=event, reason=str(error))
            await self._pause(_wait(tries))

    async def _record_each(self, left: Mapping[str, _UnderWay]) -> None:
        """Keep one that is to blame from holding up others."""
        async with asyncio.TaskGroup() as group:
            for event, one in left.items():
                group.create_task(self._record({event: one}))

    def _give_up(self, missed: Sequence[_UnderWay], reason: str) -> None:
        for one in missed:
            fields = {"origin": self._wanted.origin, "event_id": one.event["id"], "reason": reason}
            self._log.error("events.missed", **fields)
            self._tell(one, "missed")

    def _tell(self, one: _UnderWay, outcome: Outcome) -> None:
        event = one.event
        self.tally.copied += outcome == "copied"
        self.tally.known += outcome == "known"
        self.tally.missed += outcome == "missed"
        self._told(Heard(event, outcome))
        if outcome == "copied" and self._ration.allows(outcome):
            self._log.info("event.copied", event_id=event["id"], source=event["source"], type=event["type"])
        self._pass(one)

    def _pass(self, *those: _UnderWay) -> None:
        for one in those:
            one.place.is_done = True
        self._has_moved.set()

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


def _size(event: Mapping[str, Any]) -> float:
    """How much is to be fetched, in bytes, if all deliveries are like the first; infinite when it is odd."""
    size, duplicates = event.get("bytes"), event.get("duplicates")
    return size * (duplicates + 1) if isinstance(size, int) and isinstance(duplicates, int) else math.inf


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
