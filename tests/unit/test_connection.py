"""Connections under both loops, with and without TLS: nothing is lost, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trustme
import uvloop

from receiver.client import SafeClient
from receiver.errors import Unfinished
from receiver.fetch import Fetcher, Pace

LARGE = os.urandom(20_000_000)
Serving = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
both_loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
with_and_without_tls = pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])


async def to_loopback(_: str, __: int) -> Sequence[str]:
    return ["127.0.0.1"]


@asynccontextmanager
async def connected(
    serve: Serving, *, is_tls: bool, idle_seconds: float = 5
) -> AsyncIterator[tuple[str, Fetcher]]:
    """A server, and a fetcher that trusts it."""
    theirs, ours = None, None
    if is_tls:
        authority = trustme.CA()
        theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("localhost").configure_cert(theirs)
        authority.configure_trust(ours)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=theirs)
    fetcher = Fetcher(
        max_bytes=10**9,
        resolver=to_loopback,
        tls=ours,
        pace=Pace(connect_seconds=5, idle_seconds=idle_seconds),
    )
    try:
        yield f"http{'s' * is_tls}://localhost:{server.sockets[0].getsockname()[1]}", fetcher
    finally:
        await fetcher.aclose()
        server.close()
        await server.wait_closed()


async def _rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@both_loops
@with_and_without_tls
def test_a_large_answer_arrives_whole_however_slowly_it_is_read(
    loop: Callable[[], asyncio.AbstractEventLoop], is_tls: bool
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(LARGE)}\r\n\r\n".encode() + LARGE)
        await writer.drain()
        writer.close()

    async def read() -> bytes:
        async with (
            connected(serve, is_tls=is_tls) as (base, fetcher),
            fetcher.open(f"{base}/v.mp4", base=base) as download,
        ):
            got = []
            async for chunk in download:
                await _rounds(30)  # meanwhile more arrives than there is room for
                got.append(chunk)
            assert max(map(len, got)) <= 4 << 20, "what has arrived is bounded"
            return b"".join(got)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(read()) == LARGE


@both_loops
@with_and_without_tls
def test_a_large_request_arrives_whole_however_slowly_it_is_taken(
    loop: Callable[[], asyncio.AbstractEventLoop], is_tls: bool
) -> None:
    taken = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while len(taken) < len(LARGE):
            taken.extend(await reader.read(1 << 20))
            await _rounds(30)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    async def send() -> int:
        async with connected(serve, is_tls=is_tls) as (base, fetcher):
            return (await SafeClient(fetcher).post(f"{base}/", content=LARGE)).status

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(send()) == 204
    assert taken == LARGE


@both_loops
def test_a_request_that_nobody_takes_is_given_up(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await is_over.wait()
        writer.close()

    async def send() -> None:
        async with connected(serve, is_tls=False, idle_seconds=0.1) as (base, fetcher):
            with pytest.raises(Unfinished, match="silent for too long"):
                await SafeClient(fetcher).post(f"{base}/", content=LARGE)
            is_over.set()

    with asyncio.Runner(loop_factory=loop) as runner:
        is_over = asyncio.Event()
        runner.run(send())


@both_loops
def test_a_kept_connection_that_was_closed_meanwhile_is_not_used_again(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def ask() -> list[int]:
        async with connected(serve, is_tls=False) as (base, fetcher):
            client = SafeClient(fetcher)
            statuses = []
            for _ in range(3):
                statuses.append((await client.get(f"{base}/")).status)
                await _rounds(5)
            return statuses

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(ask()) == [200, 200, 200]
    assert connections == 3
