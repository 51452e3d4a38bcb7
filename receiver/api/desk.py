"""What the operations of the API work with: the store, files, threads, and how many may do what at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from receiver.answers import RawHeaders, Receive
from receiver.api import questions
from receiver.api.contents import Contents
from receiver.api.cursors import Cursors
from receiver.api.tail import Tail
from receiver.errors import NotFound, StoreError, Unavailable
from receiver.record import First
from receiver.store.base import Store
from receiver.store.values import EventFilter

T = TypeVar("T")
_THREADS = 4
_MOST_DOWNLOADS = 64
_MOST_STREAMS = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of somebody who may ask, understood."""

    question: Any
    id: str
    """The part of the path that names an event; empty where the path has none."""
    headers: RawHeaders
    receive: Receive
    peer: str


class Desk:
    """What the operations work with; the loop of the endpoint is theirs, too."""

    def __init__(
        self,
        *,
        store: Store,
        contents: Contents,
        cursors: Cursors,
        revealed: Callable[[str, str, str], None],
        loop: asyncio.AbstractEventLoop,
        replays: Runner,
        now_ms: Callable[[], int] = questions.utc_now_ms,
    ) -> None:
        """`revealed` is told of each original that is given away: what it is, of which event, to whom."""
        self.store = store
        self.replays = replays
        self.contents = contents
        self.cursors = cursors
        self.revealed = revealed
        self.now_ms = now_ms
        self.executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="api")
        self.tail = Tail(store, cursors)
        self.downloads = Places(_MOST_DOWNLOADS)
        self.streams = Places(_MOST_STREAMS)
        self._loop = loop
        self.ending: asyncio.Future[None] = loop.create_future()

    def end_streams(self) -> None:
        """End those that go on; others may begin."""
        ending, self.ending = self.ending, self._loop.create_future()
        ending.set_result(None)

    def wanted(self, filters: questions.Filters) -> EventFilter:
        """The filter that the store understands."""
        return filters.wanted(now_ms=self.now_ms())

    async def in_thread(self, action: Callable[[], T]) -> T:
        """Do what blocks."""
        return await asyncio.get_running_loop().run_in_executor(self.executor, action)


class Runner:
    """Runs one replay at a time, beside everything else."""

    def __init__(self, firsts: Callable[[], Sequence[First]]) -> None:
        """`firsts` names the receiver's own jobs before all handlers."""
        self.firsts = firsts
        self._stop = asyncio.Event()
        self._is_claimed = False
        self._running: asyncio.Task[Any] | None = None

    def claim(self) -> bool:
        """Keep others from beginning one, if nobody else has; to be followed by `run` or `let_go`."""
        is_running = self._running is not None and not self._running.done()
        if self._is_claimed or is_running:
            return False
        self._is_claimed = True
        return True

    def let_go(self) -> None:
        """Begin none after all."""
        self._is_claimed = False

    def run(self, replaying: Callable[[asyncio.Event], Any]) -> None:
        """Begin the one that was claimed; its record says how it ended."""
        self._is_claimed = False
        self._running = asyncio.create_task(self._quietly(replaying), name="replay")

    async def _quietly(self, replaying: Callable[[asyncio.Event], Any]) -> None:
        try:
            await replaying(self._stop)
        except (Unavailable, StoreError, NotFound):
            return  # it stays open on record, with how far it came

    async def stop(self) -> None:
        """End the one that runs after its batch, and wait for that."""
        self._stop.set()
        if self._running is not None:
            await asyncio.wait([self._running], timeout=2.0)


class Places:
    """How many may do something at the same time."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self) -> bool:
        """Take a place; False when there is none."""
        if not self._left:
            return False
        self._left -= 1
        return True

    def give_back(self) -> None:
        """Let somebody else have it."""
        self._left += 1
