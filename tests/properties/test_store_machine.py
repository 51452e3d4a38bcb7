"""Any sequence of records, claims, settlements, losses and restarts leaves a store as a small model says."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from receiver.life import TRANSITIONS, JobState, Move
from receiver.record import JobRow
from receiver.store.base import Row
from receiver.store.service import Service
from tests.contract.stand import ANY, arrival, settlement

T = TypeVar("T")

LEASE_SECONDS = 60
VIDEOS = st.sampled_from(["v1", "v2"])
NEWS = st.sampled_from(
    [
        ("progress", None),
        ("failed", None),
        ("completed", None),
        ("completed", "url a"),
        ("completed", "url b"),
    ]
)
WORKERS = st.sampled_from(["run1/1", "run2/1", "external/1"])
FREE = st.fixed_dictionaries({handler: st.integers(0, 2) for handler in ("tell", "probe", "save")})
SETTLING = st.sampled_from([Move.RETRY, Move.RETRY, Move.FINISH, Move.FINISH, Move.FAIL, Move.CANCEL])

PLAN: list[JobRow] = [
    ("save", "ready", None, None),
    ("probe", "waiting", "save", None),
    ("tell", "waiting", "probe", None),
]


@dataclass
class Job:
    """What the model knows of a job."""

    after: str | None
    state: str
    run_at: int
    claim: int = 0
    worker: str | None = None
    attempts: int = 0
    ended: list[str] = field(default_factory=list)
    strikes: int = 0


@dataclass
class Event:
    """What the model knows of an event."""

    content: str | None
    jobs: dict[str, Job]
    duplicates: int = 0
    is_in_conflict: bool = False


class StoreMachine(RuleBasedStateMachine):
    """The service over a database file, next to the model, on clocks that stand until they are moved."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_700_000_000_000
        self.ids: dict[tuple[str, str], str] = {}
        self.events: dict[str, Event] = {}
        self.deadlines: dict[str, int] = {}
        self.claims: list[tuple[str, Row]] = []
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()

    def do(self, action: Coroutine[Any, Any, T]) -> T:
        """Run a verb of the store to its end."""
        return self.loop.run(action)

    @initialize(run=st.sampled_from(["run1", "run2"]))
    def begin(self, run: str) -> None:
        self.service = self.do(self._open(run))
        self.record("v1", ("completed", "url a"))
        self.record("v2", ("completed", None))

    async def _open(self, run: str) -> Service:
        return Service(
            Path(self.folder.name) / "receiver.db",
            run=run,
            lease_seconds=LEASE_SECONDS,
            wall=lambda: self.now,
            monotonic=lambda: self.now / 1000,
        )

    def teardown(self) -> None:
        try:
            self.do(self._agree_on_attempts())
        finally:
            self.do(self.service.close())
            self.loop.close()
            self.folder.cleanup()

    # Recording.

    @rule(video=VIDEOS, news=NEWS)
    def record(self, video: str, news: tuple[str, str | None]) -> None:
        what, content = news
        news_of_it = arrival(video, what, content=content, received_at=self.now, jobs=PLAN)
        receipt = self.do(self.service.record(news_of_it))
        verdict, event_id = self._expected(video, what, content)
        assert (receipt.verdict, receipt.event_id) == (verdict, event_id or news_of_it.event_id)
        if event_id is None:
            self.ids[video, what] = news_of_it.event_id
            jobs = {handler: Job(after, state, self.now) for handler, state, after, _ in PLAN}
            self.events[news_of_it.event_id] = Event(content, jobs)
        else:
            self.events[event_id].duplicates += 1
            self.events[event_id].is_in_conflict |= verdict == "conflict"

    def _expected(self, video: str, what: str, content: str | None) -> tuple[str, str | None]:
        same, failed, end = (self.ids.get((video, each)) for each in (what, "failed", "completed"))
        if end is not None:
            kept = self.events[end].content
            if what == "failed" and same is None:
                return "conflict", end
            if what == "completed" and content and kept and content != kept:
                return "conflict", end
            return "duplicate", same or end
        if what == "progress" and failed is not None:
            return "duplicate", same or failed
        return ("duplicate" if same else "accepted"), same

    # Working.

    @rule(worker=WORKERS, free=FREE, count=st.integers(1, 4))
    def claim(self, worker: str, free: dict[str, int], count: int) -> None:
        rows = self.do(self.service.claim(worker, free, count=count, wait_ms=0))
        self.deadlines[worker] = self.now + LEASE_SECONDS * 1000
        left = count
        for handler, slots in free.items():
            due = sorted(job.run_at for job in self._jobs(handler, "ready") if job.run_at <= self.now)
            taken = [self._job(row) for row in rows if row["handler"] == handler]
            assert [job.run_at for job in taken] == due[: min(slots, left)]
            left -= len(taken)
        assert left == count - len(rows)
        for row in rows:
            self._take(row, worker)
            self.claims.append((worker, row))

    def _take(self, row: Row, worker: str) -> None:
        job = self._job(row)
        assert (job.state, row["claim"], row["attempts"]) == ("ready", job.claim + 1, job.attempts)
        done = {name for name, other in self.events[row["id"]].jobs.items() if other.state == "done"}
        assert set(row["results"]) == (done if job.after else set())
        job.state, job.worker, job.strikes = "running", worker, 0
        job.claim += 1

    @precondition(lambda self: self.claims)
    @rule(back=st.integers(0, 5), move=SETTLING, delay=st.sampled_from([100_000, 1000, 0]))
    def settle(self, back: int, move: Move, delay: int) -> None:
        """Settle one of the last claims, preferably to a job that runs, whoever has it by now."""
        claims = [claim for claim in self.claims if self._job(claim[1]).state == "running"] or self.claims
        worker, row = claims[-1 - back % len(claims)]
        job = self._job(row)
        is_owned = job.state == "running" and job.claim == row["claim"]
        run_at = self.now + delay if move is Move.RETRY else None
        end = settlement(
            row, move, run_at=run_at, ended_at=self.now, error=None if move is Move.FINISH else "no"
        )
        assert self.do(self.service.settle([end], worker=worker)) == [is_owned]
        self.deadlines[worker] = self.now + LEASE_SECONDS * 1000
        if is_owned:
            job.state, job.worker = TRANSITIONS[JobState.RUNNING, move], None
            job.run_at = job.run_at if run_at is None else run_at
            job.attempts += 1
            job.ended.append({Move.FINISH: "done"}.get(move, move.value))
            self._follow(self.events[row["id"]], row["handler"], job.state)

    def _follow(self, event: Event, handler: str, state: str) -> None:
        """What waits for a job moves when that one ends, and so on along the chain."""
        for name, job in event.jobs.items():
            if state in ("done", "dead", "cancelled") and job.after == handler and job.state == "waiting":
                job.state, job.run_at = ("ready" if state == "done" else "cancelled"), self.now
                self._follow(event, name, job.state)

    # Losing.

    @rule(
        disturbance=st.one_of(
            st.tuples(st.just("release"), WORKERS),
            st.tuples(st.just("wait"), st.sampled_from([1, 30, 60, 200])),
            st.tuples(st.just("restart"), st.sampled_from(["run1", "run2"])),
        )
    )
    def disturb(self, disturbance: tuple[str, Any]) -> None:
        name, argument = disturbance
        getattr(self, f"_{name}")(argument)

    @precondition(lambda self: any(job.worker for job in self._jobs()))
    @rule(to=WORKERS)
    def take_over(self, to: str) -> None:
        """A worker is given up, and another one takes what it had."""
        worker = next(job.worker for job in self._jobs() if job.worker is not None)
        self._release(worker)
        self.claim(to, {"save": 2, "probe": 2, "tell": 2}, 6)

    def _release(self, worker: str) -> None:
        held = self._held_by(worker)
        assert len(self.do(self.service.release(worker))) == len(held)
        self.deadlines.pop(worker, None)
        self._lose(held)

    @precondition(lambda self: any(job.worker for job in self._jobs()))
    @rule(worker=WORKERS, times=st.integers(1, 3), data=st.data())
    def renew(self, worker: str, times: int, data: st.DataObject) -> None:
        for _ in range(times):
            self._renew(worker, data)

    def _renew(self, worker: str, data: st.DataObject) -> None:
        held = self._held_by(worker)
        knows = [data.draw(st.booleans(), label="knows of it") for _ in held]
        numbers = self.do(self._numbers())
        known = [numbers[id(job)] for job, is_known in zip(held, knows, strict=True) if is_known]
        self.do(self.service.renew(worker, known))
        self.deadlines[worker] = self.now + LEASE_SECONDS * 1000
        for job, is_known in zip(held, knows, strict=True):
            job.strikes = 0 if is_known else job.strikes + 1
        self._lose([job for job in held if job.strikes == 2])

    def _wait(self, seconds: int) -> None:
        self.now += seconds * 1000
        silent = {worker for worker, deadline in self.deadlines.items() if deadline <= self.now}
        assert set(self.do(self.service.expire_leases())) == silent
        for worker in silent:
            del self.deadlines[worker]
            self._lose(self._held_by(worker))

    def _restart(self, run: str) -> None:
        self.do(self.service.close())
        self.service = self.do(self._open(run))
        self.deadlines = {}
        for job in self._jobs():
            job.strikes = 0
            if job.worker is not None and job.worker.startswith((f"{run}/", "external/")):
                self.deadlines[job.worker] = self.now + LEASE_SECONDS * 1000
            elif job.worker is not None:
                self._lose([job])
        assert set(self.do(self.service.status())["workers"]) == set(self.deadlines)

    def _lose(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.state, job.worker, job.strikes = "ready", None, 0
            job.ended.append("lost")

    # The model's own questions.

    def _jobs(self, handler: str | None = None, state: str | None = None) -> list[Job]:
        return [
            job
            for event in self.events.values()
            for name, job in event.jobs.items()
            if handler in (None, name) and state in (None, job.state)
        ]

    def _job(self, row: Row) -> Job:
        return self.events[row["id"]].jobs[row["handler"]]

    def _held_by(self, worker: str) -> list[Job]:
        return [job for job in self._jobs() if job.worker == worker]

    async def _numbers(self) -> dict[int, int]:
        """The store's number of each job of the model."""
        rows = await self.service.events(ANY, limit=100, before=None)
        return {
            id(self.events[row["id"]].jobs[job["handler"]]): job["id"] for row in rows for job in row["jobs"]
        }

    # What always holds.

    @invariant()
    def agree(self) -> None:
        rows = self.do(self.service.events(ANY, limit=100, before=None))
        assert {row["id"]: (row["duplicates"], bool(row["conflict"])) for row in rows} == {
            name: (event.duplicates, event.is_in_conflict) for name, event in self.events.items()
        }
        for row in rows:
            stored = {job["handler"]: (job["state"], job["attempts"], job["worker"]) for job in row["jobs"]}
            jobs = self.events[row["id"]].jobs
            assert stored == {name: (job.state, job.attempts, job.worker) for name, job in jobs.items()}

    async def _agree_on_attempts(self) -> None:
        for name, event in self.events.items():
            row = await self.service.event(name)
            names = {job["id"]: job["handler"] for job in row["jobs"]}
            ended: dict[str, list[str]] = {handler: [] for handler in event.jobs}
            for attempt in row["attempts"]:
                ended[names[attempt["job"]]].append(attempt["outcome"])
            assert ended == {handler: job.ended for handler, job in event.jobs.items()}


StoreMachine.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
test_a_store_agrees_with_the_model = StoreMachine.TestCase
