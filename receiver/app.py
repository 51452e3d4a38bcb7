"""`serve`, put together: the store, the workers, the endpoint; started, watched and ended in order."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from receiver import __version__, logs, settings, sources
from receiver.bodies import Bodies
from receiver.endpoint import Application
from receiver.errors import CommandFailed, SettingsError, StoreDown, StoreError, Unavailable, UsageError
from receiver.ingress import Ingress
from receiver.peers import BadCredentials, TrustedProxies
from receiver.rejections import Rejections
from receiver.router import HandlerCard
from receiver.server import Server, bind, create
from receiver.settings import Settings
from receiver.store.remote import Remote
from receiver.store.service import wall_ms
from receiver.supervisor import Child, output_of

_STORE_START_SECONDS = 30.0
_POLL_SECONDS = 0.01
_UPLOAD_STOP_SECONDS = 5
_WORKER_STOP_SECONDS = 13.0
_STORE_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line says beside the configuration."""

    host: str
    port: int
    specs: tuple[str, ...]
    """SPECs of the command line, instead of those of the configuration; empty = the latter."""
    workers: int


async def serve(config: Settings, options: ServeOptions, *, on_started: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT. Call `on_started` with the base URL when callbacks are welcome.

    Raise UsageError for a port in use, handlers that can't be loaded, or a store that refuses;
    its text is empty when a child has said already what is wrong.
    """
    listener = _listener(options)
    family = _Family(config, options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        started = asyncio.create_task(family.start())
        if not await _unless(stop, started):
            return
        server = create(family.application(), stop_seconds=_UPLOAD_STOP_SECONDS)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.ready.wait()
        await family.start_workers()
        host, port = listener.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        loop.add_signal_handler(signal.SIGHUP, family.reload)
        family.log.info("server.started", url=url, sources=sorted(config.sources), version=__version__)
        on_started(url)
        await stop.wait()
        family.log.info("server.stopping")
        await family.stop_workers_and(server, serving)
    finally:
        listener.close()
        await family.stop()
    family.log.info("server.stopped")


def _listener(options: ServeOptions) -> Any:
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


def _card(line: bytes) -> HandlerCard:
    try:
        return HandlerCard.from_json(orjson.loads(line)["card"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        said = line[:80].decode("utf-8", "replace")
        mend = "let handler modules print to standard error"
        raise CommandFailed(
            f"the handlers can't be listed: standard output has the line {said!r}; {mend}"
        ) from error


class _Family:
    """The processes of one `serve`, and what it needs of them."""

    def __init__(self, config: Settings, options: ServeOptions) -> None:
        self.log = logs.get()
        self._config = config
        self._options = options
        self._run = secrets.token_hex(4)
        self._started_at = time.time()
        self._store = Remote(config.database, run=self._run)
        self._bodies = Bodies(config.bodies_folder, reserve=config.bodies.reserve)
        self._cards: list[HandlerCard] = []
        self._store_child = Child("store", self._store_command, log=self.log)
        self._workers = [self._worker(number) for number in range(1, options.workers + 1)]
        self._rejections = Rejections(self._store, wall=wall_ms, log=self.log)
        self._sweeping: asyncio.Task[None] | None = None

    # Commands of the children.

    def _config_arguments(self) -> list[str]:
        return ["--config", str(self._config.file.absolute())] if self._config.file else []

    def _spec_arguments(self) -> list[str]:
        return [argument for spec in self._options.specs for argument in ("--handlers", spec)]

    def _store_command(self, generation: int) -> list[str]:
        log = self._config.log
        lease = self._config.worker.lease.total_seconds()
        options = {"--database": self._config.database, "--run": self._run, "--lease-seconds": lease}
        options |= {"--log-format": log.format, "--log-level": log.level}
        flat = [str(part) for option in options.items() for part in option]
        again = ["--must-exist"] if generation > 1 else []
        return ["-m", "receiver.store.process", *flat, *again]

    def _worker(self, number: int) -> Child:
        def command(generation: int) -> list[str]:
            name = ["--name", self._worker_name(number, generation)]
            return ["-m", "receiver.worker", *self._config_arguments(), *name, *self._spec_arguments()]

        async def bury(generation: int) -> None:
            try:
                await self._store.release(self._worker_name(number, generation), died=True)
            except (Unavailable, StoreError):
                return  # the lease runs out

        return Child(f"worker {number}", command, log=self.log, on_death=bury)

    def _worker_name(self, number: int, generation: int) -> str:
        return f"{self._run}/{number}.{generation}"

    # Starting.

    async def start(self) -> None:
        """Start the store and learn which handlers there are, side by side."""
        await self._store_child.start()
        listing = asyncio.create_task(self._list_handlers())
        connecting = asyncio.create_task(self._connect())
        try:
            await asyncio.gather(connecting, listing)
        finally:
            listing.cancel()
            connecting.cancel()

    async def _list_handlers(self) -> None:
        arguments = [
            "-m",
            "receiver",
            *self._config_arguments(),
            "handlers",
            "--json",
            *self._spec_arguments(),
        ]
        lines = (await output_of(arguments)).splitlines()
        self._cards = [_card(line) for line in lines]
        self.log.info("handlers.loaded", handlers=[card.name for card in self._cards])

    async def _connect(self) -> None:
        deadline = asyncio.get_running_loop().time() + _STORE_START_SECONDS
        while True:
            try:
                await self._store.connect()
                return
            except StoreDown as error:
                if self._store_child.refused.done():
                    raise UsageError("") from error  # the child has said why
                if asyncio.get_running_loop().time() > deadline:
                    raise CommandFailed("the store did not start") from error
            await asyncio.sleep(_POLL_SECONDS)

    def application(self) -> Application:
        """The ASGI application, once the store and the handlers are known."""
        self._ingress = Ingress(
            sources.configured(self._config, redactor_key=self._store.redactor_key),
            cards=self._cards,
            intake=self._store,
            bodies=self._bodies,
            rejections=self._rejections,
            bad_credentials=BadCredentials(clock=time.monotonic),
            wall=wall_ms,
            random=os.urandom,
            log=self.log,
            trusted_proxies=TrustedProxies(self._config.server.trusted_proxies),
        )
        self._sweeping = asyncio.create_task(self._sweep())
        return Application(self._ingress, store=self._store, needs_worker=self._options.workers > 0)

    def reload(self) -> None:
        """Read credentials and handler settings afresh; a bad file changes nothing."""
        try:
            config = settings.load(str(self._config.file) if self._config.file else None)
        except SettingsError as error:
            self.log.error("settings.refused", reason=str(error))
            return
        self._ingress.use(sources.configured(config, redactor_key=self._store.redactor_key))
        for worker in self._workers:
            worker.signal(signal.SIGHUP)
        self.log.info("settings.reloaded", sources=sorted(config.sources))

    async def start_workers(self) -> None:
        """Start the worker processes."""
        for worker in self._workers:
            await worker.start()

    async def _sweep(self) -> None:
        """Remove body files that an earlier run left without a row; report rows without a file."""
        try:
            report = await self._bodies.sweep(known=self._store.bodies_in_use, before=self._started_at)
            missing = await asyncio.to_thread(self._bodies.missing, await self._store.all_bodies())
        except (Unavailable, StoreError, OSError):
            return  # the next start sweeps again
        if report.temporary or report.orphans:
            self.log.info(
                "bodies.swept", temporary=report.temporary, orphans=report.orphans, bytes=report.freed
            )
        if missing:
            self.log.error("bodies.missed", digests=missing[:10], count=len(missing))

    # Ending: first nobody comes in, then nobody works, then nothing is kept open.

    async def stop_workers_and(self, server: Server, serving: asyncio.Task[None]) -> None:
        """Drain the endpoint and the workers together, then write what waits."""
        server.stop()
        stopping = [worker.stop(seconds=_WORKER_STOP_SECONDS) for worker in self._workers]
        await asyncio.gather(serving, *stopping)
        await self._rejections.close()

    async def stop(self) -> None:
        """End whatever child still lives, the store last."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        await asyncio.gather(*(worker.stop(seconds=1.0) for worker in self._workers))
        await self._store.close()
        await self._store_child.stop(seconds=_STORE_STOP_SECONDS)
        await asyncio.to_thread(self._bodies.close)
