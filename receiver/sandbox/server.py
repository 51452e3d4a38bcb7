"""Serves a sandbox inside the running event loop, on a loopback socket that is bound before anything else."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import uvicorn

from receiver.errors import UsageError
from receiver.sandbox.app import create_app
from receiver.sandbox.options import Options, Tell, silent
from receiver.sandbox.videos import find_ffmpeg

_STOP_SECONDS = 2


@asynccontextmanager
async def serving(
    options: Options, *, tell: Tell = silent, find: Callable[[], str | None] = find_ffmpeg
) -> AsyncIterator[str]:
    """Serve until the block is left; gives the base URL, for example `http://127.0.0.1:8100`.

    `find` gives the path of an ffmpeg, or None to do without. Signals stay with the caller. Raise
    UsageError when the port can't be had.
    """
    listener = _listen(options)
    errors = logging.getLogger("uvicorn.error")
    errors.addFilter(_is_no_cut)
    options = replace(options, port=listener.getsockname()[1])
    server = _Server(_config(options, tell, find))
    task = asyncio.create_task(server.serve(sockets=[listener]), name="sandbox")
    try:
        await _started(server, task)
        yield options.base_url
    finally:
        server.should_exit = True
        await task
        errors.removeFilter(_is_no_cut)


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, with an event for having started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_ready.set()


def _is_no_cut(record: logging.LogRecord) -> bool:
    """Whether a line is no complaint about an answer that was cut short on purpose."""
    return "without completing response" not in record.getMessage()


def _config(options: Options, tell: Tell, find: Callable[[], str | None]) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(options, tell=tell, find=find),
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )


def _listen(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((options.address, options.port))
        # Without it two sandboxes could both bind the port, and the later one would fail only further on.
        listener.listen()
    except OSError as error:
        listener.close()
        raise UsageError(_why_not(options, error)) from error
    return listener


def _why_not(options: Options, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {options.port} is in use: choose another with --port, or --port 0 for a free one"
    return f"can't listen on {options.address} port {options.port}: {error.strerror}"


async def _started(server: _Server, task: asyncio.Task[None]) -> None:
    ready = asyncio.create_task(server.is_ready.wait())
    await asyncio.wait((ready, task), return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if task.done():  # it could not start: that is the error to raise
        task.result()
