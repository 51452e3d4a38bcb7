"""The store process: owns the database file and serves its verbs over a Unix socket."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from receiver import __version__, logs
from receiver.errors import ReceiverError, StoreDamaged, StoreError, StoreInUse, Unavailable
from receiver.lifeline import end_with_parent
from receiver.store import wire
from receiver.store.inspection import Inspection
from receiver.store.lock import StoreLock
from receiver.store.service import Service
from receiver.store.verbs import VERBS

EXIT_REFUSED = 2
EXIT_FATAL = 4
_LOCK_WAIT_SECONDS = 5.0
_EXPIRY_SECONDS = 1.0
_FIRST_PRUNE_SECONDS = 60.0
_FOR_EVER_SECONDS = 1e10


class Connection(asyncio.Protocol):
    """One client: every request is answered, in whatever order the answers come."""

    def __init__(self, service: Service, clients: set[Connection]) -> None:
        self._service = service
        self._clients = clients
        self._frames = wire.Frames()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_greeted = False
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self._clients.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.discard(self)
        self.transport = None
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            for number, verb, arguments in self._frames.feed(data):
                task = asyncio.get_running_loop().create_task(self._serve(number, verb, arguments))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (StoreError, ValueError, TypeError):
            if self.transport is not None:
                self.transport.abort()

    async def _serve(self, number: int, verb: str, arguments: Any) -> None:
        try:
            answer = wire.pack([number, await self._do(verb, arguments), None])
        except ReceiverError as error:
            name = type(error).__name__
            answer = wire.pack([number, None, [name if name in wire.ERRORS else "StoreError", str(error)]])
        if self.transport is not None:
            self.transport.write(answer)

    async def _do(self, verb: str, arguments: Any) -> Any:
        if verb == "hello":
            if arguments != wire.PROTOCOL:
                raise StoreError(
                    f"the running server is receiver {__version__}; use a command of that version"
                )
            self._is_greeted = True
            key = self._service.redactor_key.hex()
            return {"version": __version__, "run": self._service.run, "redactor_key": key}
        action = VERBS.get(verb)
        if action is None or not self._is_greeted:
            raise StoreError(f"unknown verb {verb!r}")
        return await action(self._service, arguments)


class Listener:
    """The socket of a service; `close` ends its clients, too."""

    def __init__(self, server: asyncio.AbstractServer, path: Path, clients: set[Connection]) -> None:
        self._server = server
        self._path = path
        self._clients = clients

    async def close(self) -> None:
        """Stop listening, end the clients and remove the socket's name."""
        self._server.close()
        for client in list(self._clients):
            if client.transport is not None:
                client.transport.close()
        self._path.unlink(missing_ok=True)


async def listen(service: Service, database: Path) -> Listener:
    """Serve a store's verbs on its socket, for this user only. The caller holds the store's lock."""
    path = wire.socket_path(database)
    path.unlink(missing_ok=True)  # a former store that was killed left its name behind
    clients: set[Connection] = set()
    loop = asyncio.get_running_loop()
    before = os.umask(0o177)
    try:
        with wire.short_name(path) as name:
            server = await loop.create_unix_server(lambda: Connection(service, clients), name)
    finally:
        os.umask(before)
    return Listener(server, path, clients)


async def run(
    database: Path,
    *,
    run_id: str,
    lease_seconds: float,
    must_exist: bool,
    keeping: Callable[[Service], Coroutine[Any, Any, None]] | None = None,
) -> int:
    """Be the store until a signal, or until the file can't be trusted; return the exit status.

    `keeping` removes what is old, beside the work.
    """
    log = logs.get()
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    def fail(error: BaseException) -> None:
        log.error("store.failed", reason=str(error))
        end(EXIT_FATAL)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0)
    service = Service(database, run=run_id, lease_seconds=lease_seconds, must_exist=must_exist, on_fatal=fail)
    listener = await listen(service, database)
    log.info("store.started", database=str(database), sqlite=sqlite3.sqlite_version)
    if service.applied:
        log.info("store.migrated", steps=[step.name for step in service.applied])
    inspection = Inspection(database, changes=service.changes)
    tasks = [loop.create_task(_expire(service, log)), loop.create_task(_inspect(inspection, service, log))]
    if keeping is not None:
        tasks.append(loop.create_task(keeping(service)))
    for task in tasks:
        task.add_done_callback(lambda task: _report(task, fail))
    status = await ended
    for task in tasks:
        task.cancel()
    inspection.stop()
    await listener.close()
    if status == EXIT_FATAL:
        await service.abandon()
    else:
        await service.close()
        log.info("store.stopped")
    return status


async def _expire(service: Service, log: Any) -> None:
    while True:
        await asyncio.sleep(_EXPIRY_SECONDS)
        try:
            for worker in await service.expire_leases():
                log.warning("worker.expired", worker=worker)
        except Unavailable:
            continue  # the next turn tries again


def _report(task: asyncio.Task[None], fail: Callable[[BaseException], None]) -> None:
    """A store that gives no worker's jobs back any more is better started again."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        fail(error)


async def _inspect(inspection: Inspection, service: Service, log: Any) -> None:
    service.damage = await inspection.problems()
    if service.damage:
        log.error("store.damaged", problems=service.damage)


def main() -> None:
    """`python -m receiver.store.process`, started by `serve`; not for people."""
    parser = argparse.ArgumentParser(prog="receiver.store.process")
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--lease-seconds", type=float, required=True)
    parser.add_argument("--must-exist", action="store_true", help="for a store that is started again")
    parser.add_argument("--bodies", type=Path, help="the folder of the body files; without it all is kept")
    for name in ("events", "dead", "bodies"):
        parser.add_argument(f"--keep-{name}-seconds", type=float, default=_FOR_EVER_SECONDS)
    parser.add_argument("--prune-after-seconds", type=float, default=_FIRST_PRUNE_SECONDS)
    parser.add_argument("--log-format", default="auto")
    parser.add_argument("--log-level", default="info")
    options = parser.parse_args()
    os.umask(0o077)
    # Rows make no cycles, but the newest events are many objects to look through: a tenth of the time.
    gc.set_threshold(50_000, 50, 100)
    end_with_parent()
    logs.configure(style=options.log_format, level=options.log_level, waits=False)
    try:
        lock = StoreLock(options.database, wait_seconds=_LOCK_WAIT_SECONDS)
        try:
            status = _loop_runner(
                run(
                    options.database,
                    run_id=options.run,
                    lease_seconds=options.lease_seconds,
                    must_exist=options.must_exist,
                    keeping=_keeping(options),
                )
            )
        finally:
            lock.release()
    except (StoreInUse, StoreDamaged, StoreError) as error:
        sys.exit(_refuse(str(error)))
    except OSError as error:
        sys.exit(_refuse(f"{options.database}: {error.strerror}"))
    sys.exit(status)


def _keeping(options: argparse.Namespace) -> Callable[[Service], Coroutine[Any, Any, None]] | None:
    if options.bodies is None:
        return None

    async def keep_up(service: Service) -> None:
        from receiver import retention  # a minute after the start, at the earliest
        from receiver.bodies import Bodies

        await asyncio.sleep(options.prune_after_seconds)
        ages = retention.Ages(
            options.keep_events_seconds, options.keep_dead_seconds, options.keep_bodies_seconds
        )
        await retention.keep_up(service, Bodies(options.bodies), ages, log=logs.get())

    return keep_up


def _refuse(reason: str) -> int:
    sys.stderr.write(f"receiver: {reason}\n")
    return EXIT_REFUSED


def _loop_runner(main: Any) -> int:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return int(runner.run(main))


if __name__ == "__main__":
    main()
