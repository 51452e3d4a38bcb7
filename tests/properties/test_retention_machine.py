"""Whatever happened to events before: retention removes what a model says, and no file but their own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from receiver import retention
from receiver.bodies import Bodies
from receiver.retention import Report
from receiver.store.service import Service
from receiver.store.values import Keep
from tests.contract.stand import ANY, arrival, ready, settlement

T = TypeVar("T")

START = 1_700_000_000_000
HOUR = 3600 * 1000
VIDEOS = st.sampled_from(["v1", "v2", "v3", "v4"])
CONTENTS = st.sampled_from([b"one", b"three", None])
PLANS = st.sampled_from([(), ("save",), ("save", "log"), ("save", "log")])
HANDLERS = st.sampled_from([("save",), ("log",), ("save", "log"), ("save", "log")])
MOVES = st.sampled_from(["finish", "finish", "fail", "cancel", "retry", ""])
STEPS = st.one_of(
    st.tuples(st.just("record"), st.tuples(VIDEOS, CONTENTS, PLANS, st.booleans())),
    st.tuples(st.just("work"), st.tuples(HANDLERS, MOVES)),
    st.tuples(st.just("wait"), st.tuples(st.integers(1, 2))),
    st.tuples(st.just("prune"), st.tuples(st.integers(0, 2), st.sampled_from([0, 2, 9]), st.integers(0, 2))),
    st.tuples(st.just("restart"), st.just(())),
)
_STATES = {"finish": "done", "fail": "dead", "cancel": "cancelled", "retry": "ready"}


@dataclass
class Event:
    """What the model knows of an event: times in milliseconds."""

    arrivals: list[int]
    contents: list[bytes]
    states: dict[str, str]
    ended: dict[str, int] = field(default_factory=dict)

    def is_over(self, before: int, dead_before: int) -> bool:
        """Whether nothing of it goes on, and nothing happened since."""
        if any(at >= before for at in self.arrivals):
            return False
        return all(
            state in ("done", "dead", "cancelled")
            and self.ended[handler] < (min(before, dead_before) if state == "dead" else before)
            for handler, state in self.states.items()
        )


class RetentionMachine(RuleBasedStateMachine):
    """A store and a folder of body files, next to the model, on a clock that stands until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.events: dict[str, Event] = {}
        self.loop = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.bodies = Bodies(Path(self.folder.name) / "bodies")
        self.bodies.directory.mkdir()
        self.strangers = [self.bodies.directory / "README", self.bodies.directory / "ab" / "notes.txt"]
        for path in self.strangers:
            path.parent.mkdir(exist_ok=True)
            path.write_text("not ours")
            os.utime(path, (1, 1))
        self.on_disk: dict[bytes, bool] = {}
        """What files there are, and whether they were kept too recently to be removed."""
        self.service = self.do(self._open())

    async def _open(self) -> Service:
        return Service(
            Path(self.folder.name) / "receiver.db",
            run="run",
            lease_seconds=60,
            wall=lambda: self.now,
            monotonic=lambda: self.now / 1000,
        )

    def do(self, action: Coroutine[Any, Any, T]) -> T:
        """Run a verb of the store to its end."""
        return self.loop.run(action)

    def teardown(self) -> None:
        self.do(self.service.close())
        self.loop.close()
        self.folder.cleanup()

    @rule(steps=st.lists(STEPS, min_size=5, max_size=10))
    def go_on(self, steps: list[tuple[str, tuple[Any, ...]]]) -> None:
        """Several steps in one rule: Hypothesis leaves out rules, and here all of them are needed."""
        for name, arguments in steps:
            getattr(self, f"_{name}")(*arguments)
            self.agree()

    def _record(self, video: str, content: bytes | None, plan: tuple[str, ...], is_recent: bool) -> None:
        """The same video again is a duplicate, perhaps with another body."""
        changes: dict[str, Any] = {}
        if content is not None:
            digest = hashlib.sha256(content).hexdigest()
            spool = self.bodies.spool()
            spool.write(content)
            path = spool.keep(digest)
            if not is_recent:
                os.utime(path, (START / 1000, START / 1000))
            self.on_disk[content] = is_recent
            changes = {"body": None, "body_sha256": digest, "payload": "{}", "strings": "[]"}
        self.do(self.service.record(arrival(video, received_at=self.now, jobs=ready(*plan), **changes)))
        known = self.events.setdefault(video, Event([], [], dict.fromkeys(plan, "ready")))
        known.arrivals.append(self.now)
        known.contents += [content] if content is not None else []

    def _work(self, handlers: tuple[str, ...], move: str) -> None:
        """Claim what is due, and settle it all alike, unless the worker is slow."""
        for row in self.do(self.service.claim("run/1", dict.fromkeys(handlers, 9), count=9, wait_ms=0)):
            known, handler = self.events[row["video_id"]], row["handler"]
            known.states[handler] = "running"
            if not move:
                continue
            run_at = self.now if move == "retry" else None
            end = settlement(row, move, ended_at=self.now, run_at=run_at)
            assert self.do(self.service.settle([end], worker="run/1")) == [True]
            known.states[handler] = _STATES[move]
            known.ended[handler] = self.now

    def _wait(self, hours: int) -> None:
        self.now += hours * HOUR

    def _restart(self) -> None:
        self.do(self.service.close())
        self.service = self.do(self._open())

    def _prune(self, events: int, dead: int, bodies: int) -> None:
        """What is announced is what is done, and is what the model says."""
        keep = Keep(self.now - events * HOUR, self.now - dead * HOUR, self.now - bodies * HOUR)
        announced = self.do(retention.plan(self.service, self.bodies, keep))
        report = self.do(retention.prune(self.service, self.bodies, keep))
        assert report == announced
        gone = [
            video
            for video, known in self.events.items()
            if known.is_over(keep.events_before, keep.dead_before)
        ]
        deliveries = sum(len(self.events[video].arrivals) for video in gone)
        jobs = sum(len(self.events[video].states) for video in gone)
        before = {content for known in self.events.values() for content in known.contents}
        for video in gone:
            del self.events[video]
        for known in self.events.values():
            if known.is_over(keep.bodies_before, keep.dead_before):
                known.contents = []
        unused = before - {content for known in self.events.values() for content in known.contents}
        removed = {content for content in unused if not self.on_disk.get(content, True)}
        for content in removed:
            del self.on_disk[content]
        expected = Report(len(gone), deliveries, jobs, report.attempts, len(removed), sum(map(len, removed)))
        assert report == expected
        event(f"events removed: {len(gone)}")
        event(f"files removed: {len(removed)}")

    def agree(self) -> None:
        rows = self.do(self.service.events(ANY, limit=100, before=None))
        assert {row["video_id"]: {job["handler"]: job["state"] for job in row["jobs"]} for row in rows} == {
            video: known.states for video, known in self.events.items()
        }
        assert {
            path.read_bytes() for path in self.bodies.directory.glob("??/*") if path not in self.strangers
        } == set(self.on_disk)
        assert all(path.read_text() == "not ours" for path in self.strangers)


RetentionMachine.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
test_retention_agrees_with_the_model = pytest.mark.fault("F8")(RetentionMachine.TestCase)
