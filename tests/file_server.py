"""A file host on loopback that answers with exactly the bytes it is told to, and counts who comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answering = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Hosted:
    """A file with an ETag that answers ranges (RFC 9110, 14), as an S3 host does."""

    content: bytes
    etag: str
    breaks_at: int | None = None
    """No byte from that one on is ever sent, whatever was announced."""
    asked: list[int] = field(default_factory=list)
    """At which byte each answer began."""
    sent: int = 0
    """Bytes of content in all answers together."""

    async def __call__(self, request: str, writer: asyncio.StreamWriter) -> None:
        fields = dict(line.split(": ", 1) for line in request.split("\r\n")[1:] if line)
        span = fields.get("Range", "bytes=0-")
        offset = int(span[6:-1]) if fields.get("If-Range", self.etag) == self.etag else 0
        self.asked.append(offset)
        whole, head = len(self.content), f"ETag: {self.etag}\r\n"
        if offset >= whole:
            writer.write(f"HTTP/1.1 416 X\r\nContent-Range: bytes */{whole}\r\n{head}\r\n".encode())
            return
        if offset:
            head += f"Content-Range: bytes {offset}-{whole - 1}/{whole}\r\n"
        status = "206 Partial Content" if offset else "200 OK"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {whole - offset}\r\n{head}\r\n".encode())
        rest = self.content[offset : self.breaks_at]
        self.sent += len(rest)
        writer.write(rest)


@dataclass
class FileServer:
    """`answers` maps a path to raw response bytes, or to a function that writes them."""

    port: int = 0
    answers: dict[str, bytes | Answering] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    """The heads of all requests so far."""
    connections: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def give(self, path: str, body: bytes, *, headers: str = "", status: str = "200 OK") -> None:
        """Answer `path` with an ordinary response."""
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.answers[path] = head.encode() + body

    def host(self, path: str, content: bytes, *, etag: str = '"v1"') -> Hosted:
        """Host a file whose rest can be asked for; change what is returned to change how it behaves."""
        hosted = self.answers[path] = Hosted(content, etag)
        return hosted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._answer(reader, writer)
        except asyncio.CancelledError:
            pass  # the block has ended; to the server's own bookkeeping that is no error
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.requests.append(request)
            answer = self.answers.get(
                request.split(" ")[1].partition("?")[0], b"HTTP/1.1 404 Not Found\r\n\r\n"
            )
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(request, writer)
            await writer.drain()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)
        await asyncio.sleep(0)  # closing a connection takes one round of the loop


@asynccontextmanager
async def serving_files() -> AsyncIterator[FileServer]:
    """Serve on a free loopback port until the end of the block."""
    files = FileServer()
    server = await asyncio.start_server(files._serve, "127.0.0.1", 0)
    files.port = server.sockets[0].getsockname()[1]
    try:
        yield files
    finally:
        server.close()
        await files._end()
        await server.wait_closed()
