"""uvicorn's server, started and stopped by us, with our protocol and limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Generator

import uvicorn

from receiver.answers import Receive, Scope, Send
from receiver.protocol import IDLE_SECONDS, Protocol

App = Callable[[Scope, Receive, Send], Awaitable[None]]
_TICKS_BETWEEN_LOOKS = 10


class Server(uvicorn.Server):
    """uvicorn's server, told to stop by us instead of by its own signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        """Set when connections are accepted."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the composition root."""
        yield

    async def on_tick(self, counter: int) -> bool:
        """Once a second, look for connections that are overdue."""
        if counter % _TICKS_BETWEEN_LOOKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Protocol):
                    connection.end_if_late(now)
        return await super().on_tick(counter)

    def stop(self) -> None:
        """Stop accepting, finish what is under way, end `serve`."""
        self.should_exit = True


def create(app: App, *, stop_seconds: int) -> Server:
    """A server for one ASGI app; `serve(sockets=[…])` runs it until `stop`."""
    for name in ("uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(IDLE_SECONDS),
        timeout_graceful_shutdown=stop_seconds,
        backlog=2048,
    )
    return Server(config)


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raise OSError with the system's reason."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
