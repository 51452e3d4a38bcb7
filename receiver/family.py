"""The processes of one `serve`, or of who listens: started, watched, and ended in their order."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import orjson

from receiver import logs, settings
from receiver.crew import Crew
from receiver.errors import CommandFailed, SettingsError, StoreDown, UsageError
from receiver.roster import cards_of_child
from receiver.router import HandlerCard
from receiver.settings import Settings
from receiver.sources.base import OWN_JOBS
from receiver.store.remote import Remote
from receiver.supervisor import REFUSED, Child

if TYPE_CHECKING:
    from receiver.front import Front

_STORE_START_SECONDS = 30.0
_POLL_SECONDS = 0.01
_WORKER_STOP_SECONDS = 13.0
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line says beside the configuration."""

    host: str
    port: int
    specs: tuple[str, ...]
    """SPECs of the command line, instead of those of the configuration; empty = the latter."""
    workers: int
    descriptor: int | None = None
    """A socket that listens already, instead of host and port."""
    worker_options: tuple[str, ...] = ()
    """More of them for the workers."""
    is_guest: bool = False
    """Whether it is beside a running `serve`, with workers of its own at that one's store."""


class Family:
    """The processes of one `serve`, and what it needs of them."""

    def __init__(self, config: Settings, options: ServeOptions) -> None:
        self.log = logs.get()
        self._config = config
        self._options = options
        # What a guest's workers hold is left to them when the server beside them is started again.
        self._run = ("external/" if options.is_guest else "") + secrets.token_hex(4)
        self._started_at = time.time()
        self.store = self._store = Remote(config.database, run=None if options.is_guest else self._run)
        self._cards: list[HandlerCard] = []
        self._store_child = Child("store", self._store_command, log=self.log)
        self._crew = Crew(
            options.workers,
            run=self._run,
            store=self._store,
            arguments=self._worker_command,
            max_memory=config.worker.max_memory,
            log=self.log,
        )
        self._poller = Child("poller", self._poll_command, log=self.log, may_refuse=False)
        self._starting: asyncio.Task[None] | None = None
        self._front: Front | None = None
        self._list_to: int | None = None

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
        options |= {"--bodies": self._config.bodies_folder}
        for name, age in self._config.retention:
            options[f"--keep-{name}-seconds"] = age.total_seconds()
        flat = [str(part) for option in options.items() for part in option]
        again = ["--must-exist"] if generation > 1 else []
        return ["-m", "receiver.store.process", *flat, *again]

    def _worker_command(self, name: str) -> list[str]:
        is_first = self._list_to is not None
        listing = ["--list-to", str(self._list_to)] if is_first else []
        options = [*self._config_arguments(), "--name", name, *listing, *self._spec_arguments()]
        return ["-m", "receiver.worker", *options, *self._options.worker_options]

    def _poll_command(self, generation: int) -> list[str]:
        return ["-m", "receiver.poll", *self._config_arguments(), "--run", self._run]

    # Starting.

    async def start(self) -> None:
        """Start the store and a worker, and learn from the latter which handlers there are."""
        if not self._options.is_guest:
            await self._store_child.start()
        reader = await self._start_first_worker() if self._crew.workers else None
        listing = asyncio.create_task(self._list_handlers(reader))
        connecting = asyncio.create_task(self._connect())
        try:
            await asyncio.sleep(0)  # the children are under way
            import_module("receiver.front")  # what answers senders, while they import theirs
            await asyncio.gather(connecting, listing)
            if not self._options.is_guest:
                await self._store.publish([asdict(card) for card in self._cards])
        finally:
            listing.cancel()
            connecting.cancel()

    async def _start_first_worker(self) -> int:
        """Return the descriptor on which it lists its handlers; its other output may be anything."""
        reader, writer = os.pipe()
        self._list_to = writer
        with ExitStack() as failing:
            failing.callback(os.close, reader)
            try:
                await self._crew.workers[0].start(descriptors=(writer,))
            finally:
                self._list_to = None
                os.close(writer)
            failing.pop_all()
        return reader

    async def _list_handlers(self, reader: int | None) -> None:
        self._cards = await (self._cards_of_child() if reader is None else self._cards_of_worker(reader))
        self._crew.handlers = frozenset(card.name for card in self._cards) | OWN_JOBS
        self.log.info("handlers.loaded", handlers=[card.name for card in self._cards])

    async def _cards_of_worker(self, reader: int) -> list[HandlerCard]:
        line = await asyncio.to_thread(_all_of, reader)
        if line.endswith(b"\n"):
            self._crew.workers[0].may_refuse = False  # from now on that status is a handler's
            return [HandlerCard.from_json(card) for card in orjson.loads(line)]
        status = await self._crew.workers[0].first_status
        if status == REFUSED:
            raise UsageError("")  # the worker has said why
        raise CommandFailed(f"the handlers could not be listed: a worker ended with status {status}")

    async def _cards_of_child(self) -> list[HandlerCard]:
        """Where there is no worker, hear from a child that loads the handlers and ends."""
        return await cards_of_child(self._config.file, self._options.specs)

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

    async def open(self, listener: socket.socket) -> None:
        """Answer senders, now that the store and the handlers are known; start the other workers."""
        from receiver.front import Front

        self._front = Front(
            self._config,
            store=self._store,
            cards=self._cards,
            started_at=self._started_at,
            needs_worker=bool(self._crew.workers),
            log=self.log,
        )
        await self._front.open(listener)
        await self.work()

    async def work(self) -> None:
        """Start the workers that there are beside the first."""
        await self._crew.start_others()
        if self._crew.workers:
            self._crew.watch()

    async def start_poller(self) -> None:
        """Ask about videos, as soon as there is a provider that can be asked."""
        if self._front is not None and self._front.can_ask and self._poller.generation == 0:
            try:
                await self._poller.start()
            except OSError as error:  # no process or descriptor is left; what calls back is received as ever
                self.log.error("process.died", name=self._poller.name, reason=error.strerror)

    @property
    def cards(self) -> list[HandlerCard]:
        """The handlers of the workers."""
        return self._cards

    def reload(self) -> None:
        """Read credentials and handler settings afresh; a bad file changes nothing."""
        try:
            config = settings.load(str(self._config.file) if self._config.file else None)
        except SettingsError as error:
            self.log.error("settings.refused", reason=str(error))
            return
        if self._front is not None:
            self._front.use(config)
        self._crew.signal(signal.SIGHUP)
        self._poller.signal(signal.SIGHUP)
        self._starting = asyncio.create_task(self.start_poller())
        self.log.info("settings.reloaded", sources=sorted(config.sources))

    # Ending: first nobody comes in, then nobody works, then nothing is kept open.

    async def drain(self) -> None:
        """Let the endpoint and the workers finish, together."""
        if self._starting is not None:
            await self._starting
        stopping = [self._crew.stop(seconds=_WORKER_STOP_SECONDS), self._poller.stop(seconds=_STOP_SECONDS)]
        await asyncio.gather(*([self._front.drain()] if self._front else []), *stopping)

    async def stop(self) -> None:
        """End whatever child still lives, the store last."""
        await asyncio.gather(self._crew.stop(seconds=1.0), self._poller.stop(seconds=1.0))
        if self._front is not None:
            await self._front.close()
        await self._store.close()
        await self._store_child.stop(seconds=_STOP_SECONDS)


def _all_of(descriptor: int) -> bytes:
    with open(descriptor, "rb") as pipe:
        return pipe.read()
