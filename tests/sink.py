"""A target on loopback that takes POSTs, keeps what it was sent, and answers as it is told to."""

from __future__ import annotations

import hashlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedReader
from typing import cast

Answering = Callable[[socket.socket], None]
_KEPT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Received:
    """One request that arrived as a whole."""

    line: str
    headers: list[tuple[str, str]]
    """As they came: names in their own case, in their order."""
    body: bytes = field(repr=False)
    """The body, of a large one the first MiB."""
    length: int
    sha256: str

    def header(self, name: str) -> str:
        """The value of a header that came exactly once."""
        (value,) = [value for known, value in self.headers if known.lower() == name]
        return value

    @property
    def named(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers}


@dataclass
class Sink:
    """`answers` maps a path to one answer after the other, the last one for ever; else 204."""

    port: int = 0
    answers: dict[str, list[bytes | Answering]] = field(default_factory=dict)
    requests: list[Received] = field(default_factory=list)
    early: bytes = b""
    """When set, what every request is answered before its body is read."""
    connections: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, *answers: bytes | Answering) -> str:
        """Say what a path answers, and give its URL."""
        self.answers[path] = list(answers)
        return self.base + path

    def hang(self, _: socket.socket) -> None:
        """Say nothing until the end of the block."""
        self.ended.wait(30)

    @staticmethod
    def reset(connection: socket.socket) -> None:
        """Break the connection off with an RST."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def drip(self, connection: socket.socket) -> None:
        """Send a head that never ends, so that the other side is never silent for long."""
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not self.ended.wait(0.02):
            connection.sendall(b"X-Slow: yes\r\n")

    def pour(self, connection: socket.socket) -> None:
        """Answer 200 with a body that never ends."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self.ended.is_set():
            connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    def _serve(self, connection: socket.socket) -> None:
        self.connections += 1
        reader = connection.makefile("rb")
        with connection, reader, suppress(ConnectionError):
            while line := reader.readline().decode("latin-1").rstrip("\r\n"):
                headers = []
                while field_line := reader.readline().decode("latin-1").rstrip("\r\n"):
                    name, _, value = field_line.partition(": ")
                    headers.append((name, value))
                if self.early:
                    connection.sendall(self.early)
                    self._swallow(reader)
                    return
                self.requests.append(_received(line, headers, reader.read))
                answer = self._next(line.split(" ")[1].partition("?")[0])
                if not isinstance(answer, bytes):
                    answer(connection)
                    return
                connection.sendall(answer)

    @staticmethod
    def _swallow(reader: BufferedReader) -> None:
        """Read what still comes, as closing before would reset the connection and lose the answer."""
        while reader.read1(_KEPT_BYTES):
            pass

    def _next(self, path: str) -> bytes | Answering:
        answers = self.answers.get(path, [said("204 No Content")])
        return answers.pop(0) if len(answers) > 1 else answers[0]


def said(status: str, headers: str = "", body: bytes = b"") -> bytes:
    """An ordinary answer."""
    length = "" if status.startswith("204") else f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status}\r\n{length}{headers}\r\n".encode("latin-1") + body


def _received(line: str, headers: list[tuple[str, str]], read: Callable[[int], bytes]) -> Received:
    lengths = [int(value) for name, value in headers if name.lower() == "content-length"]
    length = sum(lengths)
    digest, left, start = hashlib.sha256(), length, b""
    while left:
        piece = read(min(left, _KEPT_BYTES))
        if not piece:
            raise ConnectionResetError
        start = start or piece
        digest.update(piece)
        left -= len(piece)
    return Received(line, headers, start, length, digest.hexdigest())


@contextmanager
def sinking() -> Iterator[Sink]:
    """Serve on a free port until the end of the block."""
    sink = Sink()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sink._serve(cast(socket.socket, self.request))

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        sink.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield sink
        finally:
            sink.ended.set()
            server.shutdown()
            thread.join()
