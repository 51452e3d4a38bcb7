"""A provider's API on loopback that answers as a test says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.acceptance.conftest import KEY, callback

Reply = tuple[int, Mapping[str, Any], Mapping[str, str]]
"""Status, JSON object, headers."""


def ok(payload: Mapping[str, Any], **headers: str) -> Reply:
    """A 200."""
    return 200, payload, {name.replace("_", "-"): value for name, value in headers.items()}


def pending(video: str, progress: float = 10.0, status: str = "pending") -> dict[str, Any]:
    """A video that is still being made."""
    return callback(video, status) | {"completion_percentage": progress}


@dataclass
class Provider:
    """Opennote's status endpoint."""

    answer: Callable[[str], Reply] = lambda video: ok(pending(video))
    """What is said of a video, by its id."""
    url: str = ""
    keys: set[str] = field(default_factory=lambda: {KEY})
    asked: list[tuple[float, str]] = field(default_factory=list)
    """When (monotonic) about which video."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def times(self, video: str) -> list[float]:
        """When was asked about a video."""
        return [at for at, about in list(self.asked) if about == video]

    def reply(self, path: str, authorization: str | None) -> Reply:
        """Answer one request."""
        video = path.rpartition("/")[2]
        with self.lock:
            self.asked.append((time.monotonic(), video))
        if authorization not in {f"Bearer {key}" for key in self.keys}:
            return 401, {"error": "unauthorized", "message": "who are you?"}, {}
        return self.answer(video)


@contextmanager
def providing() -> Iterator[Provider]:
    """Serve on a free port until the end of the block, keeping connections."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, payload, headers = provider.reply(self.path, self.headers["Authorization"])
            body = json.dumps(payload).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            with suppress(ConnectionError):  # who asked may be gone
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        provider.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()


def asking(provider: Provider, **watch: Any) -> str:
    """Configuration for asking it, with quick intervals, whatever else this machine does."""
    quick = {"missed_after": "300ms", "first_interval": "200ms", "longest_interval": "500ms"}
    keys = {**quick, "requests_per_second": 50, **watch}
    lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
    return "\n".join(
        [f'api_url = "{provider.url}"', "[watch]", *lines, "[worker]", 'priority = "normal"', ""]
    )
