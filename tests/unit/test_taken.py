"""Requests that come as a whole: taken without a task, and answered as if they had come in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import CapturingLogger

from receiver import server, sockets
from receiver.answers import OUT_OF_ORDER, UNKNOWN_PATH, Answer, Receipted, Receive, Scope, Send
from receiver.bodies import Bodies
from receiver.ingress import Ingress
from receiver.peers import BadCredentials
from receiver.rejections import Rejections
from receiver.sources.base import Headers
from receiver.store.service import Service
from tests.samples.reading import opennote, sample

pytestmark = pytest.mark.anyio
TIMEOUT = 8.0
CALLBACK = sample("opennote", "completed_s3")


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The loop that the program runs on."""
    return "asyncio", {"use_uvloop": True}


class Counting(Ingress):
    """The endpoint, counting what it took."""

    taken = 0

    def take(self, target: bytes, headers: Headers, body: bytes, answer: Callable[[Answer], None]) -> bool:
        is_taken = super().take(target, headers, body, answer)
        self.taken += is_taken
        return is_taken


class Slow:
    """Takes what comes to one path, and answers when it is told to."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Callable[[Answer], None]] = asyncio.Queue()

    def take(self, target: bytes, headers: Headers, body: bytes, answer: Callable[[Answer], None]) -> bool:
        if target != b"/taken":
            return False
        self.answers.put_nowait(answer)
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await UNKNOWN_PATH.send(send)


@asynccontextmanager
async def serving(app: server.App) -> AsyncIterator[tuple[server.Server, int]]:
    """The server around an application, and its port."""
    listener = sockets.bind("127.0.0.1", 0)
    running = server.create(app, stop_seconds=1)
    task = asyncio.create_task(running.serve(sockets=[listener]))
    await asyncio.wait_for(running.ready.wait(), TIMEOUT)
    try:
        yield running, listener.getsockname()[1]
    finally:
        running.stop()
        await asyncio.wait_for(task, TIMEOUT)


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[tuple[int, Counting]]:
    """The real endpoint behind the real server."""
    store = Service(tmp_path / "receiver.db", run="r", lease_seconds=60)
    bodies = Bodies(tmp_path / "bodies", reserve=0)
    log = CapturingLogger()
    rejections = Rejections(store, wall=lambda: 0, log=log)
    numbers = iter(range(10**6))
    ingress = Counting(
        {"opennote": opennote(max_body=1000)},
        cards=[],
        intake=store,
        bodies=bodies,
        rejections=rejections,
        bad_credentials=BadCredentials(clock=lambda: 0.0),
        wall=lambda: 0,
        random=lambda count: next(numbers).to_bytes(count, "big"),
        log=log,
    )
    async with serving(ingress) as (_, port):
        yield port, ingress
    await rejections.close()
    await store.close()
    bodies.close()


def request(
    body: bytes = CALLBACK.body,
    *,
    path: bytes = b"/webhooks/opennote",
    method: bytes = b"POST",
    **lines: bytes,
) -> bytes:
    """A callback as it goes over the wire; a line that is empty is left out."""
    fields = dict(CALLBACK.headers) | {b"content-length": b"%d" % len(body)}
    fields |= {name.replace("_", "-").encode(): value for name, value in lines.items()}
    head = b"".join(b"%b: %b\r\n" % line for line in fields.items() if line[1])
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, path, head, body)


async def read(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    """One response: status, headers without the date, content."""
    async with asyncio.timeout(TIMEOUT):
        head = await reader.readuntil(b"\r\n\r\n")
        start, *lines = head[:-4].split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        assert len(headers) == len(lines)
        assert headers.pop(b"date").endswith(b"gmt")
        content: dict[str, Any] = orjson.loads(
            await reader.readexactly(int(headers.get(b"content-length", 0)))
        )
        return int(start.split()[1]), headers, content


async def ask(port: int, *pieces: bytes) -> tuple[int, dict[bytes, bytes], dict[str, Any]]:
    """Send a request, each piece by itself, and read its response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02 if piece is not pieces[-1] else 0)
        return await read(reader)
    finally:
        writer.close()


ODD: dict[str, tuple[bytes, int]] = {
    "a wrong key": (request(x_api_key=b"wrong"), 401),
    "no key": (request(x_api_key=b""), 401),
    "another type": (request(content_type=b"text/plain"), 415),
    "compressed": (request(content_encoding=b"gzip"), 415),
    "too large": (request(CALLBACK.body + b" " * 1000), 413),
    "a list": (request(b"[]"), 400),
    "two equal keys": (request(b'{"video_id":"a","video_id":"b"}'), 400),
    "an id that can't be kept": (request(b'{"video_id":"\\u202e"}'), 400),
    "another method": (request(method=b"PUT"), 405),
    "another path": (request(path=b"/webhooks/other"), 404),
    "a query": (request(path=b"/webhooks/opennote?a=b"), 200),
    "a path that is written differently": (request(path=b"/webhooks/%6fpennote"), 200),
}


@pytest.mark.parametrize("case", ODD)
async def test_what_is_odd_is_not_taken_and_answered_the_long_way(
    case: str, endpoint: tuple[int, Counting]
) -> None:
    port, ingress = endpoint
    data, expected = ODD[case]

    whole = await ask(port, data)
    pieces = await ask(port, data[:-1], data[-1:])

    assert ingress.taken == 0
    assert (whole[0], pieces[0]) == (expected, expected)
    assert whole[1].keys() == pieces[1].keys()
    if expected != 200:
        assert whole == pieces


async def test_what_comes_as_a_whole_is_taken_and_answered_like_what_comes_in_pieces(
    endpoint: tuple[int, Counting],
) -> None:
    port, ingress = endpoint
    status, headers, content = await ask(port, request())
    assert (status, content["status"], ingress.taken) == (200, "accepted", 1)
    again = await ask(port, request())
    assert (again[0], again[2], ingress.taken) == (200, content | {"status": "duplicate"}, 2)

    for cut in (1, 60, len(request()) - len(CALLBACK.body), len(request()) - 1):
        pieces = await ask(port, request()[:cut], request()[cut:])
        assert pieces == again

    # One chunk with its head is a whole, too.
    head, body = request(content_length=b"", transfer_encoding=b"chunked").split(b"\r\n\r\n", 1)
    assert await ask(port, head + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)) == again
    assert headers.keys() == again[1].keys()


async def test_requests_that_come_together_are_answered_in_their_order(
    endpoint: tuple[int, Counting],
) -> None:
    port, ingress = endpoint
    bodies = [b'{"video_id":"v%d","status":"completed"}' % number for number in (1, 2, 1, 3)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(request(body) for body in bodies) + request(x_api_key=b"wrong") + request())
    answers = [await read(reader) for _ in range(5)]
    assert await asyncio.wait_for(reader.read(), TIMEOUT) == b""  # nothing behind the early answer
    writer.close()

    statuses = [(status, content["status"]) for status, _, content in answers]
    accepted, duplicate = (200, "accepted"), (200, "duplicate")
    assert statuses == [accepted, accepted, duplicate, accepted, (401, "rejected")]
    assert answers[0][2]["event"] == answers[2][2]["event"]
    assert ingress.taken == 1  # the others had to wait for it


async def test_stopping_waits_for_what_was_taken_and_ends_its_connection() -> None:
    app = Slow()
    async with serving(app) as (running, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(path=b"/taken"))
        answer = await asyncio.wait_for(app.answers.get(), TIMEOUT)
        running.stop()
        await asyncio.sleep(0.2)  # the server looks ten times a second
        answer(Receipted("accepted", "evt_1"))
        status, headers, content = await read(reader)

        assert (status, content) == (200, {"status": "accepted", "event": "evt_1"})
        assert headers[b"connection"] == b"close"
        assert await asyncio.wait_for(reader.read(), TIMEOUT) == b""
        writer.close()


async def test_a_sender_that_half_closes_gets_the_answer_and_one_that_is_gone_does_no_harm() -> None:
    app = Slow()
    async with serving(app) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(path=b"/taken"))
        writer.write_eof()
        answer = await asyncio.wait_for(app.answers.get(), TIMEOUT)
        await asyncio.sleep(0.05)
        answer(Receipted("accepted", "evt_1"))
        assert (await read(reader))[0] == 200
        assert await asyncio.wait_for(reader.read(), TIMEOUT) == b""
        writer.close()

        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(path=b"/taken"))
        answer = await asyncio.wait_for(app.answers.get(), TIMEOUT)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        answer(Receipted("accepted", "evt_2"))

        assert (await ask(port, request(path=b"/other")))[0] == 404


async def test_a_refusal_of_what_was_taken_ends_the_connection() -> None:
    app = Slow()
    async with serving(app) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(path=b"/taken") + request(path=b"/other"))
        (await asyncio.wait_for(app.answers.get(), TIMEOUT))(OUT_OF_ORDER)
        status, headers, _ = await read(reader)

        assert (status, headers[b"connection"]) == (503, b"close")
        assert await asyncio.wait_for(reader.read(), TIMEOUT) == b""
        writer.close()


@pytest.mark.fault("B5", "B6")
async def test_beyond_the_limit_the_connection_that_was_idle_for_longest_makes_room() -> None:
    app = Slow()
    listener = sockets.bind("127.0.0.1", 0)
    running = server.create(app, stop_seconds=1, most_connections=3)
    task = asyncio.create_task(running.serve(sockets=[listener]))
    await asyncio.wait_for(running.ready.wait(), TIMEOUT)
    port = listener.getsockname()[1]
    busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    answers = []
    for _, writer in busy:
        writer.write(request(path=b"/taken"))
        answers.append(await asyncio.wait_for(app.answers.get(), TIMEOUT))
    idle, idle_writer = await asyncio.open_connection("127.0.0.1", port)

    # The idle one goes, and the new one is served.
    assert (await ask(port, request(path=b"/other")))[0] == 404
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(idle.readexactly(1), TIMEOUT)

    # With three that are busy, one more is told to come again.
    third, third_writer = await asyncio.open_connection("127.0.0.1", port)
    third_writer.write(request(path=b"/taken"))
    answers.append(await asyncio.wait_for(app.answers.get(), TIMEOUT))
    refused, refused_writer = await asyncio.open_connection("127.0.0.1", port)
    assert (await read(refused))[0] == 503
    assert await asyncio.wait_for(refused.read(), TIMEOUT) == b""

    for number, answer in enumerate(answers):
        answer(Receipted("accepted", f"evt_{number}"))
    for reader in (*(reader for reader, _ in busy), third):
        assert (await read(reader))[0] == 200
    for writer in (*(writer for _, writer in busy), idle_writer, third_writer, refused_writer):
        writer.close()
    running.stop()
    await asyncio.wait_for(task, TIMEOUT)
