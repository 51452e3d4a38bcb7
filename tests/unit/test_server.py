"""The HTTP server through raw sockets: what it refuses, how long it waits, and how it ends a connection."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from receiver import protocol, server, sockets
from receiver.answers import UNAUTHORIZED, Answer, Message, Receipted, Receive, Scope, Send
from receiver.bodies import Bodies
from receiver.ingress import Ingress
from receiver.peers import BadCredentials
from receiver.rejections import Rejections
from receiver.store.service import Service
from tests.samples.reading import opennote, sample

pytestmark = pytest.mark.anyio
HOST = b"Host: hooks.example.com\r\n"
TIMEOUT = 8.0


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The loop that the program runs on; one for all tests, so that they can share a server."""
    return "asyncio", {"use_uvloop": True}


class Site:
    """An application that shows what reached it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.requests: list[tuple[str, str]] = []
        self.headers: list[list[tuple[bytes, bytes]]] = []
        self.bodies: list[bytes] = []
        self.ended: list[str] = []
        self.stalled = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests.append((scope["method"], scope["path"]))
        self.headers.append(scope["headers"])
        if scope["path"] == "/deny":
            await UNAUTHORIZED.send(send)
        elif scope["path"] == "/raise":
            raise RuntimeError("canary-secret")
        elif scope["path"] == "/raise-late":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            raise RuntimeError("canary-secret")
        elif scope["path"] == "/silent":
            return
        else:
            await self._read(scope["path"], receive, send)

    async def _read(self, path: str, receive: Receive, send: Send) -> None:
        body = b""
        try:
            while True:
                message: Message = await receive()
                if message["type"] == "http.disconnect":
                    self.ended.append("disconnected")
                    return
                body += message.get("body", b"")
                self.stalled.set()
                if not message.get("more_body"):
                    break
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.bodies.append(body)
        if path == "/receipt":
            await Receipted("accepted", "evt_1").send(send)
        else:
            await Answer(200, {"status": "read", "bytes": len(body)}).send(send)


@asynccontextmanager
async def serving(app: server.App, *, stop_seconds: int = 1) -> AsyncIterator[tuple[server.Server, int]]:
    """A server on a free port of loopback."""
    listener = sockets.bind("127.0.0.1", 0)
    made = server.create(app, stop_seconds=stop_seconds)
    task = asyncio.create_task(made.serve(sockets=[listener]))
    await made.ready.wait()
    try:
        yield made, listener.getsockname()[1]
    finally:
        made.stop()
        await asyncio.wait_for(task, TIMEOUT)


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[tuple[Site, int]]:
    """One server for the tests that do not stop it: stopping one takes a quarter of a second."""
    site = Site()
    async with serving(site) as (_, port):
        yield site, port


@pytest.fixture
def site(running: tuple[Site, int]) -> Site:
    """The application, with nothing seen yet."""
    running[0].forget()
    return running[0]


@pytest.fixture
def port(running: tuple[Site, int], site: Site) -> int:
    """Where it is."""
    return running[1]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server look ten times a second for connections that are overdue."""
    monkeypatch.setattr(server, "_TICKS_BETWEEN_LOOKS", 1)


class Response:
    """One response, parsed strictly."""

    def __init__(self, head: bytes, body: bytes) -> None:
        start, *lines = head.split(b"\r\n")
        self.status = int(start.split(b" ")[1])
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
        }
        self.body = body
        assert start.startswith(b"HTTP/1.1 ")
        assert len(self.headers) == len(lines)

    @property
    def content(self) -> dict[str, Any]:
        parsed = orjson.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed


def parsed(data: bytes, *, is_head: bool = False) -> list[Response]:
    """Split what a server sent into responses; nothing may be left, and each is a JSON object."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end
        response = Response(head, b"")
        assert b"transfer-encoding" not in response.headers
        length = 0 if is_head or response.status < 200 else int(response.headers[b"content-length"])
        response.body, data = data[:length], data[length:]
        assert len(response.body) == length
        if length:
            assert response.headers[b"content-type"] == b"application/json"
            assert response.content
        found.append(response)
    return found


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), TIMEOUT)


async def raw(port: int, data: bytes) -> bytes:
    """Send bytes and read until the server closes; a reset is an error."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await until_closed(reader)
    finally:
        writer.close()


async def talk(port: int, data: bytes, *, is_head: bool = False) -> list[Response]:
    return parsed(await raw(port, data), is_head=is_head)


async def one_response(reader: asyncio.StreamReader) -> Response:
    """Read a response of a connection that stays open."""
    async with asyncio.timeout(TIMEOUT):
        head = await reader.readuntil(b"\r\n\r\n")
        [response] = parsed(head[: head.index(b"\r\n\r\n")] + b"\r\n\r\n", is_head=True)
        response.body = await reader.readexactly(int(response.headers.get(b"content-length", 0)))
        return response


def post(path: bytes = b"/read", *lines: bytes, body: bytes = b"{}", version: bytes = b"1.1") -> bytes:
    """A request with these header lines."""
    return b"POST %b HTTP/%b\r\n%b\r\n%b" % (path, version, b"".join(line + b"\r\n" for line in lines), body)


GOOD = (b"Host: x", b"Content-Length: 2")
CLOSE = b"Connection: close"
SMUGGLED = b"POST /smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"


async def test_a_request_is_answered_with_json_and_the_connection_is_kept(site: Site, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(post(b"/read", *GOOD))
        response = await one_response(reader)
        assert (response.status, response.content) == (200, {"status": "read", "bytes": 2})
        assert b"connection" not in response.headers
    writer.close()

    assert site.requests == [("POST", "/read")] * 3


async def test_no_answer_names_the_server(port: int) -> None:
    for request in (post(b"/read", *GOOD, CLOSE), post(b"/deny", *GOOD), b"garbage\r\n\r\n"):
        [response] = await talk(port, request)
        assert b"server" not in response.headers


async def test_a_receipt_is_the_same_whether_the_connection_is_kept_or_not(port: int) -> None:
    [closing] = await talk(port, post(b"/receipt", *GOOD, CLOSE))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/receipt", *GOOD))
    kept = await one_response(reader)
    writer.close()

    assert kept.status == closing.status == 200
    assert kept.body == closing.body == b'{"status":"accepted","event":"evt_1"}'
    assert closing.headers.pop(b"connection") == b"close"
    assert set(kept.headers) == set(closing.headers) == {b"date", b"content-type", b"content-length"}


MALFORMED: dict[str, bytes] = {
    "no Host": post(b"/read", b"Content-Length: 2"),
    "two Hosts": post(b"/read", b"Host: x", *GOOD),
    "Content-Length before Transfer-Encoding": post(b"/read", *GOOD, CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "Transfer-Encoding before Content-Length": post(b"/read", CHUNKED, *GOOD, body=b"0\r\n\r\n" + SMUGGLED),
    "two Content-Lengths": post(b"/read", *GOOD, b"Content-Length: 3"),
    "two equal Content-Lengths": post(b"/read", *GOOD, b"Content-Length: 2"),
    "a list of Content-Lengths": post(b"/read", b"Host: x", b"Content-Length: 2, 2"),
    "a negative Content-Length": post(b"/read", b"Host: x", b"Content-Length: -2"),
    "a signed Content-Length": post(b"/read", b"Host: x", b"Content-Length: +2"),
    "a hexadecimal Content-Length": post(b"/read", b"Host: x", b"Content-Length: 0x2"),
    "an endless Content-Length": post(b"/read", b"Host: x", b"Content-Length: " + b"9" * 5000),
    "an empty Content-Length": post(b"/read", b"Host: x", b"Content-Length:"),
    "a folded line": post(b"/read", *GOOD, b"X: a\r\n b"),
    "a line folded at once": post(b"/read", *GOOD, b"X:\r\n\tb"),
    "bare LF": post(b"/read", *GOOD, CLOSE).replace(b"\r\n", b"\n"),
    "one bare LF": post(b"/read", b"Host: x\nContent-Length: 2"),
    "a bare CR": post(b"/read", b"Host: x\rContent-Length: 2"),
    "a CR in a value": post(b"/read", *GOOD, b"X: a\rb"),
    "a NUL in a value": post(b"/read", *GOOD, b"X: a\x00b"),
    "a blank before the colon": post(b"/read", b"Host: x", b"Content-Length : 2"),
    "a header without a name": post(b"/read", *GOOD, b": x"),
    "HTTP/0.9": b"GET /read\r\n\r\n",
    "HTTP/1.2": post(b"/read", *GOOD, version=b"1.2"),
    "HTTP/2 in the form of 1": post(b"/read", *GOOD, version=b"2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    "an unknown method": b"FETCH" + post(b"/read", *GOOD)[4:],
    "CONNECT": b"CONNECT example.com:80 HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED,
    "no path": post(b"", *GOOD),
    "a path that is none": post(b"read", *GOOD),
    "a blank in the path": post(b"/re ad", *GOOD),
    "a raw byte in the path": post(b"/r\xffd", *GOOD),
    "Transfer-Encoding: identity": post(b"/read", b"Host: x", b"Transfer-Encoding: identity"),
    "chunked not last": post(
        b"/read", b"Host: x", b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"
    ),
    "another coding before chunked": post(
        b"/read", b"Host: x", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"
    ),
    "a coding that only looks like chunked": post(
        b"/read", b"Host: x", b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"
    ),
    "chunked twice": post(b"/read", b"Host: x", CHUNKED, CHUNKED, body=b"0\r\n\r\n"),
    "chunked in HTTP/1.0": post(b"/read", b"Host: x", CHUNKED, version=b"1.0", body=b"0\r\n\r\n"),
    "101 headers": post(b"/read", *GOOD, *(b"X-%d: x" % number for number in range(99))),
    "33 KiB of headers": post(b"/read", *GOOD, b"X: " + b"x" * (33 * 1024)),
    "33 KiB in many headers": post(b"/read", *GOOD, *(b"X-%d: " % n + b"x" * 1024 for n in range(33))),
    "33 KiB of path": post(b"/" + b"x" * (33 * 1024), *GOOD),
    "33 KiB of an unfinished header": b"POST /read HTTP/1.1\r\nX: " + b"x" * (33 * 1024),
    "33 KiB of an unfinished path": b"POST /" + b"x" * (33 * 1024),
}


@pytest.mark.fault("P7")
@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_head_is_400_and_reaches_nobody(case: str, site: Site, port: int) -> None:
    [response] = await talk(port, MALFORMED[case])

    assert response.status == 400
    assert response.headers[b"connection"] == b"close"
    assert response.content == {"status": "error", "error": "this is not a valid HTTP/1.1 request"}
    assert site.requests == []


BAD_CHUNKS: dict[str, bytes] = {
    "a size that is none": b"zz\r\n{}\r\n0\r\n\r\n",
    "a negative size": b"-2\r\n{}\r\n0\r\n\r\n",
    "an endless size": b"f" * 40 + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer than said": b"2\r\n{}x\r\n0\r\n\r\n",
    "a bare LF after the size": b"2\n{}\r\n0\r\n\r\n",
    "a bare LF in an extension": b"2;a\n{}\r\n0\r\n\r\n",
    "a bad size after a good chunk": b"2\r\n{}\r\nx\r\n" + SMUGGLED,
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
async def test_a_malformed_body_that_comes_with_its_head_is_400_and_reaches_nobody(
    case: str, site: Site, port: int
) -> None:
    [response] = await talk(port, post(b"/read", b"Host: x", CHUNKED, body=BAD_CHUNKS[case]))

    assert (response.status, response.headers[b"connection"]) == (400, b"close")
    assert site.requests == []


@pytest.mark.fault("P7")
@pytest.mark.parametrize("case", BAD_CHUNKS)
async def test_a_malformed_body_is_400_and_the_application_is_told(case: str, site: Site, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/read", b"Host: x", CHUNKED, body=b"1\r\n.\r\n"))
    await asyncio.wait_for(site.stalled.wait(), TIMEOUT)
    writer.write(BAD_CHUNKS[case])
    [response] = parsed(await until_closed(reader))
    writer.close()

    assert (response.status, response.headers[b"connection"]) == (400, b"close")
    assert site.requests == [("POST", "/read")]
    assert (site.ended, site.bodies) == (["disconnected"], [])


async def test_100_headers_and_31_kib_are_fine(port: int) -> None:
    for lines in (
        (*GOOD, CLOSE, *(b"X-%d: x" % number for number in range(97))),
        (*GOOD, CLOSE, b"X: " + b"x" * (31 * 1024)),
    ):
        [response] = await talk(port, post(b"/read", *lines))
        assert response.status == 200


async def test_chunks_are_put_together(site: Site, port: int) -> None:
    [response] = await talk(
        port, post(b"/read", b"Host: x", CHUNKED, CLOSE, body=b'1\r\n{\r\n3;ext="1"\r\n}  \r\n0\r\n\r\n')
    )

    assert response.status == 200
    assert site.bodies == [b"{}  "]


async def test_what_follows_the_body_is_no_header(site: Site, port: int) -> None:
    trailers = b"0\r\nX-API-Key: canary\r\nHost: y\r\n" + b"X: y\r\n" * 500 + b"\r\n"
    [response] = await talk(port, post(b"/read", b"Host: x", CHUNKED, CLOSE, body=b"2\r\n{}\r\n" + trailers))

    assert response.status == 200
    assert site.headers == [[(b"host", b"x"), (b"transfer-encoding", b"chunked"), (b"connection", b"close")]]


@pytest.mark.parametrize("lines", [(b"Content-Length: 2",), GOOD, (*GOOD, b"Connection: keep-alive")])
async def test_http_1_0_is_answered_and_closed(lines: tuple[bytes, ...], port: int) -> None:
    [response] = await talk(port, post(b"/read", *lines, version=b"1.0"))

    assert (response.status, response.headers[b"connection"]) == (200, b"close")


async def test_pipelined_requests_are_answered_in_their_order(site: Site, port: int) -> None:
    requests = b"".join(
        post(b"/read", b"Host: x", b"Content-Length: %d" % n, body=b"x" * n) for n in range(20)
    )

    responses = await talk(port, requests + post(b"/read", *GOOD, CLOSE))

    assert [response.content["bytes"] for response in responses] == [*range(20), 2]
    assert len(site.requests) == 21


@pytest.mark.fault("P7")
async def test_nothing_behind_an_early_answer_is_looked_at(site: Site, port: int) -> None:
    [response] = await talk(port, post(b"/deny", *GOOD) + SMUGGLED)

    assert (response.status, response.headers[b"connection"]) == (401, b"close")
    assert site.requests == [("POST", "/deny")]


async def test_garbage_behind_a_request_is_never_its_answer(site: Site, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/read", *GOOD))
    assert (await one_response(reader)).status == 200
    writer.write(b"\x00\x01\x02\r\n\r\n")
    [response] = parsed(await until_closed(reader))
    writer.close()

    assert response.status == 400
    assert site.requests == [("POST", "/read")]


async def test_an_upgrade_is_declined_and_the_body_still_read(site: Site, port: int) -> None:
    offers = (
        (
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        ),
        (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"),
        (b"Connection: keep-alive, Upgrade", b"Upgrade: x", b"Expect: 100-continue"),
    )
    for offer in offers:
        *early, response = await talk(port, post(b"/read", *GOOD, *offer) + SMUGGLED)
        assert (response.status, response.headers[b"connection"]) == (200, b"close")
        assert len(early) == (b"Expect: 100-continue" in offer)

    assert site.bodies == [b"{}"] * 3
    assert site.requests == [("POST", "/read")] * 3


async def test_an_upgrade_whose_body_comes_later_is_read_to_its_end(site: Site, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        post(b"/read", b"Host: x", b"Content-Length: 6", b"Connection: Upgrade", b"Upgrade: h2c", body=b"abc")
    )
    await asyncio.wait_for(site.stalled.wait(), TIMEOUT)
    writer.write(b"def")
    [response] = parsed(await until_closed(reader))
    writer.close()

    assert response.status == 200
    assert site.bodies == [b"abcdef"]


async def test_an_upgrade_is_held_to_the_same_limits(site: Site, port: int) -> None:
    upgrade = (b"Connection: Upgrade", b"Upgrade: h2c")
    for request in (
        post(b"/read", b"Content-Length: 2", *upgrade),
        post(b"/read", b"Host: x", *GOOD, *upgrade),
        post(b"/read", *GOOD, *upgrade, *(b"X-%d: x" % number for number in range(100))),
        post(b"/read", *GOOD, *upgrade, b"X: " + b"x" * (33 * 1024)),
    ):
        [response] = await talk(port, request)
        assert response.status == 400

    assert site.requests == []


async def test_the_body_is_asked_for_only_when_it_is_read(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/read", *GOOD, b"Expect: 100-continue", body=b""))
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"{}")
    assert (await one_response(reader)).status == 200
    writer.close()


@pytest.mark.fault("B3")
async def test_a_denied_sender_is_not_asked_for_its_body(port: int) -> None:
    data = await raw(
        port, post(b"/deny", b"Host: x", b"Content-Length: 400000000", b"Expect: 100-continue", body=b"")
    )

    [response] = parsed(data)
    assert response.status == 401
    assert b"100 Continue" not in data


@contextmanager
def uploading(port: int, request: bytes) -> Iterator[tuple[socket.socket, list[int]]]:
    """Send a request and an endless body from a thread; gives its socket and how many bytes went out."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
    connection.sendall(request)
    sent = [0]

    def push() -> None:
        try:
            while True:
                sent[0] += connection.send(b"x" * 65536)
        except OSError:
            return

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    try:
        yield connection, sent
    finally:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT)
        connection.close()
        assert not thread.is_alive()


def read_answer(connection: socket.socket) -> bytes:
    """All that comes, up to the end of the connection or a reset."""
    data = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(65536):
            data += chunk
    return data


async def test_an_early_answer_arrives_while_a_big_body_is_still_sent(site: Site, port: int) -> None:
    request = post(b"/deny", b"Host: x", b"Content-Length: 400000000", body=b"")
    began = asyncio.get_running_loop().time()
    for _ in range(10):
        with uploading(port, request) as (connection, sent):
            data = await asyncio.to_thread(read_answer, connection)
        [response] = parsed(data)
        assert response.status == 401
        assert sent[0] < 50_000_000

    assert asyncio.get_running_loop().time() - began < 10 * 2
    assert site.requests == [("POST", "/deny")] * 10


async def write_on(writer: asyncio.StreamWriter, piece: bytes, *, pause: float) -> int:
    """Write until the connection is gone; return how many bytes could be written."""
    written = 0
    with suppress(ConnectionError):
        async with asyncio.timeout(TIMEOUT):
            while True:
                writer.write(piece)
                await writer.drain()
                written += len(piece)
                await asyncio.sleep(pause)
    return written


async def test_a_denied_sender_that_trickles_on_is_let_go_after_about_a_second(port: int) -> None:
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/deny", b"Host: x", b"Content-Length: 400000000", body=b"x" * 1000))
    began = loop.time()
    [response] = parsed(await until_closed(reader))
    answered = loop.time()
    await write_on(writer, b"x", pause=0.02)
    writer.close()

    assert response.status == 401
    assert answered - began < 0.5
    assert 0.8 < loop.time() - began < 2.5


async def test_a_denied_sender_that_pours_on_is_let_go_after_64_kib(port: int) -> None:
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/deny", b"Host: x", b"Content-Length: 400000000", body=b""))
    began = loop.time()
    [response] = parsed(await until_closed(reader))
    written = await write_on(writer, b"x" * 65536, pause=0.001)
    writer.close()

    assert response.status == 401
    assert loop.time() - began < 0.8
    assert written < 50_000_000


async def test_a_sender_that_half_closes_after_its_request_gets_the_answer(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/read", *GOOD))
    writer.write_eof()
    [response] = parsed(await until_closed(reader))
    writer.close()

    assert response.status == 200


async def test_a_sender_that_goes_away_in_its_body_is_a_disconnect(site: Site, port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/read", b"Host: x", b"Content-Length: 100", body=b"abc"))
    await asyncio.wait_for(site.stalled.wait(), TIMEOUT)
    writer.close()
    async with asyncio.timeout(TIMEOUT):
        while not site.ended:  # noqa: ASYNC110 - the application tells nobody
            await asyncio.sleep(0.01)

    assert site.ended == ["disconnected"]


async def test_a_head_request_gets_no_body(port: int) -> None:
    data = await raw(port, b"HEAD /deny HTTP/1.1\r\nHost: x\r\n\r\n")

    [response] = parsed(data, is_head=True)
    assert response.status == 401
    assert int(response.headers[b"content-length"]) > 0


async def test_an_exception_in_the_application_is_503_and_logged_without_its_text_in_the_answer(
    port: int,
) -> None:
    with capture_logs(processors=[structlog.processors.format_exc_info]) as lines:
        [response] = await talk(port, post(b"/raise", *GOOD))

    assert (response.status, response.headers[b"connection"]) == (503, b"close")
    assert int(response.headers[b"retry-after"]) > 0
    assert response.content["status"] == "refused"
    assert b"canary" not in response.body
    assert [(line["event"], line["reason"]) for line in lines] == [("server.failed", "RuntimeError")]


async def test_an_application_that_forgets_to_answer_is_503(port: int) -> None:
    [response] = await talk(port, post(b"/silent", *GOOD))

    assert response.status == 503


async def test_an_answer_that_breaks_off_is_seen_as_such(port: int) -> None:
    data = await raw(port, post(b"/raise-late", *GOOD))

    head, _, body = data.partition(b"\r\n\r\n")
    assert b"content-length: 9" in head
    assert body == b""


@pytest.mark.usefixtures("_impatient")
async def test_silence_from_the_start_ends_with_the_deadline_for_headers(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADERS_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    assert await until_closed(reader) == b""
    writer.close()


@pytest.mark.usefixtures("_impatient")
async def test_a_head_that_trickles_ends_with_the_deadline(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADERS_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = asyncio.get_running_loop().time()
    writer.write(b"POST /read HTTP/1.1\r\nHost: x\r\n")

    async def trickle() -> None:
        while True:
            writer.write(b"X: y\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    with suppress(ConnectionError):
        await until_closed(reader)
    trickling.cancel()
    await asyncio.wait([trickling])
    writer.close()

    assert asyncio.get_running_loop().time() - began < 3


@pytest.mark.usefixtures("_impatient")
async def test_the_deadline_for_headers_counts_for_later_requests_too(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/read", *GOOD))
    assert (await one_response(reader)).status == 200
    monkeypatch.setattr(protocol, "HEADERS_SECONDS", 0.3)
    writer.write(b"POST /read HT")

    assert await until_closed(reader) == b""
    writer.close()


@pytest.mark.usefixtures("_impatient")
async def test_a_silent_connection_ends_with_the_idle_deadline_and_not_before(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "IDLE_SECONDS", 0.6)
    monkeypatch.setattr(protocol, "HEADERS_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/read", *GOOD))
    await one_response(reader)
    began = asyncio.get_running_loop().time()

    assert await until_closed(reader) == b""
    writer.close()
    assert 0.5 < asyncio.get_running_loop().time() - began < 4


@pytest.mark.usefixtures("_impatient")
async def test_no_deadline_of_the_head_ends_a_body(
    site: Site, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADERS_SECONDS", 0.05)
    monkeypatch.setattr(protocol, "IDLE_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post(b"/read", b"Host: x", b"Content-Length: 4", CLOSE, body=b"ab"))
    await asyncio.wait_for(site.stalled.wait(), TIMEOUT)
    other = await asyncio.open_connection("127.0.0.1", port)
    await until_closed(other[0])  # the deadlines have been looked at
    writer.write(b"cd")
    [response] = parsed(await until_closed(reader))
    writer.close()
    other[1].close()

    assert response.content["bytes"] == 4


async def test_stopping_with_a_stalled_upload_ends_within_its_limit(site: Site) -> None:
    loop = asyncio.get_running_loop()
    async with serving(site, stop_seconds=1) as (made, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(b"/read", b"Host: x", b"Content-Length: 100", body=b"abc"))
        await asyncio.wait_for(site.stalled.wait(), TIMEOUT)
        began = loop.time()
        made.stop()

    data = await until_closed(reader)
    writer.close()
    assert loop.time() - began < 3
    assert site.ended == ["cancelled"]
    assert site.bodies == []
    assert [response.status for response in parsed(data)] in ([503], [])


async def test_stopping_closes_idle_connections_and_lets_none_in(site: Site) -> None:
    async with serving(site, stop_seconds=5) as (made, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(b"/read", *GOOD))
        await one_response(reader)
        began = asyncio.get_running_loop().time()
        made.stop()
        assert await until_closed(reader) == b""
        writer.close()

    assert asyncio.get_running_loop().time() - began < 2
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_stopping_lets_a_request_finish(site: Site) -> None:
    async with serving(site, stop_seconds=5) as (made, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(b"/read", *GOOD, body=b"{"))
        await asyncio.wait_for(site.stalled.wait(), TIMEOUT)
        made.stop()
        async with asyncio.timeout(TIMEOUT):
            while made.servers[0].is_serving():  # noqa: ASYNC110 - nobody tells when
                await asyncio.sleep(0.01)
        writer.write(b"}")
        [response] = parsed(await until_closed(reader))
        writer.close()

    assert (response.status, response.headers[b"connection"]) == (200, b"close")


async def test_stopping_still_hears_who_has_just_come_in(site: Site) -> None:
    async with serving(site, stop_seconds=5) as (made, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(TIMEOUT):
            while not made.server_state.connections:  # noqa: ASYNC110 - nobody tells when
                await asyncio.sleep(0)
        made.stop()
        async with asyncio.timeout(TIMEOUT):
            while made.servers[0].is_serving():  # noqa: ASYNC110 - nobody tells when
                await asyncio.sleep(0.01)
        writer.write(post(b"/read", *GOOD, body=b"{}"))
        [response] = parsed(await until_closed(reader))
        writer.close()
    assert response.status == 200
    assert site.bodies == [b"{}"]


async def test_500_silent_connections_do_not_keep_a_good_request_waiting(port: int) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(500)]
    began = asyncio.get_running_loop().time()
    [response] = await talk(port, post(b"/read", *GOOD, CLOSE))

    assert response.status == 200
    assert asyncio.get_running_loop().time() - began < 1
    for _, writer in idle:
        writer.close()


async def test_a_port_in_use_is_an_error_with_the_reason_of_the_system(port: int) -> None:
    with pytest.raises(OSError, match="Address already in use"):
        sockets.bind("127.0.0.1", port)


async def test_ipv6_can_be_bound() -> None:
    try:
        listener = sockets.bind("::1", 0)
    except OSError as error:
        pytest.skip(f"needs IPv6 on loopback: {error}")
    listener.close()


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[tuple[int, Service]]:
    """The real endpoint behind the real server."""
    store = Service(tmp_path / "receiver.db", run="r", lease_seconds=60)
    bodies = Bodies(tmp_path / "bodies", reserve=0)
    log = structlog.testing.CapturingLogger()
    rejections = Rejections(store, wall=lambda: 0, log=log)
    ingress = Ingress(
        {"opennote": opennote(max_body=1000)},
        cards=[],
        intake=store,
        bodies=bodies,
        rejections=rejections,
        bad_credentials=BadCredentials(clock=lambda: 0.0),
        wall=lambda: 0,
        random=bytes,
        log=log,
    )
    async with serving(ingress) as (_, number):
        yield number, store
    await rejections.close()
    await store.close()
    bodies.close()


def callback(body: bytes, *, without: str = "", **changes: bytes) -> bytes:
    """A sample of a callback as it goes over the wire."""
    fields = {name.decode(): value for name, value in sample("opennote", "completed_s3").headers}
    fields |= {"content-length": b"%d" % len(body), "connection": b"close"}
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    fields.pop(without, None)
    lines = [name.encode() + b": " + value for name, value in fields.items()]
    return post(b"/webhooks/opennote", *lines, body=body)


BODY = sample("opennote", "completed_s3").body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (callback(BODY), 200),
        (callback(BODY, expect=b"100-continue"), 200),
        (callback(BODY, x_api_key=b"wrong"), 401),
        (callback(BODY, x_api_key=b"\xff\xfe"), 401),
        (callback(BODY, x_api_key=b""), 401),
        (callback(BODY, without="x-origin"), 401),
        (callback(BODY, content_type=b"text/plain"), 415),
        (callback(BODY, content_encoding=b"gzip"), 415),
        (callback(BODY + b" " * 1000), 413),
        (callback(b"[]"), 400),
        (callback(BODY).replace(b"POST", b"GET", 1), 405),
        (callback(BODY).replace(b"/webhooks/opennote", b"/webhooks/opennote/", 1), 404),
        (callback(BODY).replace(b"/webhooks/opennote", b"/webhooks/%6fpennote?x=/../y#z", 1), 200),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else None,
)
async def test_the_endpoint_answers_over_the_wire_as_it_should(
    request_bytes: bytes, status: int, endpoint: tuple[int, Service]
) -> None:
    port, _ = endpoint
    *early, response = await talk(port, request_bytes)

    assert response.status == status
    assert response.headers[b"connection"] == b"close"
    assert len(early) == (b"expect" in request_bytes)


async def test_a_key_in_a_trailer_opens_nothing(endpoint: tuple[int, Service]) -> None:
    port, _ = endpoint
    request = callback(b"", without="x-api-key", transfer_encoding=b"chunked")
    head = request.replace(b"content-length: 0\r\n", b"")
    chunk = b"%x\r\n%b\r\n0\r\nX-API-Key: sk_opennote_example_1\r\n\r\n" % (len(BODY), BODY)

    [response] = await talk(port, head + chunk)

    assert response.status == 401
