"""The chunks of a body as an ASGI server hands them over: their sum, and how long they let us wait."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from receiver.errors import Disconnected, TooLarge, TooSlow

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]


class Arrivals:
    """The chunks of one body.

    `limit` is in bytes, `idle` and `grace` in seconds, `rate` in bytes a second; only time that was spent
    waiting for the sender counts.
    """

    def __init__(self, receive: Receive, limit: int, idle: float, rate: float, grace: float) -> None:
        self._receive, self._limit = receive, limit
        self._idle, self._rate, self._grace = idle, rate, grace
        self._silent = 0.0
        self._waited = 0.0
        self._timer: asyncio.Timeout | None = None
        self._is_interrupted = False
        self.size = 0
        self.is_complete = False

    async def next(self) -> bytes:
        """Wait for the next chunk. Raise TooSlow, TooLarge and Disconnected."""
        return await self.take(at_once(self._receive()))

    async def take(self, message: Message | Awaitable[Message]) -> bytes:
        """Do the same with a message that is there, or is being waited for, already."""
        if not isinstance(message, dict):
            message = await self._wait(message)
        if message["type"] == "http.disconnect":
            raise Disconnected("the sender closed the connection before the body was complete")
        chunk: bytes = message.get("body", b"")
        self.size += len(chunk)
        self.is_complete = not message.get("more_body", False)
        if self.size > self._limit:
            raise TooLarge(f"the body has more than {self._limit} bytes")
        if chunk:
            self._silent = 0.0
        if not self.is_complete and self._waited > self._grace and self.size < self._rate * self._waited:
            raise TooSlow(f"the body arrived at less than {self._rate:g} bytes a second")
        return chunk

    def interrupt(self) -> None:
        """Let the chunk that is being waited for be an empty one, now, and so all that follow."""
        self._is_interrupted = True
        if self._timer is not None:
            self._timer.reschedule(asyncio.get_running_loop().time())

    async def _wait(self, pending: Awaitable[Message]) -> Message:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        left = 0 if self._is_interrupted else self._idle - self._silent
        try:
            async with asyncio.timeout(left) as self._timer:
                message = await pending
        except TimeoutError as error:
            if self._is_interrupted:
                return {"type": "http.request", "more_body": True}
            raise TooSlow(f"no byte of the body arrived for {self._idle:g} seconds") from error
        finally:
            self._timer = None
        waited = loop.time() - begin
        self._waited += waited
        self._silent += waited
        return message


def at_once(pending: Awaitable[Message]) -> Message | Awaitable[Message]:
    """Run `receive` up to its first pause, and return the message when there was none.

    A timer costs more than everything else that is done for a small body; this tells if one is needed.
    """
    if not isinstance(pending, types.CoroutineType):
        return pending
    try:
        pause = pending.send(None)
    except StopIteration as result:
        message: Message = result.value
        return message
    return _Paused(pending, pause)


class _Paused:
    """A coroutine that stands at its first pause; awaiting it goes on from there."""

    def __init__(self, coroutine: types.CoroutineType[Any, Any, Message], pause: Any) -> None:
        self._coroutine = coroutine
        self._pauses = [pause]

    def __await__(self) -> Generator[Any, Any, Message]:
        message: Message = yield from self
        return message

    def __iter__(self) -> _Paused:
        return self

    def __next__(self) -> Any:
        return self._pauses.pop() if self._pauses else self._coroutine.send(None)

    def throw(self, error: BaseException) -> Any:
        self._pauses.clear()
        return self._coroutine.throw(error)

    def close(self) -> None:
        self._coroutine.close()
