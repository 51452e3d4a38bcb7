"""Connections: whatever arrives, nothing raises, and requests get one valid answer each, in their order."""

from __future__ import annotations

import asyncio
import atexit
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import uvicorn
from structlog.testing import capture_logs
from uvicorn.server import ServerState

from receiver.answers import UNAUTHORIZED, Answer, Receipted, Receive, Scope, Send
from receiver.protocol import Protocol

_CUTS = 3
_HOST = b"Host: hooks.example.com\r\n"
_POST = b"POST /read HTTP/1.1\r\n" + _HOST
_SMALL = _POST + b"Content-Length: 2\r\n\r\n{}"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n"
_GET = b"GET /receipt HTTP/1.1\r\n" + _HOST + b"\r\n"
_REQUESTS = (
    _SMALL,
    _CHUNKED,
    _GET,
    _GET.replace(b"GET", b"HEAD"),
    _GET.replace(b"/receipt", b"/deny"),
    _SMALL.replace(b"/read", b"/deny"),
    _SMALL.replace(b"/read", b"/receipt"),
    _CHUNKED.replace(b"/read", b"/receipt"),
    _POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    _POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
    _POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}",
    _POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /read HTTP/1.0\r\n\r\n",
    b"GET /read HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT hooks.example.com:443 HTTP/1.1\r\n" + _HOST + b"\r\n",
)
SEEDS = [
    *(b"\x30\x80\xd0" + request for request in _REQUESTS),
    *(b"\x30\x80\xd0" + first + second for first, second in pairwise(_REQUESTS)),
    b"\x10\x20\x40" + _SMALL + _GET + _CHUNKED,
    b"\x30\x80\xd0" + _CHUNKED.replace(b"POST", b"HEAD").replace(b"}", b"}}}"),
    b"\xff\xff\xff" + _SMALL + _CHUNKED.replace(b"}", b"}}}"),
]
DICTIONARY = [
    *(
        b"GET ",
        b"POST ",
        b"HEAD ",
        b"/read",
        b"/receipt",
        b"/deny",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"\r\n",
        b"\n",
    ),
    *(
        _HOST,
        b"Content-Length: 2\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n\r\n",
    ),
    *(
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b" ",
        b":",
    ),
    *(
        b"Connection: Upgrade\r\n",
        b"Upgrade: websocket\r\n",
        b"Upgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(
        b"0\r\n\r\n",
        b"1\r\n{\r\n",
        b"{}",
        b"X: \r\n y\r\n",
        b"\x00",
        b"\xff",
        b"%00",
        b"//",
        b"*",
        b"http://x/read",
    ),
    *_REQUESTS,
]
_HEAD = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) [A-Za-z ]+\r\n((?:[a-z-]+: [!-~ ]*\r\n)*)\r\n")


class _Application:
    """Answers as the receiver does, each request with its number, and remembers their methods."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.methods: list[str] = []
        self._loop = loop

    def take(
        self, url: bytes, _: list[tuple[bytes, bytes]], body: bytes, answer: Callable[[Answer], None]
    ) -> bool:
        """Take what isn't for `/read` as a whole: deny it at once, or give the receipt a little later."""
        if not url.startswith((b"/receipt", b"/deny")) or len(body) > 10:
            return False
        number = len(self.methods)
        self.methods.append("POST")
        if url.startswith(b"/deny"):
            answer(UNAUTHORIZED)
        else:
            self._loop.call_soon(self._loop.call_soon, answer, Receipted("accepted", str(number)))
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = len(self.methods)
        self.methods.append(scope["method"])
        if scope["path"] == "/deny":
            await UNAUTHORIZED.send(send)
            return
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message.get("more_body", False)
        answer = Receipted if scope["path"] == "/receipt" else _numbered
        await answer("accepted", str(number)).send(send)


def _numbered(status: str, number: str) -> Answer:
    return Answer(200, {"status": status, "event": number})


class _Transport(asyncio.Transport):
    """A socket without a socket: it keeps what is written, until it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("192.0.2.1", 5), "sockname": ("192.0.2.2", 80)})
        self._loop = loop
        self.protocol: Protocol | None = None
        self.written = b""
        self.has_ended = self.is_paused = self._is_closing = False

    def write(self, data: Any) -> None:
        assert not self.has_ended, "something was written behind the end"
        self.written += b"" if self._is_closing else bytes(data)

    def write_eof(self) -> None:
        self.has_ended = True

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            assert self.protocol is not None
            self._loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class _Stage:
    """The loop that all connections run on, and what went wrong on it."""

    def __init__(self) -> None:
        self.faults: list[Any] = []
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"Thu, 01 Jan 2026 00:00:00 GMT")]
        atexit.register(self.loop.close)
        self._config = uvicorn.Config(
            _Application(self.loop),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
        )
        self._config.load()

    def connect(self, application: _Application) -> tuple[Protocol, _Transport]:
        self._config.loaded_app = application
        transport = _Transport(self.loop)
        transport.protocol = Protocol(self._config, self.state, {}, self.loop, most_connections=8)
        transport.protocol.connection_made(transport)
        return transport.protocol, transport

    def settle(self) -> None:
        """Let everything happen that can happen without more bytes or time."""
        self.loop.run_until_complete(_turns(12))
        for timer in tuple(getattr(self.loop, "_scheduled", ())):
            timer.cancel()  # the second of grace behind an early answer
        assert not self.faults


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@cache
def _stage() -> _Stage:
    return _Stage()


def check(data: bytes) -> None:
    """The first bytes say where the reads of the others are cut."""
    stage = _stage()
    application = _Application(stage.loop)
    with capture_logs() as said:
        written = _converse(stage, application, data)
    assert not said
    assert not stage.state.tasks
    assert not stage.state.connections
    _judge(written, application.methods)


def _converse(stage: _Stage, application: _Application, data: bytes) -> bytes:
    """Send it, from the first byte to the end of the connection; return what came back."""
    protocol, transport = stage.connect(application)
    sent = data[_CUTS:]
    edges = [0, *sorted(place * len(sent) // 256 for place in data[:_CUTS]), len(sent)]
    for start, end in pairwise(edges):
        stage.settle()
        if start < end and not (transport.is_closing() or transport.is_paused):
            protocol.data_received(sent[start:end])
    stage.settle()
    if not transport.is_closing() and not protocol.eof_received():
        transport.close()
    stage.settle()
    transport.close()
    stage.settle()
    return transport.written


def _judge(written: bytes, methods: list[str]) -> None:
    """See that it is answers, one for each request at most, in their order, and then perhaps a 400."""
    answered = 0
    while written:
        head = _HEAD.match(written)
        assert head, written
        written = written[head.end() :]
        status, lines = int(head[1]), head[2].lower().splitlines()
        if status == 100:
            continue
        fields = dict(line.split(b": ", 1) for line in lines)
        assert len(fields) == len(lines)
        assert fields[b"content-type"] == b"application/json"
        length = int(fields[b"content-length"])
        is_head = methods[answered : answered + 1] == ["HEAD"] or (status == 400 and not written)
        body, written = (b"", written) if is_head else (written[:length], written[length:])
        assert is_head or len(body) == length
        assert status in (200, 400, 401)
        assert not written or (status == 200 and fields.get(b"connection") != b"close")
        if status == 200:
            assert is_head or b'"event":"%d"' % answered in body
        if status != 400:
            answered += 1
    assert answered <= len(methods)
