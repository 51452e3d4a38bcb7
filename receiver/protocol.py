"""One HTTP connection: uvicorn's protocol over httptools, with what it leaves open closed.

Both are pinned to the minor version that this was measured with. Closed here: no limit on the size or
number of headers, HTTP/1.1 without (or with several) Host headers, trailers that join the headers,
transfer codings that nobody undoes, no deadline for heads or on silent connections, an early answer
that a reset wipes out before the sender has read it, and answers that are no JSON.

A request whose body came along with its head is first offered to the application's `take`, which
needs neither task nor ASGI messages; most callbacks go this way, at half the cost of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from itertools import islice
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from receiver.answers import OUT_OF_ORDER, Answer
from receiver.cycles import Cycle, ResponseTransport, Taken

Take = Callable[[bytes, list[tuple[bytes, bytes]], bytes, Callable[[Answer], None]], bool]
"""Target, headers, body, and what to call with the answer, later. False: it was not taken."""

MOST_CONNECTIONS = 2000
_LOOKED_AT = 100
HEADERS_SECONDS = 10.0
IDLE_SECONDS = 30.0
LARGEST_HEAD = 32 * 1024
MOST_HEADERS = 100
LINGER_BYTES = 64 * 1024
LINGER_SECONDS = 1.0
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


class Protocol(HttpToolsProtocol):
    """One connection."""

    transport: asyncio.Transport
    _answering: ResponseTransport
    _take: Take | None
    _held: bytes | None = None
    """The body, so far, of a request that nobody was told of yet."""
    _discarded = -1
    """Bytes thrown away since the early answer; -1 while there was none."""
    _head_bytes = 0
    _is_in_head = True
    _head_since: float

    def __init__(self, *args: Any, most_connections: int, **more: Any) -> None:
        """`most_connections` may be open; beyond them, idle ones make room for new ones."""
        super().__init__(*args, **more)
        self._most_connections = most_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._answering = ResponseTransport(self, self.transport)
        self._take = getattr(self.app, "take", None)
        self._head_since = self.loop.time()
        if len(self.connections) > self._most_connections and not self._makes_room():
            self._head_bytes = 1  # whatever it sends now is read, and thrown away
            self.answer(OUT_OF_ORDER, closes=True)

    def _makes_room(self) -> bool:
        """End the connection that has been idle for longest, of a few that are looked at."""
        others = [each for each in islice(self.connections, _LOOKED_AT) if isinstance(each, Protocol)]
        idle = [each for each in others if each is not self and each.is_idle()]
        if idle:
            min(idle, key=lambda each: each._head_since).transport.abort()
        return bool(idle)

    def is_idle(self) -> bool:
        """Whether no request has begun that is not answered."""
        return self._is_in_head and (self.cycle is None or self.cycle.response_complete)

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
            if self._held is not None:  # its body is still on the way
                self._hand_over()
        except httptools.HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except (httptools.HttpParserError, UnicodeDecodeError):
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

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # what comes behind the body was not there when the headers were judged
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            # Blanks around a value are none of it (RFC 9110, 5.5); the parser keeps those behind it.
            self.headers.append((name, value.rstrip(b" \t")))

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
        self._held = b""
        if self.parser.should_upgrade():
            self._hand_over()

    def _is_chunked(self, version: str) -> bool:
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        return codings == [b"chunked"] and version == "1.1"

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _hand_over(self) -> None:
        """Begin a request the way of ASGI, with what there is of its body."""
        held, self._held = self._held, None
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()
        if held:
            super().on_body(held)

    def on_body(self, body: bytes) -> None:
        if self._held is not None:
            self._held = self._held + body if self._held else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._is_in_head = True
        self._head_since = self.loop.time()
        if self._held is not None:
            if self._is_taken(self._held):
                self._held = None
                return
            self._hand_over()
        super().on_message_complete()

    def _is_taken(self, body: bytes) -> bool:
        """Offer a whole request to the application; one that anything is odd about goes the long way."""
        before = self.cycle
        if self._take is None or self.expect_100_continue or self.flow.write_paused:
            return False
        if not (before is None or before.response_complete) or self.parser.get_method() != b"POST":
            return False
        if self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive():
            return False
        taken = Taken(self)
        if not self._take(self.url, self.headers, body, taken.answer):
            return False
        self.cycle = taken  # type: ignore[assignment]
        return True

    def answer(self, answer: Answer, *, closes: bool) -> None:
        """Answer a request that was taken."""
        self.transport.write(answer.raw(self.date_line(), closes=closes))
        if closes:
            self.linger()
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        if self._discarded >= 0 or self.transport.is_closing():
            return
        is_later = self._is_in_head or self._held is not None or self.pipeline
        self._held = None
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if is_later or cycle.response_started:
                self.transport.abort()  # an earlier request would take this for its answer
                return
            cycle.disconnected = True  # its own body is malformed
            cycle.message_event.set()
        is_head = self.parser.get_method() == b"HEAD"  # whose answer has no body, whatever its status
        self.transport.write(_BAD_REQUEST.removesuffix(_BAD_REQUEST_BODY) if is_head else _BAD_REQUEST)
        self.linger()

    def eof_received(self) -> bool:  # type: ignore[override]
        """A sender that half-closes after its request still gets the answer."""
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False
        self.cycle.keep_alive = False
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = Cycle  # uvicorn makes it, and has no setting for another class
        cycle.transport = self._answering  # type: ignore[assignment]
        super()._start_asgi_task(cycle, app)

    def date_line(self) -> bytes:
        """The Date header, which the server renews each second."""
        for name, value in self.server_state.default_headers:
            if name == b"date":
                return b"date: %b\r\n" % value
        return b""

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
        if not self.is_idle() or self._discarded >= 0:
            return
        limit = HEADERS_SECONDS if self._head_bytes or self.cycle is None else IDLE_SECONDS
        if now - self._head_since > limit:
            self.transport.close()
