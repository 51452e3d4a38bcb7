"""Any sequence of records, claims, settlements, deaths and restarts leaves a store as a small model says.

The clocks stand until they are moved; that on the wall may be set back. The socket must change nothing.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from receiver.life import TRANSITIONS, JobState, Move
from receiver.record import JobRow
from receiver.store.base import Store
from receiver.store.process import Listener, listen
from receiver.store.remote import Remote
from receiver.store.replays import Made
from receiver.store.service import Service
from receiver.store.values import Lost, Rejection, Row
from tests.contract.stand import ANY, arrival, replayed, settlement

T = TypeVar("T")
Key = tuple[str | None, str]
"""Of a job: its replay (none for the first ones), and its handler."""

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
    crashes: int = 0
    expires_at: int | None = None
    follows: Key | None = None
    """Whose result it goes on with, when it was replayed without the one that it comes after."""


@dataclass
class Event:
    """What the model knows of an event."""

    content: str | None
    expires_at: int | None
    jobs: dict[tuple[str | None, str], Job]
    """By replay (none for the first ones) and handler."""
    duplicates: int = 0
    is_in_conflict: bool = False


class StoreMachine(RuleBasedStateMachine):
    """The service over a database file, next to the model, on clocks that stand until they are moved."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_700_000_000_000  # of the clock that only goes on
        self.set_back_ms = 0  # of the one on the wall
        self.ahead_ms = 0
        self.replays = 0
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
        self.do(self._open(run))
        self.record("v1", ("completed", "url a"), 100)
        self.record("v2", ("completed", None), None)

    @property
    def wall(self) -> int:
        return self.now - self.set_back_ms

    @property
    def due(self) -> int:
        """By which jobs are due: it was never set back while this store ran."""
        return self.wall + self.ahead_ms

    @property
    def database(self) -> Path:
        return Path(self.folder.name) / "receiver.db"

    async def _open(self, run: str) -> None:
        self.service = Service(
            self.database,
            run=run,
            lease_seconds=LEASE_SECONDS,
            wall=lambda: self.wall,
            monotonic=lambda: self.now / 1000,
        )
        self.store: Store = self.service

    async def _close(self) -> None:
        await self.service.close()

    def teardown(self) -> None:
        try:
            self.do(self._agree_on_attempts())
        finally:
            self.do(self._close())
            self.loop.close()
            self.folder.cleanup()

    # Recording.

    @rule(video=VIDEOS, news=NEWS, lasts=st.sampled_from([None, None, 50, 100, 150]))
    def record(self, video: str, news: tuple[str, str | None], lasts: int | None) -> None:
        what, content = news
        expires_at = None if lasts is None else self.wall + lasts * 1000
        news_of_it = arrival(
            video, what, content=content, received_at=self.wall, jobs=PLAN, expires_at=expires_at
        )
        receipt = self.do(self.store.record(news_of_it))
        verdict, event_id = self._expected(video, what, content)
        assert (receipt.verdict, receipt.event_id) == (verdict, event_id or news_of_it.event_id)
        if event_id is None:
            self.ids[video, what] = news_of_it.event_id
            self.events[news_of_it.event_id] = Event(content, expires_at, {})
            self._plan(news_of_it.event_id, None, self.wall)
        else:
            self.events[event_id].duplicates += 1
            self.events[event_id].is_in_conflict |= verdict == "conflict"

    def _plan(self, event: str, replay: str | None, now: int) -> None:
        for handler, state, after, _ in PLAN:
            job = Job(after, state, now, expires_at=self.events[event].expires_at)
            self.events[event].jobs[replay, handler] = job

    @rule(video=VIDEOS)
    def replay(self, video: str) -> None:
        event = self.ids[video, "completed"]
        self.replays += 1
        replay = f"r{self.replays}"
        assert self.do(replayed(self.store, replay, [event], *PLAN)) == Made(1, len(PLAN))
        self._plan(event, replay, self.due)

    @rule(video=VIDEOS, handler=st.sampled_from(["probe", "tell"]))
    def replay_a_dependent(self, video: str, handler: str) -> None:
        """Without the one that it comes after: it goes on with that one's last result, if there is one."""
        event = self.ids[video, "completed"]
        self.replays += 1
        replay = f"r{self.replays}"
        jobs = self.events[event].jobs
        after = {name: after for name, _, after, _ in PLAN}
        done = [key for key, job in jobs.items() if key[1] == after[handler] and job.state == "done"]
        made = self.do(replayed(self.store, replay, [event], *PLAN, handlers=[handler]))
        if not done:
            assert made == Made(0, 0)
            return
        expires_at = self.events[event].expires_at
        jobs[replay, handler] = Job(
            after[handler], "ready", self.due, expires_at=expires_at, follows=done[-1]
        )
        if handler == "probe":
            jobs[replay, "tell"] = Job("probe", "waiting", self.due, expires_at=expires_at)
        assert made == Made(1, 2 if handler == "probe" else 1)

    @staticmethod
    def _results(event: Event, key: Key) -> set[str]:
        """Whose results a job sees: those of its own replay before those of the one that it goes on with."""
        layers: list[str | None] = []
        while True:
            layers += [key[0]] if key[0] not in layers else []
            job = event.jobs[key]
            if job.follows is None and job.after is None:
                break
            key = job.follows or (key[0], str(job.after))
        found: dict[str, str] = {}
        for layer in layers:
            states = {name: job.state for (replay, name), job in event.jobs.items() if replay == layer}
            found = states | found
        return {name for name, state in found.items() if state == "done"}

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

    @rule(video=VIDEOS, news=NEWS, restarts=st.booleans())
    def refute(self, video: str, news: tuple[str, str | None], restarts: bool) -> None:
        """What was refuted is there and known no more; the truth is told in its place."""
        event = self.ids.get((video, news[0]))
        if event is None:
            return
        rejection = Rejection(self.wall, "opennote", 200, "no", "-")
        assert self.do(self.store.findings.refute(event, rejection))
        del self.ids[video, news[0]]
        if restarts:
            self._restart("run1")
        self.record(video, news, None)
        assert not self.do(self.store.findings.refute(event, rejection))

    # Working.

    @rule(worker=WORKERS, free=FREE, count=st.integers(1, 4))
    def claim(self, worker: str, free: dict[str, int], count: int) -> None:
        expected = self._turns(free, count)
        rows = self.do(self.store.claim(worker, free, count=count, wait_ms=0))
        assert [(row["handler"], self._urgency(self._job(row))) for row in rows] == expected
        self._have_claimed(rows, worker)

    @rule(
        worker=WORKERS, handlers=st.sets(st.sampled_from(["tell", "probe", "save"])), count=st.integers(1, 2)
    )
    def claim_alone(self, worker: str, handlers: set[str], count: int) -> None:
        due = [job for name in handlers for job in self._due_jobs(name) if job.crashes]
        free = dict.fromkeys(sorted(handlers), 1)
        rows = self.do(self.store.claim(worker, free, count=count, wait_ms=0, alone=True))
        assert [self._job(row).run_at for row in rows] == sorted(job.run_at for job in due)[:count]
        assert all(self._job(row).crashes for row in rows)
        self._have_claimed(rows, worker)

    def _turns(self, free: Mapping[str, int], count: int) -> list[tuple[str, tuple[bool, int]]]:
        """First what expires, then what has waited; the handlers take turns in both."""
        parts: list[list[list[tuple[str, tuple[bool, int]]]]] = [[], []]
        for handler, slots in free.items():
            urgencies = sorted(self._urgency(job) for job in self._due_jobs(handler) if not job.crashes)
            for part, is_lasting in zip(parts, (False, True), strict=True):
                taken = urgencies[: min(slots, count)]
                part.append([(handler, urgency) for urgency in taken if urgency[0] is is_lasting])
        in_turn = chain.from_iterable(zip_longest(*part) for part in parts)
        return [one for turn in in_turn for one in turn if one is not None][:count]

    def _urgency(self, job: Job) -> tuple[bool, int]:
        """Whether it lasts, and when it expires, or else since when it has waited."""
        if job.expires_at is not None and job.expires_at > self.due:
            return False, job.expires_at
        return True, job.run_at

    def _due_jobs(self, handler: str) -> list[Job]:
        return [job for job in self._jobs(handler, "ready") if job.run_at <= self.due]

    def _have_claimed(self, rows: list[Row], worker: str) -> None:
        self.deadlines[worker] = self.now + LEASE_SECONDS * 1000
        for row in rows:
            self._take(row, worker)
            self.claims.append((worker, row))

    def _take(self, row: Row, worker: str) -> None:
        job = self._job(row)
        assert (job.state, row["claim"], row["attempts"]) == ("ready", job.claim + 1, job.attempts)
        expected = (
            self._results(self.events[row["id"]], (row["replay"], row["handler"])) if job.after else set()
        )
        assert set(row["results"]) == expected
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
        run_at = self.wall + delay if move is Move.RETRY else None
        end = settlement(
            row, move, run_at=run_at, ended_at=self.wall, error=None if move is Move.FINISH else "no"
        )
        assert self.do(self.store.settle([end], worker=worker)) == [is_owned]
        self.deadlines[worker] = self.now + LEASE_SECONDS * 1000
        if is_owned:
            job.run_at = job.run_at if run_at is None else run_at + self.ahead_ms
            job.crashes = 0
            ended = {Move.FINISH: "done"}.get(move, move.value)
            self._end(job, TRANSITIONS[JobState.RUNNING, move], ended, now=self.wall)

    def _end(self, job: Job, state: str, ended: str, *, now: int) -> None:
        job.state, job.worker = state, None
        job.attempts += 1
        job.ended.append(ended)
        for event in self.events.values():
            for (replay, name), other in event.jobs.items():
                if other is job:
                    self._follow(event, replay, name, state, now)

    def _follow(self, event: Event, replay: str | None, handler: str, state: str, now: int) -> None:
        """What waits for a job of the same replay moves when that one ends, and so on along the chain."""
        for (of, name), job in event.jobs.items():
            is_next = (of, job.after, job.state) == (replay, handler, "waiting")
            if is_next and state in ("done", "dead", "cancelled"):
                job.state, job.run_at = ("ready" if state == "done" else "cancelled"), now
                self._follow(event, replay, name, job.state, now)

    @rule(
        worker=WORKERS,
        seconds=st.sampled_from([0, 0, 5, 3600]),
        move=st.one_of(st.none(), SETTLING),
        delay=st.sampled_from([100_000, 1000, 0]),
    )
    def work(self, worker: str, seconds: int, move: Move | None, delay: int) -> None:
        """What happens most: jobs are claimed, and end or die; the clock may have been set back meanwhile."""
        self._wait(30)
        self.claim(worker, {"save": 1, "probe": 1, "tell": 1}, 2)
        self._set_clock_back(seconds)
        if move is not None and self.claims:
            self.settle(0, move, delay)
        elif move is None and any(job.worker for job in self._jobs()):
            self.crash(3)

    # Losing.

    @rule(
        disturbance=st.one_of(
            st.tuples(st.just("release"), WORKERS),
            st.tuples(st.just("set_clock_back"), st.sampled_from([5, 3600])),
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
        lost = self.do(self.store.release(worker))
        assert sorted(job.crashes for job in lost) == sorted(job.crashes for job in held)
        self.deadlines.pop(worker, None)
        self._lose(held)

    @precondition(lambda self: any(job.worker for job in self._jobs()))
    @rule(again=st.integers(0, 3))
    def crash(self, again: int) -> None:
        """A worker dies with all that it has; and what was alone with it runs alone, and dies again."""
        worker = next(job.worker for job in self._jobs() if job.worker is not None)
        held = self._crash(worker)
        for _ in range(again if len(held) == 1 else 0):
            self._wait(20)
            self.claim_alone(worker, {"save", "probe", "tell"}, 1)
            self._crash(worker)

    def _crash(self, worker: str) -> list[Job]:
        held = self._held_by(worker)
        lost: list[Lost] = self.do(self.store.release(worker, died="of a bang"))
        self.deadlines.pop(worker, None)
        for job in held:
            job.crashes += 1
            if len(held) == 1 and job.crashes >= 3:
                self._end(job, "dead", "fail", now=self.due)
            else:
                wait_ms = 0 if job.crashes == 1 else 1000 * 2 ** min(6, job.crashes)
                job.run_at = max(job.run_at, self.due + wait_ms)
                self._lose([job])
        assert sorted((one.crashes, one.is_dead) for one in lost) == sorted(
            (job.crashes, job.state == "dead") for job in held
        )
        return held

    def _set_clock_back(self, seconds: int) -> None:
        self.set_back_ms += seconds * 1000
        self.ahead_ms += seconds * 1000

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
        self.do(self.store.renew(worker, known))
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
        self.do(self._close())
        self.do(self._open(run))
        self.deadlines, self.ahead_ms = {}, 0
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
            for (_, name), job in event.jobs.items()
            if handler in (None, name) and state in (None, job.state)
        ]

    def _job(self, row: Row) -> Job:
        return self.events[row["id"]].jobs[row["replay"], row["handler"]]

    def _held_by(self, worker: str) -> list[Job]:
        return [job for job in self._jobs() if job.worker == worker]

    async def _numbers(self) -> dict[int, int]:
        """The store's number of each job of the model."""
        rows = await self.store.events(ANY, limit=100, before=None)
        return {
            id(self.events[row["id"]].jobs[job["replay"], job["handler"]]): job["id"]
            for row in rows
            for job in row["jobs"]
        }

    # What always holds.

    @invariant()
    def agree(self) -> None:
        rows = self.do(self.store.events(ANY, limit=100, before=None))
        assert {row["id"]: (row["duplicates"], bool(row["conflict"])) for row in rows} == {
            name: (event.duplicates, event.is_in_conflict) for name, event in self.events.items()
        }
        for row in rows:
            stored = {(job["replay"], job["handler"]): _shown(**job) for job in row["jobs"]}
            jobs = self.events[row["id"]].jobs
            assert stored == {name: _shown(**vars(job)) for name, job in jobs.items()}
        suspects = sum(job.state == "ready" and job.crashes > 0 for job in self._jobs())
        assert sum(self.do(self.store.suspects()).values()) == suspects

    async def _agree_on_attempts(self) -> None:
        for name, event in self.events.items():
            row = await self.store.event(name)
            names = {job["id"]: (job["replay"], job["handler"]) for job in row["jobs"]}
            ended: dict[tuple[str | None, str], list[str]] = {name: [] for name in event.jobs}
            for attempt in row["attempts"]:
                ended[names[attempt["job"]]].append(attempt["outcome"])
            assert ended == {handler: job.ended for handler, job in event.jobs.items()}


def _shown(**job: Any) -> tuple[Any, ...]:
    """What store and model both say of a job; when it runs, if it is to."""
    runs_at = job["run_at"] if job["state"] == "ready" else None
    return job["state"], runs_at, job["attempts"], job["worker"], job["crashes"]


class SocketMachine(StoreMachine):
    """The same, and the verbs come through the socket of the store."""

    listener: Listener
    remote: Remote

    async def _open(self, run: str) -> None:
        await super()._open(run)
        self.listener = await listen(self.service, self.database)
        self.remote = await Remote(self.database).connect()
        self.store = self.remote

    async def _close(self) -> None:
        await self.remote.close()
        await self.listener.close()
        await asyncio.sleep(0)
        await super()._close()


SETTINGS = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
StoreMachine.TestCase.settings = SETTINGS
SocketMachine.TestCase.settings = settings(SETTINGS, max_examples=25)
test_a_store_agrees_with_the_model = StoreMachine.TestCase
test_a_store_behind_its_socket_agrees_with_the_model = SocketMachine.TestCase
