"""From an order to a video that is waited for: the intent first, then the paid request, then what came of it.

The store is opened for each step, as the request may take minutes, and nobody shall wait for it meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from receiver import egress, ids
from receiver.asking import Told
from receiver.errors import (
    CommandFailed,
    Hopeless,
    StoreError,
    Unavailable,
    Unfinished,
    Unreachable,
    Unreadable,
)
from receiver.model import Payload
from receiver.orders import Order
from receiver.orders.replies import Reply, declined, taken
from receiver.sources.base import ApiRequest, Source
from receiver.store.base import Store
from receiver.store.submissions import Intent, Submission
from receiver.watching import Patience, new_watch

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]
Send = Callable[[ApiRequest], Awaitable[Told]]
_TRIES_TO_NOTE = 20


class Asked(NamedTuple):
    """What came of a submission."""

    submission: str
    reply: Reply
    payload: Payload
    """What the provider answered, when it accepted."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where orders for one source are handed in."""

    source: Source
    key: str = field(repr=False)
    """The key of its API, of which nothing is ever kept."""
    patience: Patience
    """How long is waited before the provider is asked."""
    open_store: OpenStore
    send: Send
    """Sends one request, once."""
    random: Callable[[int], bytes]
    clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    """Unix milliseconds."""
    pause_seconds: float = 1.0
    """Between tries to note what came of an order, while the store is away."""

    async def hand_in(self, order: Order, request: ApiRequest, *, again: bool = False) -> Asked | Submission:
        """Record the intent, send the request, and record what came of it; an accepted video is watched.

        Unless `again` says that paying twice is meant, the same order is given its earlier submission
        instead, and nothing is sent. Raise Hopeless for a request that can't be sent, StoreError or
        Unavailable when nothing can be recorded, CommandFailed when an accepted video can't be.
        """
        egress.under(request.url, base=request.base)  # before there is an intent
        intent = self._intent(order)
        async with self.open_store() as store:
            earlier = await store.submissions.intend(intent, again=again)
        if earlier is not None:
            return earlier
        try:
            told = await self.send(request)
        except asyncio.CancelledError:
            await self._note(intent.id, Reply("unknown", reason="it was interrupted before the answer came"))
            raise
        except (Unfinished, Hopeless, Unavailable) as error:
            reply, payload = _failed(error), Payload()
        else:
            reply, payload = self._judged(told)
        await self._note(intent.id, reply)
        return Asked(intent.id, reply, payload)

    def _intent(self, order: Order) -> Intent:
        now = self.clock()
        name = ids.submission_id(now, self.random(ids.RANDOM_BYTES))
        shown = orjson.dumps(order.shown(key=self.key)).decode()
        return Intent(name, self.source.name, self.source.kind, order.digest(), shown, now)

    def _judged(self, told: Told) -> tuple[Reply, Payload]:
        if told.body is not None:
            return taken(told.body.payload, key=self.key), told.body.payload
        wait = told.retry_after_seconds
        return declined(told.status, told.complaint, retry_after_seconds=wait, key=self.key), {}

    async def _note(self, submission: str, reply: Reply) -> None:
        """Watch what was accepted, then say what came of it: a crash in between leaves both to be seen."""
        for _ in range(_TRIES_TO_NOTE - 1):
            try:
                return await self._try_to_note(submission, reply)
            except (StoreError, Unavailable):  # a server that is being started again, as a rule
                await asyncio.sleep(self.pause_seconds)
        try:
            return await self._try_to_note(submission, reply)
        except (StoreError, Unavailable) as error:
            raise CommandFailed(_unnoted(self.source.name, submission, reply, error)) from error

    async def _try_to_note(self, submission: str, reply: Reply) -> None:
        now, video_id, reason = self.clock(), reply.video_id, reply.reason or None
        async with self.open_store() as store:
            if video_id is not None:
                await store.watches.add([new_watch(self.source, video_id, self.patience, now=now)])
            await store.submissions.settle(submission, reply.state, at=now, video_id=video_id, error=reason)


def _failed(error: Exception) -> Reply:
    """Nothing was sent, or nobody knows what became of it."""
    is_unsent = isinstance(error, (Hopeless, Unreachable)) and not isinstance(error, Unreadable)
    return Reply("refused" if is_unsent else "unknown", reason=str(error))


def _unnoted(source: str, submission: str, reply: Reply, error: Exception) -> str:
    if reply.video_id is None:
        return f"{reply.reason}; and that can't be recorded for {submission}: {error}"
    return (
        f"video {reply.video_id} was accepted, and that can't be recorded for {submission}: {error}; "
        f"ask about it with `receiver watch {source} {reply.video_id}`"
    )
