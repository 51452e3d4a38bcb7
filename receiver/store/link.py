"""One connection to the store's socket: requests go out, answers come back in any order."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

from receiver.errors import StoreDown
from receiver.store import wire


class Link(asyncio.Protocol):
    """One connection, and the requests that wait for their answers on it."""

    def __init__(self) -> None:
        self._frames = wire.Frames()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._transport: asyncio.WriteTransport | None = None

    @property
    def is_open(self) -> bool:
        """Whether requests may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(StoreDown("the store went away before it answered"))

    def data_received(self, data: bytes) -> None:
        for number, result, error in self._frames.feed(data):
            future = self._waiting.pop(number, None)
            if future is None or future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(wire.ERRORS[error[0]](error[1]))

    def request(self, verb: str, arguments: Any) -> asyncio.Future[Any]:
        """Send a request; the future has its answer. Raise StoreDown."""
        if self._transport is None or self._transport.is_closing():
            raise StoreDown("the store can't be reached")
        number = next(self._numbers)
        frame = wire.pack([number, verb, arguments])
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._transport.write(frame)
        return future

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()
