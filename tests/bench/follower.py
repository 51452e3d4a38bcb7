"""Follow the stream of events several times over. Arguments: port, how many streams, the token.

Says `ready` when all of them have begun; then a line with a number comes in, and `all` goes out when each
stream has told of so many events.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

_MARK = b'data: {"id":"evt_'
"""How the message of an event begins: a message is never split among the chunks of an answer."""
_BLOCK = 2**18


class Follower:
    """One stream, and how many events it has told of."""

    def __init__(self) -> None:
        self.heard = 0
        self.has_heard = asyncio.Event()

    async def follow(self, reader: asyncio.StreamReader) -> None:
        """Count until the stream ends."""
        rest = b""
        while chunk := await reader.read(_BLOCK):
            block = rest + chunk
            self.heard += block.count(_MARK)
            rest = block[1 - len(_MARK) :]
            self.has_heard.set()

    async def hears(self, events: int) -> None:
        """Wait until it has told of so many."""
        while self.heard < events:
            self.has_heard.clear()
            await self.has_heard.wait()


async def follow(port: int, streams: int, token: str) -> None:
    """Follow, until as many events were heard as standard input says."""
    request = f"GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    followers = [Follower() for _ in range(streams)]
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in followers]
    tasks = []
    for follower, (reader, writer) in zip(followers, pairs, strict=True):
        writer.write(request.encode())
        if not (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 "):
            sys.exit("the stream was refused")
        await reader.readuntil(b"retry: ")
        tasks.append(asyncio.create_task(follower.follow(reader)))
    print("ready", flush=True)
    events = int(await asyncio.to_thread(sys.stdin.readline))
    await asyncio.gather(*(follower.hears(events) for follower in followers))
    print("all", flush=True)
    for _, writer in pairs:
        writer.close()


if __name__ == "__main__":
    uvloop.run(follow(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
