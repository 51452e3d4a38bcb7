"""The store's verbs over SQLite: group commit, leases, and waking workers when jobs are due."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import orjson

from receiver.errors import StoreError, Unavailable, Unstorable
from receiver.life import Move
from receiver.record import Arrival
from receiver.store.bell import Bell, News
from receiver.store.clock import DueClock
from receiver.store.commits import GroupCommit
from receiver.store.leases import Leases
from receiver.store.looking import CARDS, Looking
from receiver.store.settling import Settling
from receiver.store.sqlite.copies import Copies
from receiver.store.sqlite.database import Database, refusal
from receiver.store.sqlite.findings import Findings
from receiver.store.sqlite.intake import Intake
from receiver.store.sqlite.jobs import LOST, OUTCOMES, Jobs
from receiver.store.sqlite.replays import Replays
from receiver.store.sqlite.retention import Retention
from receiver.store.sqlite.submissions import Submissions
from receiver.store.submitting import Submitting
from receiver.store.values import Keep, Lost, Pruned, Receipt, Recorded, Rejection, Row, Settlement
from receiver.store.watching import Watching

T = TypeVar("T")
_UNCHECKED_SECONDS = 10.0
"""After which it is no accident any more that nobody looked for silent workers."""
EXTERNAL = "external"
"""The run of a worker that no `serve` started: it outlives one."""


def wall_ms() -> int:
    """Now, in unix milliseconds."""
    return time.time_ns() // 1_000_000


class Service(Looking):
    """The store, in the process that owns the database file.

    `run` names the `serve` that this store belongs to. What workers of a former run held is given
    back at once; workers of this run and external ones, which may live on, get a lease from now.
    """

    def __init__(
        self,
        path: Path,
        *,
        run: str | None,
        lease_seconds: float,
        must_exist: bool = False,
        wall: Callable[[], int] = wall_ms,
        monotonic: Callable[[], float] = time.monotonic,
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        super().__init__(Database(path, now=wall(), must_exist=must_exist))
        self._jobs = Jobs(self._database)
        self._leases = Leases(lease_seconds, clock=monotonic)
        self._due = DueClock(wall, monotonic)
        self._bell = Bell()
        self._unknown: dict[str, set[int]] = {}
        self._attempts: Counter[str] = Counter()  # by outcome, since this start, those that are durable
        self.run = run
        self.damage: list[str] = []
        """What an inspection has found; not empty = not ready."""
        self.redactor_key = self._database.redactor_key
        self.applied = self._database.applied
        """The migrations that this start has run."""
        try:
            self._intake = Intake(self._database)
            self._news = News(lambda: self._intake.newest, monotonic)
            self._commits = GroupCommit(self._database, forget=self._intake.forget, on_fatal=on_fatal)
            self._settling = Settling(self._jobs, self._commits, wall=wall)
            self.submissions = Submitting(Submissions(self._database), self._reads, self._commits)
            self._retention = Retention(self._database, self._intake)
            self.replays = Replays(
                self._database, self._reads, write=self._write, now=self._due, wake=self._bell.ring
            )
            arrived = self._ring_for_arrivals
            self.copies = Copies(self._database, self._intake, self._reads, write=self._write, wake=arrived)
            self.watches = Watching(
                self._intake,
                self._reads,
                self._commits,
                due=self._due,
                monotonic=monotonic,
                ring=arrived,
            )
            self.findings = Findings(self._database, self._intake, write=self._write)
            if run is not None:
                self._take_over(run)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise refusal(path, error) from error

    def _take_over(self, run: str) -> None:
        self._database.begin()
        for worker in self._jobs.holders():
            if worker.split("/")[0] in (run, EXTERNAL):
                self._leases.renew(worker)
            else:
                lost = self._jobs.release(worker, now=self._wall(), reason="the receiver was restarted")
                self._attempts[LOST] += len(lost)
        self._database.commit()

    def _write(self, operation: Callable[[], T]) -> asyncio.Future[T]:
        return self._commits.write(operation)

    def record_soon(self, arrival: Arrival, recorded: Recorded) -> None:
        """See `base.Intake`."""

        def tell(written: asyncio.Future[list[Receipt]]) -> None:
            error = written.exception()
            recorded(written.result()[0] if error is None else cast(Exception, error))
            self._ring_for_arrivals()

        self._write(partial(self._intake.record, [arrival])).add_done_callback(tell)

    async def record(self, arrival: Arrival) -> Receipt:
        """See `base.Intake`."""
        (receipt,) = await self.record_batch([arrival])
        if isinstance(receipt, Unstorable):
            raise receipt
        return receipt

    async def record_batch(self, arrivals: Sequence[Arrival]) -> Sequence[Receipt | Unstorable]:
        """Record several arrivals, in their order, in one transaction but for those that can't be kept."""
        receipts = await self._commits.write_each(self._intake.record, arrivals)
        self._ring_for_arrivals()
        return receipts

    def _ring_for_arrivals(self) -> None:
        self._bell.ring()
        self._news.ring()

    async def reject(self, rejections: Sequence[Rejection]) -> None:
        """See `base.Intake`."""
        await self._write(partial(self._intake.reject, rejections))

    async def claim(
        self, worker: str, free: Mapping[str, int], *, count: int, wait_ms: int, alone: bool = False
    ) -> list[Row]:
        """See `base.Jobs`."""
        deadline = self._monotonic() + wait_ms / 1000
        while True:
            self._leases.renew(worker)
            ring = self._bell.next_ring()
            claimed = await self._write(
                lambda: self._jobs.claim(worker, free, count=count, now=self._due(), alone=alone)
            )
            left_ms = (deadline - self._monotonic()) * 1000
            # What renewals did not know of a former claim is not held against this one.
            self._unknown.get(worker, set()).difference_update(row["job"] for row in claimed)
            if claimed or left_ms <= 0:
                return claimed
            due = self._jobs.next_due(list(free), alone=alone)
            if due is not None:
                left_ms = max(1, min(left_ms, due - self._due()))
            await asyncio.wait([ring], timeout=left_ms / 1000)

    async def settle(self, settlements: Sequence[Settlement], *, worker: str) -> list[bool]:
        """See `base.Jobs`."""
        self._leases.renew(worker)
        self._due()  # a step since it was last asked counts, too
        if self._due.ahead_ms:
            settlements = [
                one if one.run_at is None else one._replace(run_at=one.run_at + self._due.ahead_ms)
                for one in settlements
            ]
        moves = await self._settling.settle(settlements, worker=worker)
        self._attempts.update(OUTCOMES[move] for move in moves if move is not None)
        self._bell.ring()
        return [move is not None for move in moves]

    async def renew(self, worker: str, jobs: Sequence[int] | None) -> None:
        """See `base.Jobs`."""
        self._leases.renew(worker)
        if jobs is None:
            return
        unknown = set(self._jobs.held_by(worker)) - set(jobs)
        # Twice in a row: a claim may be on its way to the worker while it says what it has.
        lost = unknown & self._unknown.get(worker, set())
        self._unknown[worker] = unknown - lost
        if lost:
            reason = "the claim never arrived"
            lose = partial(self._jobs.lose, sorted(lost), worker=worker, now=self._wall(), reason=reason)
            self._attempts[LOST] += len(await self._write(lose))
            self._bell.ring()

    async def release(self, worker: str, *, died: str | None = None) -> list[Lost]:
        """See `base.Jobs`."""
        return await self._release(worker, reason=died or "the worker stopped", died=died is not None)

    async def _release(self, worker: str, *, reason: str, died: bool = False) -> list[Lost]:
        self._leases.forget(worker)
        self._unknown.pop(worker, None)
        try:
            lost = await self._write(
                lambda: self._jobs.release(worker, now=self._due(), reason=reason, died=died)
            )
        except Unavailable:
            self._leases.end(worker)  # it still holds its jobs: the next look tries again
            raise
        dead = sum(job.is_dead for job in lost)
        self._attempts.update({LOST: len(lost) - dead, OUTCOMES[Move.FAIL]: dead})
        self._bell.ring()
        return lost

    async def suspects(self) -> dict[str, int]:
        """See `base.Jobs`."""
        return self._jobs.suspects()

    async def expire_leases(self) -> list[str]:
        """Give back what silent workers hold; return their names."""
        silent = self._leases.expired()
        for worker in silent:
            await self._release(worker, reason="the worker's lease ran out")
        self._leases.note_check()
        return silent

    # Looking.

    async def probe(self) -> list[str]:
        """See `base.Reads`."""
        if self.damage:
            raise StoreError(f"the database is damaged: {self.damage[0]}")
        age = self._leases.check_age
        if age > _UNCHECKED_SECONDS:
            raise StoreError(f"jobs of silent workers have not been given back for {age:.0f} s")
        return await self._touch()

    async def _touch(self) -> list[str]:
        """Write; say which workers live."""
        await self._write(partial(self._database.set_value, "probed_at", str(self._wall())))
        return self._leases.living()

    async def newest(self, *, after: int, wait_ms: int) -> int:
        """See `base.Reads`."""
        return await self._news.after(after, wait_ms=wait_ms)

    async def status(self) -> Row:
        """See `base.Reads`."""
        workers = await self._touch()
        return {"writable": True, "workers": workers, "jobs": (await self._reads.figures(now=0))["jobs"]}

    async def figures(self) -> Row:
        """See `base.Reads`."""
        counted = await self._reads.figures(now=self._wall())
        of_watches = {"watches": self.watches.open, "polls": dict(self.watches.polls)}
        of_workers = {"workers": len(self._leases.living()), "lease_check_seconds": self._leases.check_age}
        return {**counted, "attempts": dict(self._attempts), **of_workers, **of_watches}

    async def publish(self, cards: Sequence[Row]) -> None:
        """See `base.Store`."""
        await self._write(partial(self._database.set_value, CARDS, orjson.dumps(list(cards)).decode()))

    def changes(self) -> int:
        """How many rows were written since the start."""
        return self._database.connection.total_changes

    # Upkeep.

    async def prune(self, keep: Keep, step: Sequence[Any] | None = None, *, count: int = 20) -> Pruned:
        """See `base.Upkeep`."""
        found, following = await self._reads.old(step, keep, count=count)
        pruned = await self._write(lambda: self._retention.remove(step, found, keep, now=self._wall()))
        return pruned._replace(step=following)

    async def abandon(self) -> None:
        """End the thread that reads, or the process would wait for it; the file is not written any more."""
        await self._reads.close()

    async def close(self) -> None:
        """Finish what is queued and close the file."""
        await self._write(lambda: None)
        await self._reads.close()
        self._database.close()
