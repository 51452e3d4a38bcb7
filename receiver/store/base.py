"""Storage as four small protocols of verbs: intake, jobs, reads, upkeep.

All times are unix milliseconds, UTC. Every verb may raise StoreDown (not reachable) or Unavailable
(reachable, but it can't write now).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from receiver.record import Arrival
from receiver.store.values import (
    EventFilter,
    Keep,
    Lost,
    Pruned,
    Receipt,
    Recorded,
    Rejection,
    Row,
    Settlement,
    Stretch,
)

if TYPE_CHECKING:
    from receiver.store.copies import Copies
    from receiver.store.findings import Findings
    from receiver.store.replays import Replays
    from receiver.store.submissions import Submissions
    from receiver.store.watches import Watches


class Intake(Protocol):
    """What ingress writes."""

    def record_soon(self, arrival: Arrival, recorded: Recorded) -> None:
        """Do what `record` does, without anybody who waits: call `recorded` from the loop, later."""
        ...

    async def record(self, arrival: Arrival) -> Receipt:
        """Make a delivery, its event and its jobs durable, or one more delivery of a known event."""
        ...

    async def reject(self, rejections: Sequence[Rejection]) -> None:
        """Add to the bounded list of rejections."""
        ...


class Jobs(Protocol):
    """What workers do with jobs."""

    async def claim(
        self, worker: str, free: Mapping[str, int], *, count: int, wait_ms: int, alone: bool = False
    ) -> list[Row]:
        """Claim up to `count` due jobs, of each handler at most its free slots.

        Wait up to `wait_ms` for one to be due. Each row holds the job, its claim number, its event
        and the body, as the query `claimed_jobs` names them, and `results` of finished jobs. Jobs whose
        process died are given only to a worker that runs them `alone`, and it gets no others.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement], *, worker: str) -> list[bool]:
        """End attempts; False where the claim is no longer this worker's."""
        ...

    async def renew(self, worker: str, jobs: Sequence[int] | None) -> None:
        """Say that a worker lives and which jobs it has: its lease runs anew from now.

        A job that it holds but does not know of, twice in a row, is given back: the answer to a claim was
        lost. None says nothing of its jobs.
        """
        ...

    async def release(self, worker: str, *, died: str | None = None) -> list[Lost]:
        """Give back all jobs of a worker that is gone, and say which.

        They are ready at once. When its process `died` (say why: "…its worker ran out of memory"), any of
        them may have been the reason, and each runs alone from now on, until it ends in any other way; one
        that was alone then is to blame for sure, and dead when that has happened three times.
        """
        ...

    async def suspects(self) -> dict[str, int]:
        """How many jobs of which handler wait to be run alone."""
        ...


class Reads(Protocol):
    """What people look at."""

    async def events(self, wanted: EventFilter, *, limit: int, before: int | None) -> list[Row]:
        """A page of events with their jobs, newest first; `before` is the `seq` of the last page's end."""
        ...

    async def following(self, wanted: EventFilter, *, limit: int, after: int) -> Stretch:
        """The next events with their jobs after a `seq`, in the order in which they were committed."""
        ...

    async def id_of(self, seq: int) -> str | None:
        """Which event has a `seq`; None when there is none (any more)."""
        ...

    async def newest(self, *, after: int, wait_ms: int) -> int:
        """The highest `seq` that was ever given; wait up to `wait_ms` for one after `after`."""
        ...

    async def event(self, prefix: str) -> Row:
        """One event with deliveries, jobs, attempts and the watch of its video. Raise NotFound.

        Of more than a hundred deliveries it has the first one and the newest; `arrivals` counts all of them.
        """
        ...

    async def rejections(self, *, limit: int) -> list[Row]:
        """The last rejections, newest first."""
        ...

    async def probe(self) -> list[str]:
        """Write something, and return the workers that live.

        Raise Unavailable when it can't write; StoreError when the file is damaged, or jobs of workers
        that are silent are not given back.
        """
        ...

    async def status(self) -> Row:
        """Whether it can write (it tries), which workers live, how many jobs are in each state."""
        ...

    async def figures(self) -> Row:
        """What metrics show: cheap whatever is stored, and nothing is written.

        `jobs` by state, `attempts` by outcome since the store started, `oldest_ready_seconds` that a
        due job has waited, `workers` that live, `lease_check_seconds` since jobs of silent ones were last
        given back, `wal_bytes`; `watches` that are open, `polls` by outcome.
        """
        ...

    async def bodies_in_use(self, digests: Sequence[str]) -> list[str]:
        """Which of these body files have a row."""
        ...

    async def all_bodies(self) -> list[str]:
        """Every body file that a row names."""
        ...


class Upkeep(Protocol):
    """What removes what is old."""

    async def prune(self, keep: Keep, step: Sequence[Any] | None = None, *, count: int = 20) -> Pruned:
        """Remove what is old of `count` events, in one transaction; go on with the `step` that it returns.

        Never an event with a job that is to be done yet. The body files are the caller's to remove.
        """
        ...

    async def prunable(self, keep: Keep) -> Pruned:
        """What all steps would remove."""
        ...


class Store(Intake, Jobs, Reads, Upkeep, Protocol):
    """All of them, and its end."""

    redactor_key: bytes
    """The key of the fingerprints of credentials, made with the database."""

    @property
    def copies(self) -> Copies:
        """The verbs of what was recorded elsewhere."""
        ...

    @property
    def replays(self) -> Replays:
        """The verbs of replays."""
        ...

    @property
    def findings(self) -> Findings:
        """What providers say of events that are recorded already."""
        ...

    @property
    def watches(self) -> Watches:
        """The videos that are asked about."""
        ...

    @property
    def submissions(self) -> Submissions:
        """What was asked of providers."""
        ...

    async def publish(self, cards: Sequence[Row]) -> None:
        """Remember which handlers there are: what new events get jobs for, whoever records them."""
        ...

    async def published(self) -> list[Row]:
        """The cards of the handlers that a server named last."""
        ...

    async def check(self) -> list[str]:
        """A full integrity check; the problems found, none when all is well."""
        ...

    async def backup(self, target: Path) -> list[str]:
        """Copy the database, as it is at one moment, into a new file; return the body files that it names.

        Raise StoreError or OSError.
        """
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


def resolve(future: asyncio.Future[Receipt], result: Receipt | Exception) -> None:
    """Let a future have what was `recorded`, unless nobody waits any more."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
