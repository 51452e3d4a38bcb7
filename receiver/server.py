"""uvicorn with our limits: what its HTTP parser and protocol leave open is closed here.

The parser is httptools, the protocol a subclass of uvicorn's; both are pinned to the minor version
that this was measured with. Closed here: no limit on the size or number of headers, HTTP/1.1 without (or
with several) Host headers, no deadline for headers or on silent connections, an early answer that a reset
wipes out before the sender has read it, and answers that are no JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from receiver import logs
from receiver.answers import OUT_OF_ORDER, Receive, Scope, Send

HEADERS_SECONDS = 10.0
IDLE_SECONDS = 30.0
LARGEST_HEAD = 32 * 1024
MOST_HEADERS = 100
LINGER_BYTES = 64 * 1024
LINGER_SECONDS = 1.0
_TICKS_BETWEEN_LOOKS = 10
_BAD_REQUEST_BODY = b'{"status":"error","error":"this is not a valid HTTP/1.1 request"}'
_BAD_REQUEST = b"\r\n".join(
    (
        b"HTTP/1.1 400 Bad Request",
        b"content-type: application/json",
        b"content-length: %d" % len(_BAD_REQUEST_BODY),
        b"connection: close",
        b"",
        _BAD_REQUEST_BODY,
    )
)

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _ResponseTransport:
    """What a response is written to: head and body leave together, and closing early half-closes.

    Closing a socket with unread input makes the kernel send a reset, and a reset discards the
    answer that the sender has not read yet. So: end our side, read on for a little, then close.
    """

    def __init__(self, protocol: Protocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
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
        self._protocol.linger()


class Protocol(HttpToolsProtocol):
    """One connection."""

    transport: asyncio.Transport
    _answering: _ResponseTransport
    _discarded = -1
    """Bytes thrown away since the early answer; -1 while there was none."""
    _head_bytes = 0
    _is_in_head = True
    _head_since: float

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._answering = _ResponseTransport(self, self.transport)
        self._head_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        if self._discarded >= 0:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.transport.abort()
            return
        if self._is_in_head:
            if not self._head_bytes:
                self._head_since = self.loop.time()
            self._head_bytes += len(data)
        self._parse(data)
        if self._is_in_head and self._head_bytes > LARGEST_HEAD:
            self.send_400_response("")

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")

    def _decline(self, rest: bytes) -> None:
        """Go on as if no other protocol had been offered (RFC 9110, 7.8); the parser would drop the body."""
        kept = [
            line for line in self.headers if line[0] not in (b"connection", b"upgrade", b"http2-settings")
        ]
        start = (b"%b %b HTTP/1.1" % (self.parser.get_method(), self.url), b"connection: close")
        lines = [*start, *(b"%b: %b" % line for line in kept), b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._parse(b"\r\n".join(lines) + rest)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # what comes behind the body was not there when the headers were judged
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # to `_decline`
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        # What is raised here httptools turns into an error of its own, and that becomes a 400.
        if len(names) > MOST_HEADERS or hosts > 1:
            raise ValueError("headers that no honest sender sends")
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise ValueError("another version of HTTP")
        if not hosts and version == "1.1":
            raise ValueError("HTTP/1.1 without a Host header (RFC 9112, 3.2)")
        if b"transfer-encoding" in names and not self._is_chunked(version):
            raise ValueError("a transfer coding that is not ours to undo (RFC 9112, 6.1)")
        if self._head_bytes > LARGEST_HEAD and self._size_of_head() > LARGEST_HEAD:
            raise ValueError("a head over its limit")
        self._is_in_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def _is_chunked(self, version: str) -> bool:
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        return codings == [b"chunked"] and version == "1.1"

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._is_in_head = True
        self._head_since = self.loop.time()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._discarded >= 0 or self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if self._is_in_head or self.pipeline or cycle.response_started:
                self.transport.abort()  # an earlier request would take this for its answer
                return
            cycle.disconnected = True  # its own body is malformed
            cycle.message_event.set()
        self.transport.write(_BAD_REQUEST)
        self.linger()

    def eof_received(self) -> bool:  # type: ignore[override]
        """A sender that half-closes after its request still gets the answer."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = self._answering  # type: ignore[assignment]
        cycle.send_500_response = partial(_failed, cycle)  # type: ignore[method-assign]
        cycle.send = partial(self._send, cycle)  # type: ignore[method-assign]
        super()._start_asgi_task(cycle, app)

    async def _send(self, cycle: RequestResponseCycle, message: Any) -> None:
        """Send a response that is ready to be written as it is; leave the others to uvicorn."""
        ready = message.get("ready")
        if cycle.response_complete:
            return  # it was written with its head
        if ready is None or not cycle.keep_alive or self.flow.write_paused:
            await RequestResponseCycle.send(cycle, message)
        elif not cycle.disconnected:
            cycle.response_started = cycle.response_complete = True
            cycle.waiting_for_100_continue = False
            cycle.message_event.set()
            dates = [
                b"date: %b\r\n" % value
                for name, value in self.server_state.default_headers
                if name == b"date"
            ]
            self.transport.write(b"".join((b"HTTP/1.1 200 OK\r\n", *dates, ready)))
            cycle.on_response()

    def on_response_complete(self) -> None:
        self._answering.flush()
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._discarded >= 0:
            return  # nothing that came after an early answer is looked at
        # Unlike uvicorn's, this sets no timer: `end_if_late` looks after silent connections.
        self._head_since = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def linger(self) -> None:
        """End our side of the connection; close it when the other side has had time to read."""
        if self.transport.is_closing() or self._discarded >= 0:
            return
        if self._is_in_head and not self._head_bytes:
            self.transport.close()  # the request was read to its end
            return
        self._discarded = 0
        with contextlib.suppress(OSError, RuntimeError):
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self._end)

    def _end(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()

    def end_if_late(self, now: float) -> None:
        """Close a connection whose head is overdue, or that was silent for too long."""
        is_between = self.cycle is None or self.cycle.response_complete
        if not (self._is_in_head and is_between) or self._discarded >= 0:
            return
        limit = HEADERS_SECONDS if self._head_bytes or self.cycle is None else IDLE_SECONDS
        if now - self._head_since > limit:
            self.transport.close()


async def _failed(cycle: RequestResponseCycle) -> None:
    """Answer a request that met a mistake of ours (the exception being handled), and say so in the log."""
    error = sys.exc_info()[1]
    if isinstance(error, Exception):
        logs.get().error("server.failed", reason=type(error).__name__, exc_info=error)
    await OUT_OF_ORDER.send(cycle.send)  # type: ignore[arg-type]


class Server(uvicorn.Server):
    """uvicorn's server, told to stop by us instead of by its own signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        """Set when connections are accepted."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the composition root."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Once a second, look for connections that are overdue."""
        if counter % _TICKS_BETWEEN_LOOKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.end_if_late(now)
        return await super().on_tick(counter)

    def stop(self) -> None:
        """Stop accepting, finish what is under way, end `serve`."""
        self.should_exit = True


def create(app: App, *, stop_seconds: int) -> Server:
    """A server for one ASGI app; `serve(sockets=[…])` runs it until `stop`."""
    for name in ("uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(IDLE_SECONDS),
        timeout_graceful_shutdown=stop_seconds,
        backlog=2048,
    )
    return Server(config)


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raise OSError with the system's reason."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
