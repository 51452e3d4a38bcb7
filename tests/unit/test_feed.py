"""Another receiver's API, as its reader: what answers at its URL, and what its URL may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from receiver.errors import CommandFailed, Unfinished, UsageError
from receiver.feed import Feed, Origin, origin_of

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def answering(answer: bytes, *, hangs: bool = False) -> AsyncIterator[Feed]:
    """A feed from somebody who says this, whatever is asked; `hangs`: and then nothing."""
    done = asyncio.Event()

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if hangs:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(answer_one, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    feed = Feed(Origin(f"http://{host}:{port}", "token"), max_bytes=2**20, silent_seconds=5)
    try:
        yield feed
    finally:
        await feed.aclose()
        done.set()
        server.close()


def head(status: str, kind: str = "text/html", *, length: int | None = 0) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}"]
    lines += ["connection: close"] if length is None else [f"content-length: {length}"]
    return "\r\n".join([*lines, "", ""]).encode()


async def read(feed: Feed, begun: Callable[[], None] = lambda: None) -> None:
    async for _ in feed.messages(after=None, parameters={}, begun=begun):
        pass


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (head("200 OK"), Unfinished, "no receiver"),
        (head("502 Bad Gateway"), Unfinished, "502"),
        (head("404 Not Found"), CommandFailed, "no API at this URL"),
        (head("401 Unauthorized"), CommandFailed, "does not accept the token"),
        (head("302 Found"), CommandFailed, "redirects are not followed"),
        (head("200 OK", "text/event-stream"), Unfinished, "the stream was ended"),
        (b"\xff\x00\r\n\r\n", Unfinished, "is not HTTP"),
    ],
)
async def test_what_answers_is_judged(answer: bytes, error: type[Exception], said: str) -> None:
    async with answering(answer) as feed:
        with pytest.raises(error, match=said):
            await read(feed)


async def test_a_stream_that_says_nothing_yet_has_begun() -> None:
    async with answering(head("200 OK", "text/event-stream", length=None), hangs=True) as feed:
        begun = asyncio.Event()
        reading = asyncio.create_task(read(feed, begun.set))
        async with asyncio.timeout(5):
            await begun.wait()
        reading.cancel()
        await asyncio.wait([reading])


@pytest.mark.parametrize("more", ["", "/", "/api/v1", "/api/v1/"])
def test_a_url_may_name_the_api_or_not(more: str) -> None:
    assert origin_of(f"https://hooks.example.com/behind/proxy{more}", "t").url == (
        "https://hooks.example.com/behind/proxy"
    )


def test_what_is_wrong_with_a_url_is_said_of_it() -> None:
    with pytest.raises(UsageError, match="the URL of the other receiver: its host is not a plain ASCII name"):
        origin_of("https://user:secret@hooks.example.com", "t")
