"""Be a nuisance: silent connections, and requests that are none, at a fixed rate, until standard input ends.

Arguments: port, silent connections, bad requests a second. Says "ready", and at the end as JSON what it got.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import count

import uvloop

from tests.bench import callbacks

_ADDRESSES = [f"127.0.0.{number}" for number in range(2, 10)]
_TICK_SECONDS = 0.005
_PATIENCE_SECONDS = 5.0


def _request(body: bytes, **changes: str) -> bytes:
    head = callbacks.head(len(body), callbacks.video_id("0" * 18, 0)).decode()
    for name, value in changes.items():
        head = head.replace(name, value)
    return head.encode() + body


_BAD = {
    "wrong key": _request(b"{}", **{callbacks.KEY: "key_of_somebody_else_0123"}),
    "no such path": _request(b"{}", **{callbacks.PATH: "/webhooks/elsewhere"}),
    "no JSON": _request(b"<html>"),
    "no HTTP": b"GET / HTTP/9.9\r\n\r\n",
}


class _Bad(asyncio.Protocol):
    """One bad request on a connection of its own."""

    def __init__(self, request: bytes, statuses: Counter[str]) -> None:
        self._request, self._statuses = request, statuses
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer = self._answer or data
        if data.endswith(b"}"):
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._statuses[self._answer[9:12].decode() or "none"] += 1


class _Silent(asyncio.Protocol):
    """A connection on which nothing is said; when it is closed, another one takes its place."""

    def __init__(self, closed: Callable[[], None]) -> None:
        self._closed = closed

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed()


class Attack:
    """All of it, on one loop."""

    def __init__(self, port: int, *, silent: int, rate: float) -> None:
        self._port, self._silent, self._rate = port, silent, rate
        self._numbers = count()
        self._is_over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._statuses: Counter[str] = Counter()
        self._replaced = 0

    async def run(self) -> None:
        """Attack until standard input ends."""
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self._is_over.set)
        await asyncio.gather(*(self._be_silent() for _ in range(self._silent)))
        print("ready", flush=True)
        begin = loop.time()
        sent = 0
        while not self._is_over.is_set():
            await asyncio.sleep(_TICK_SECONDS)
            due = int((loop.time() - begin) * self._rate)
            for _ in range(due - sent):
                self._start(self._send_bad())
            sent = due
        took = loop.time() - begin
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PATIENCE_SECONDS)
        answered = sum(self._statuses.values())
        report = {"statuses": self._statuses, "per_second": answered / took, "replaced": self._replaced}
        print(json.dumps(report), flush=True)

    def _start(self, action: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(action)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_bad(self) -> None:
        number = next(self._numbers)
        request = list(_BAD.values())[number % len(_BAD)]
        await self._connect(lambda: _Bad(request, self._statuses), number)

    async def _be_silent(self) -> None:
        def closed() -> None:
            self._replaced += 1
            if not self._is_over.is_set():
                self._start(self._be_silent())

        await self._connect(lambda: _Silent(closed), next(self._numbers))

    async def _connect(self, protocol: Callable[[], asyncio.Protocol], number: int) -> None:
        address = (_ADDRESSES[number % len(_ADDRESSES)], 0)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(protocol, "127.0.0.1", self._port, local_addr=address)
        except OSError as error:
            self._statuses[type(error).__name__] += 1


def main(port: str, silent: str, rate: str) -> None:
    """Attack a port of loopback."""

    async def attack() -> None:
        await Attack(int(port), silent=int(silent), rate=float(rate)).run()

    uvloop.run(attack())


if __name__ == "__main__":
    main(*sys.argv[1:])
