"""uvicorn's server, started and stopped by us, with our protocol and limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Awaitable, Callable, Generator
from functools import partial

import uvicorn

from receiver.answers import Receive, Scope, Send
from receiver.protocol import IDLE_SECONDS, MOST_CONNECTIONS, Protocol

App = Callable[[Scope, Receive, Send], Awaitable[None]]
_TICKS_BETWEEN_LOOKS = 10
_LATECOMER_SECONDS = 0.2


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
            for connection in self._connections():
                connection.end_if_late(now)
        return await super().on_tick(counter)

    def _connections(self) -> list[Protocol]:
        return [each for each in self.server_state.connections if isinstance(each, Protocol)]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in, end idle connections, and let those finish that are not idle."""
        for server in self.servers:
            server.close()
        known = [connection for connection in self._connections() if connection.cycle is not None]
        for connection in known:
            connection.shutdown()
        if len(known) < len(self._connections()):
            # The others may have come in a moment ago, with no time yet to say anything: uvicorn would
            # take them for idle, and their requests would be lost.
            await asyncio.sleep(_LATECOMER_SECONDS)
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Stop accepting, finish what is under way, end `serve`."""
        self.should_exit = True


def create(app: App, *, stop_seconds: int, most_connections: int | None = None) -> Server:
    """A server for one ASGI app; `serve(sockets=[…])` runs it until `stop`.

    `most_connections` may be open at the same time; unless it is given, so many that a quarter of our
    descriptors is left for files.
    """
    for name in ("uvicorn.error", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        http=partial(Protocol, most_connections=most_connections or _fitting()),  # type: ignore[arg-type]
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


def _fitting() -> int:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(MOST_CONNECTIONS, descriptors * 3 // 4) if descriptors > 0 else MOST_CONNECTIONS
