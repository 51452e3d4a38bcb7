"""`serve`, put together: the store, the workers, the endpoint; started, watched and ended in order."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from receiver import __version__
from receiver.errors import UsageError
from receiver.family import Family, ServeOptions
from receiver.settings import Settings
from receiver.sockets import bind, inherited

__all__ = ["ServeOptions", "household", "serve"]


async def serve(config: Settings, options: ServeOptions, *, on_started: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT. Call `on_started` with the base URL when callbacks are welcome.

    Raise UsageError for a port in use, handlers that can't be loaded, or a store that refuses;
    its text is empty when a child has said already what is wrong.
    """
    listener = _listener(options)
    family = Family(config, options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        started = asyncio.create_task(family.start())
        if not await _unless(stop, started):
            return
        await family.open(listener)
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        loop.add_signal_handler(signal.SIGHUP, family.reload)
        family.log.info("server.started", url=url, sources=sorted(config.sources), version=__version__)
        on_started(url)
        await family.start_poller()
        await stop.wait()
        family.log.info("server.stopping")
        await family.drain()
    finally:
        listener.close()
        await family.stop()
    family.log.info("server.stopped")


@asynccontextmanager
async def household(config: Settings, options: ServeOptions) -> AsyncIterator[Family]:
    """A store and workers without an endpoint, for as long as this block lasts; then they finish in order.

    Raise as `serve` does.
    """
    family = Family(config, options)
    try:
        await family.start()
        await family.work()
        yield family
        await family.drain()
    finally:
        await family.stop()


def _listener(options: ServeOptions) -> socket.socket:
    if options.descriptor is not None:
        return inherited(options.descriptor)
    try:
        return bind(options.host, options.port)
    except (OSError, TypeError) as error:  # the second for a name that no network could have
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"can't listen on {options.host} port {options.port}: {reason}; choose another one with --port"
        ) from error


async def _unless(stop: asyncio.Event, task: asyncio.Task[None]) -> bool:
    """Wait for a task; give it up, and say False, when `stop` comes first."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        await task
        return True
    task.cancel()
    await asyncio.wait([task])
    return False
