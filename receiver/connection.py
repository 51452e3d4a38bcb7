"""One connection, with or without TLS, that hands over whatever has arrived, up to a mebibyte at once.

httpcore's own stream takes at most 64 KiB at a time, through two queues and five copies: downloads
took four times as long. It decides nothing: whom to connect to is the caller's to say.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpcore

_BUFFER_BYTES = 1 << 20


async def connect(address: str, port: int, timeout: float | None) -> Connection:
    """Connect to an address. Raise httpcore.ConnectTimeout or httpcore.ConnectError."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            _, connection = await loop.create_connection(Connection, address, port)
    except TimeoutError:
        raise httpcore.ConnectTimeout from None
    except OSError as error:
        raise httpcore.ConnectError from error
    return connection


class Connection(asyncio.BufferedProtocol, httpcore.AsyncNetworkStream):
    """The protocol of a transport and the stream that httpcore reads, in one."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._filled = 0
        self._held = b""
        self._is_paused = False
        self._has_ended = False
        self._error: BaseException | None = None
        self._can_write = True
        self._waiting: set[asyncio.Future[None]] = set()

    # What httpcore calls.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Wait until something has arrived and return all of it; b"" at the end."""
        while not (self._filled or self._held or self._has_ended):
            async with _within(timeout, httpcore.ReadTimeout):
                await self._change()
        data, self._held = self._held + self._buffer[: self._filled], b""
        self._filled = 0
        if not data and self._error is not None:
            raise httpcore.ReadError from self._error
        if self._is_paused and not self._has_ended:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes, and wait until the other side takes them."""
        if buffer and not self._has_ended:
            self._transport.write(buffer)
        while not (self._can_write or self._has_ended):
            async with _within(timeout, httpcore.WriteTimeout):
                await self._change()
        if self._has_ended:
            raise httpcore.WriteError from self._error

    async def aclose(self) -> None:
        """Close it at once; nobody is waited for."""
        self._transport.abort()
        await asyncio.sleep(0)  # closing the socket takes a round of the loop

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Agree on TLS with the other side, which has to prove its name."""
        loop = asyncio.get_running_loop()
        try:
            async with _within(timeout, httpcore.ConnectTimeout):
                transport = await loop.start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except OSError as error:
            raise httpcore.ConnectError from error
        if transport is None:
            raise httpcore.ConnectError
        self._transport = transport
        return self

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks of an idle connection and of TLS."""
        if info == "is_readable":
            return bool(self._filled or self._held or self._has_ended or self._is_readable())
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names.get(info, info))

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        if self._filled == _BUFFER_BYTES:  # asked although it was told to pause
            self._held += self._buffer
            self._filled = 0
        return self._buffer[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have arrived."""
        self._filled += nbytes
        if self._filled == _BUFFER_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The other side sends nothing more; the transport closes itself."""
        self._has_ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, or broken."""
        self._has_ended = True
        self._error = exc
        self._wake()

    def pause_writing(self) -> None:
        """The other side takes less than is sent."""
        self._can_write = False

    def resume_writing(self) -> None:
        """It has caught up."""
        self._can_write = True
        self._wake()

    async def _change(self) -> None:
        changed = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        try:
            await changed
        finally:
            self._waiting.discard(changed)

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def _is_readable(self) -> bool:
        """Whether something has arrived, an end for example, that the loop has not seen yet."""
        descriptor = self._transport.get_extra_info("socket").fileno()
        if descriptor < 0:
            return True
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))


@asynccontextmanager
async def _within(seconds: float | None, error: type[Exception]) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise error from None
