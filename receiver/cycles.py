"""What a connection does for one request: an ASGI cycle of uvicorn's, or a callback taken as a whole."""

from __future__ import annotations

import asyncio
import sys
from typing import Protocol, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from receiver import logs
from receiver.answers import OUT_OF_ORDER, Answer, Send


class Connection(Protocol):
    """What is needed of the connection."""

    transport: asyncio.Transport

    def answer(self, answer: Answer, *, closes: bool) -> None:
        """Send a whole response."""
        ...

    def linger(self) -> None:
        """End our side of the connection; close it when the other side has had time to read."""
        ...


class ResponseTransport:
    """What a response is written to: head and body leave together, and closing early half-closes.

    Closing a socket with unread input makes the kernel send a reset, and a reset discards the
    answer that the sender has not read yet. So: end our side, read on for a little, then close.
    """

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        self._connection = connection
        self._write = transport.write
        self._head = b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Keep a final response's head until its body, or its end, comes."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
            return
        self._write(data)

    def flush(self) -> None:
        """Send a head that has no body."""
        if self._head:
            self._write(self._head)
            self._head = b""

    def close(self) -> None:
        """End the response, and with it the connection."""
        self.flush()
        self._connection.linger()


class Cycle(RequestResponseCycle):
    """One request and its response."""

    transport: ResponseTransport  # type: ignore[assignment]

    async def send_500_response(self) -> None:
        """Answer a request that met a mistake of ours (the exception being handled), and log it."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception):
            logs.get().error("server.failed", reason=type(error).__name__, exc_info=error)
        await OUT_OF_ORDER.send(cast(Send, self.send))


class _Nobody:
    """Who is told that something came for a request that waits for nothing."""

    def set(self) -> None:
        """Nobody listens."""


class Taken:
    """A request that the application took as a whole: what the server asks of a request under way."""

    __slots__ = ("_connection", "disconnected", "keep_alive", "response_complete")

    more_body = False
    response_started = False
    message_event = _Nobody()

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.disconnected = self.response_complete = False
        self.keep_alive = True

    def answer(self, answer: Answer) -> None:
        """Send the answer, if there still is somebody to read it."""
        self.response_complete = True
        if not self.disconnected and not self._connection.transport.is_closing():
            self._connection.answer(answer, closes=answer.closes or not self.keep_alive)
