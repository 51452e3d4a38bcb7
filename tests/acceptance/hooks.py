"""Whoever is called back by a sandbox: keeps every callback as it came, and answers as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Heard = tuple[dict[str, str], bytes]


class SignedHook:
    """Answers with the given statuses, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self._calls: list[Heard] = []
        self._news = asyncio.Condition()
        self.url = ""

    async def heard(self, count: int) -> list[Heard]:
        """Wait for so many callbacks; give the headers, their names in lower case, and the body of each."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: len(self._calls) >= count)
        return list(self._calls)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2]]
                headers = {name.lower(): value for name, value in lines}
                body = await reader.readexactly(int(headers["content-length"]))
                async with self._news:
                    self._calls.append((headers, body))
                    self._news.notify_all()
                status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
                writer.write(f"HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def signed_hook(*statuses: int) -> AsyncIterator[SignedHook]:
    """Listen on a free port of loopback."""
    hook = SignedHook(*(statuses or (200,)))
    server = await asyncio.start_server(hook.answer, "127.0.0.1", 0)
    hook.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webhooks/openai"
    async with server:
        yield hook
