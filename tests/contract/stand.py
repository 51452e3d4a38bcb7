"""The stores under test, the arrivals that they are given, and a fault that can be planted in their file."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from receiver.errors import StoreDown
from receiver.model import EVENT_TYPES
from receiver.record import Arrival, JobRow, Wish
from receiver.store.base import Store
from receiver.store.remote import Remote
from receiver.store.replays import Begun, Made
from receiver.store.service import Service
from receiver.store.values import EventFilter, Row, Settlement

AGES_AGO = 1_700_000_000_000
"""Unix milliseconds: whatever arrived then is due by now."""
PATIENCE_SECONDS = 15.0
ANY = EventFilter()

_TYPES = {"completed": "video.completed", "failed": "video.failed", "progress": "video.progress"}


def arrival(video: str = "v1", what: str = "completed", **changes: Any) -> Arrival:
    """A delivery of news about a video; `changes` replaces any other field."""
    plain = Arrival(
        event_id=f"evt_{uuid.uuid4().hex[:28]}",
        source="opennote",
        kind="opennote",
        identity=f"{video}@org",
        what=what,
        type=_TYPES.get(what, "video.unknown"),
        video_id=video,
        status=what,
        progress=None,
        title="A title",
        content=None,
        warnings=[],
        received_at=AGES_AGO,
        via="callback",
        method="POST",
        path="/webhooks/opennote",
        headers='[["content-type","application/json"]]',
        size=13,
        body='{"status": 1}',
        body_sha256=None,
        payload=None,
        strings=None,
        jobs=[],
    )
    return plain._replace(**changes)


def ready(*handlers: str) -> list[JobRow]:
    """Planned jobs that wait for nobody."""
    return [(handler, "ready", None, None) for handler in handlers]


def waiting(handler: str, after: str) -> JobRow:
    """A planned job that waits for another one."""
    return (handler, "waiting", after, None)


def card(name: str, *, after: str | None = None) -> Row:
    """A handler of every event, as its JSON object."""
    fields = {"name": name, "types": list(EVENT_TYPES), "source": None, "after": after}
    return {**fields, "attempts": 20, "timeout_seconds": 600.0, "concurrency": None, "summary": ""}


def cards(*plan: JobRow) -> list[Row]:
    """The handlers that such a plan is made from."""
    return [card(handler, after=after) for handler, _, after, _ in plan]


def begun(replay: str) -> Begun:
    """A replay that begins."""
    return Begun(replay, "a test", "{}", None, 1, AGES_AGO)


async def replayed(
    store: Store, replay: str, events: Sequence[str], *plan: JobRow, handlers: Sequence[str] = ()
) -> Made:
    """Make new jobs of some events, whatever became of the old ones: all of the plan, or these."""
    await store.replays.begin(begun(replay))
    seqs = await store.replays.find(events)
    return await store.replays.make(replay, seqs, Wish(cards(*plan), handlers, again=not handlers))


def settlement(job: Row, move: str = "finish", **changes: Any) -> Settlement:
    """How a claimed job ended."""
    plain = Settlement(job["job"], job["claim"], move, AGES_AGO + 5000, None, None, None)
    return plain._replace(**changes)


async def claim(store: Store, worker: str, *handlers: str, count: int = 100, wait_ms: int = 0) -> list[Row]:
    """Claim whatever is due of some handlers, with plenty of free slots."""
    return await store.claim(worker, dict.fromkeys(handlers, 100), count=count, wait_ms=wait_ms)


async def claim_one(store: Store, worker: str, handler: str, *, wait_ms: int = 0) -> Row:
    """Claim the only due job of a handler."""
    (job,) = await claim(store, worker, handler, wait_ms=wait_ms)
    return job


async def jobs_of(store: Store, event: str) -> dict[str, Row]:
    """The jobs of an event, by handler."""
    return {job["handler"]: job for job in (await store.event(event))["jobs"]}


async def states_of(store: Store, event: str) -> dict[str, str]:
    """The states of an event's jobs, by handler."""
    return {handler: job["state"] for handler, job in (await jobs_of(store, event)).items()}


async def outcomes_of(store: Store, event: str) -> list[tuple[str, int, str]]:
    """The attempts at an event's jobs: outcome, number, worker."""
    attempts: Sequence[Row] = (await store.event(event))["attempts"]
    return [(attempt["outcome"], attempt["number"], attempt["worker"]) for attempt in attempts]


# The stores.


class Opening(Protocol):
    """Opens one kind of store over a database file."""

    def __call__(
        self, database: Path, *, lease_seconds: float = ..., run: str = ...
    ) -> AbstractAsyncContextManager[Store]:
        """Open it; the end of the context closes it."""


@asynccontextmanager
async def in_this_process(
    database: Path, *, lease_seconds: float = 60.0, run: str = "run1"
) -> AsyncIterator[Store]:
    """The service itself, with its leases looked after."""
    service = Service(database, run=run, lease_seconds=lease_seconds)
    expiry = asyncio.create_task(_expire(service))
    try:
        yield service
    finally:
        expiry.cancel()
        await asyncio.wait([expiry])
        await service.close()


async def _expire(service: Service) -> None:
    while True:
        await service.expire_leases()
        await asyncio.sleep(0.02)


@asynccontextmanager
async def in_its_own_process(
    database: Path, *, lease_seconds: float = 60.0, run: str = "run1"
) -> AsyncIterator[Store]:
    """A store process and its client."""
    process = StoreProcess(database, lease_seconds=lease_seconds, run=run)
    try:
        remote = await process.connected()
        try:
            yield remote
        finally:
            await hang_up(remote)
    finally:
        process.stop()


OPENINGS: dict[str, Opening] = {"service": in_this_process, "process": in_its_own_process}


class StoreProcess:
    """A store in a process of its own, as `serve` starts it."""

    def __init__(
        self,
        database: Path,
        *,
        lease_seconds: float = 60.0,
        run: str = "run1",
        more: Mapping[str, str] = MappingProxyType({}),
        program: Sequence[str] = ("-m", "receiver.store.process"),
    ) -> None:
        """`more` options, beside those that every store has; `program`: what Python runs."""
        self.database = database
        self.log = database.with_name(f"{database.name}.{run}.log")
        options = {"--database": database, "--run": run, "--lease-seconds": lease_seconds, **more}
        command = [sys.executable, *program]
        command += [str(part) for option in options.items() for part in option]
        database.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, stdout=log)

    @property
    def number(self) -> int:
        """Its process id."""
        return self._process.pid

    async def connected(self) -> Remote:
        """A client of it, as soon as it serves."""
        remote = Remote(self.database)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await remote.connect()
            except StoreDown:
                assert self._process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
            await asyncio.sleep(0.01)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._reap()

    def stop(self) -> None:
        """End it as `serve` does."""
        self._process.terminate()
        assert self._reap() <= 0, self.log.read_text()

    def exit_status(self) -> int:
        """Wait for an end that nobody asks for."""
        return self._reap()

    def _reap(self) -> int:
        status = self._process.wait(PATIENCE_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()
        return status


async def hang_up(remote: Remote) -> None:
    """Close a client, and let its socket close, too."""
    await remote.close()
    await asyncio.sleep(0)


@contextmanager
def failing(database: Path, statement: str) -> Iterator[None]:
    """Let every statement of a kind ("INSERT ON deliveries") fail for the time being."""
    trigger = f"CREATE TRIGGER fault BEFORE {statement} BEGIN SELECT RAISE(ABORT, 'planted'); END"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(trigger)
        try:
            yield
        finally:
            connection.execute("DROP TRIGGER fault")
