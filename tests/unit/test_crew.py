"""The workers of a `serve`: who died is buried, what ran in it runs alone, and nobody gets too large."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from receiver import crew
from receiver.crew import Crew
from receiver.lifeline import REPLACE_ME
from receiver.store.service import Service
from tests.contract.stand import arrival, claim, ready
from tests.unit.test_supervisor import until

pytestmark = pytest.mark.anyio

LIVES = "import sys, time; time.sleep(600)"
LARGE = "import time; kept = b'x' * (80 << 20); time.sleep(600)"


class Ship:
    """A crew of scripts, its store, and what it was told to start."""

    def __init__(self, folder: Path, *, code: str = LIVES, max_memory: int = 1 << 40) -> None:
        self.code = code
        self.alone_code = LIVES
        self.log = CapturingLogger()
        self.names: list[str] = []
        self.store = Service(folder / "receiver.db", run="run1", lease_seconds=600)
        self.crew = Crew(
            1, run="run1", store=self.store, arguments=self._arguments, max_memory=max_memory, log=self.log
        )

    def _arguments(self, name: str) -> list[str]:
        self.names.append(name)
        return ["-c", self.alone_code if "alone" in name else self.code, name]

    async def sail(self, *, handlers: Collection[str] = ("save", "probe")) -> None:
        self.crew.handlers = frozenset(handlers)
        await self.crew.workers[0].start()
        await self.crew.start_others()
        self.crew.watch()

    async def give(self, worker: str, *handlers: str) -> None:
        """Record a video and let a worker claim its jobs."""
        await self.store.record(arrival(f"v{len(self.names)}{worker}", jobs=ready(*handlers)))
        assert len(await claim(self.store, worker, *handlers)) == len(handlers)

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [call.kwargs for call in self.log.calls if call.args == (event,)]


@pytest.fixture
async def ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Ship]]:
    """Puts crews together whose watch looks often."""
    monkeypatch.setattr(crew, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(crew, "_SUSPECTS_SECONDS", 0.2)
    ships: list[Ship] = []

    def build(**options: Any) -> Ship:
        ships.append(Ship(tmp_path, **options))
        return ships[-1]

    yield build
    for one in ships:
        await one.crew.stop(seconds=0)
        await one.store.close()


def end(ship: Ship, number: int) -> None:
    pid = ship.crew.workers[0].pid
    assert pid is not None
    os.kill(pid, number)


@pytest.mark.fault("R1", "R5")
async def test_the_jobs_of_a_worker_that_died_run_in_one_that_is_started_for_them(
    ship: Callable[..., Ship],
) -> None:
    crewed = ship()
    await crewed.sail()
    await crewed.give("run1/1.1", "save", "probe")

    end(crewed, signal.SIGKILL)

    await until(lambda: "run1/alone 1.1" in crewed.names)
    await until(lambda: "run1/1.2" in crewed.names)
    told = [(line["handler"], line["crashes"], line["reason"]) for line in crewed.logged("job.suspected")]
    assert told == [(name, 1, "its worker was killed by SIGKILL") for name in ("save", "probe")]
    assert sum((await crewed.store.suspects()).values()) == 2


async def test_a_worker_that_asks_to_be_replaced_leaves_no_suspects(ship: Callable[..., Ship]) -> None:
    crewed = ship(code=f"import os; os.read(0, 1); os._exit({REPLACE_ME})")
    crewed.code = f"import sys, time; sys.argv[1].endswith('.1') and sys.exit({REPLACE_ME}); time.sleep(600)"
    await crewed.give("run1/1.1", "save")

    await crewed.sail()

    await until(lambda: "run1/1.2" in crewed.names)
    assert sum((await crewed.store.suspects()).values()) == 0
    assert len(await claim(crewed.store, "other", "save")) == 1
    assert not crewed.logged("job.suspected")


@pytest.mark.fault("R5")
@pytest.mark.parametrize("status", [0, 1, 2])
async def test_whatever_status_a_job_that_runs_alone_ends_its_process_with_it_is_counted(
    ship: Callable[..., Ship], status: int
) -> None:
    crewed = ship()
    crewed.alone_code = (
        f"import os, sys; sys.stdin.read(1) if sys.argv[1].endswith('1.2') else os._exit({status})"
    )
    await crewed.sail()
    await crewed.give("a", "save")
    await crewed.store.release("a", died="of something")
    rows = await crewed.store.claim("run1/alone 1.1", {"save": 1}, count=1, wait_ms=0, alone=True)
    assert len(rows) == 1
    await crewed.give("b", "probe")
    await crewed.store.release("b", died="of something")  # a reason to start one that runs alone

    await until(lambda: crewed.logged("job.suspected"))

    [told] = crewed.logged("job.suspected")
    assert (told["handler"], told["crashes"]) == ("save", 2)
    assert told["reason"] == f"its worker ended with exit status {status}"


async def test_one_that_runs_alone_is_tried_again_where_no_process_could_be_started(
    ship: Callable[..., Ship], monkeypatch: pytest.MonkeyPatch
) -> None:
    crewed, python = ship(), sys.executable
    await crewed.sail()
    await crewed.give("w", "save")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    await crewed.store.release("w", died="of something")
    await until(lambda: crewed.logged("process.died"))
    monkeypatch.setattr("sys.executable", python)

    await until(
        lambda: any(line["name"].startswith("worker alone") for line in crewed.logged("process.started"))
    )


async def test_one_that_has_no_more_to_do_ends_and_the_next_suspect_gets_another(
    ship: Callable[..., Ship],
) -> None:
    crewed = ship()
    crewed.alone_code = "pass"
    await crewed.sail()
    await crewed.give("w", "save")
    await crewed.store.release("w", died="of something")

    await until(lambda: "run1/alone 2.1" in crewed.names)

    assert "run1/alone 1.2" not in crewed.names
    assert not crewed.logged("process.died")


@pytest.mark.fault("R5")
async def test_a_worker_that_is_too_large_is_ended_and_its_jobs_are_told_why(
    ship: Callable[..., Ship],
) -> None:
    crewed = ship(code=LARGE, max_memory=60 << 20)
    await crewed.give("run1/1.1", "save")
    await crewed.sail()

    await until(lambda: crewed.logged("job.suspected"))

    assert crewed.logged("worker.oversized")[0]["bytes"] > 60 << 20
    assert (
        crewed.logged("job.suspected")[0]["reason"] == "its worker used more than 62,914,560 bytes of memory"
    )


async def test_a_stop_ends_them_all_and_starts_nobody(ship: Callable[..., Ship]) -> None:
    crewed = ship()
    await crewed.sail()
    await crewed.give("w", "save")
    await crewed.store.release("w", died="of something")
    await until(lambda: "run1/alone 1.1" in crewed.names)

    await crewed.crew.stop(seconds=5)
    before = list(crewed.names)
    await asyncio.sleep(0.3)  # longer than the look after the next one

    assert crewed.names == before
    assert not any(worker.is_alive for worker in crewed.crew._all())


@pytest.mark.fault("R5")
async def test_suspects_of_handlers_that_are_not_there_any_more_start_no_worker(
    ship: Callable[..., Ship],
) -> None:
    crewed = ship()
    await crewed.sail(handlers=["another"])
    await crewed.give("run1/1.1", "save", "probe")

    end(crewed, signal.SIGKILL)

    await until(lambda: len(crewed.logged("job.suspected")) == 2)
    await until(lambda: "run1/1.2" in crewed.names)
    await asyncio.sleep(0.5)  # several looks
    assert not any("alone" in name for name in crewed.names)
