"""Jobs that do nothing: how many a second, from recorded to done, beside huey; and what a backlog costs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import catalogue
from tests.bench.options import Options
from tests.bench.programs import ROOT, Broken, running
from tests.bench.report import Goal, Section

_JOBS = 20_000
_BACKLOG = 100_000
_LONGEST_SECONDS = 120.0
_HUEY = "huey on SQLite, WAL, full sync"
_OURS = "receiver: one worker"


def measure(options: Options) -> Section:
    """Drain a backlog of ours and one of huey's in turn; then start with a larger one."""
    section = Section("jobs", f"{_JOBS:,} jobs that do nothing")
    program = catalogue.receiver("one worker", handlers="nothing")
    section.made_of = {program.name: program.built_of, _HUEY: f"huey {version('huey')}, one thread"}
    section.notes = [
        "ours: from the first claim to the last settlement; huey: from its consumer's start to the last task",
        "ours keeps every attempt with its times, huey is told to keep no results",
    ]
    for number in range(options.rounds):
        sides = [(_OURS, _ours), (_HUEY, _huey)]
        for row, drain in sides if number % 2 == 0 else reversed(sides):
            options.tell(f"jobs, round {number + 1}: {row}")
            with TemporaryDirectory(prefix="receiver-bench-") as folder:
                section.add(row, {"jobs/s": _JOBS / drain(Path(folder))})
    for row in (_OURS, _HUEY):
        section.ratios[row] = {"× huey": section.ratio(row, _HUEY, "jobs/s")}
    options.tell(f"jobs: a start with {_BACKLOG:,} of them")
    ready = _start_with_backlog()
    section.add(f"a start with {_BACKLOG:,} pending", {"ready s": ready})
    section.goals = [
        Goal("no-op jobs/s, against huey", section.ratios[_OURS]["× huey"], 2, 5, "×", is_floor=True),
        Goal("start to ready with 100,000 pending jobs", ready, 2, 2, "s"),
    ]
    return section


def _ours(folder: Path) -> float:
    database = _filled(folder, _JOBS)
    program = catalogue.receiver("one worker", handlers="nothing")
    with running(program, folder):
        _wait_until_all_are_done(database)
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT max(ended_at) - min(started_at), count(*) FROM jobs WHERE state = 'done'"
        milliseconds, done = connection.execute(query).fetchone()
    if done != _JOBS:
        raise Broken(f"{_JOBS} jobs were recorded, {done} are done")
    return float(milliseconds) / 1000


def _filled(folder: Path, count: int) -> Path:
    catalogue.configured(folder)
    database = catalogue.database_in(folder)
    command = [sys.executable, "-m", "tests.bench.generate", str(database), str(count), "nothing"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise Broken("the store could not be filled")
    return database


def _wait_until_all_are_done(database: Path) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        query = "SELECT EXISTS (SELECT 1 FROM jobs WHERE state IN ('ready', 'running'))"
        while connection.execute(query).fetchone()[0]:
            if time.monotonic() > deadline:
                raise Broken(f"the jobs were not done after {_LONGEST_SECONDS:g} s")
            time.sleep(0.05)


def _huey(folder: Path) -> float:
    command = [sys.executable, "-m", "tests.bench.references.queue", str(folder), str(_JOBS)]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_LONGEST_SECONDS
    )
    if ended.returncode:
        raise Broken(f"huey failed: {ended.stderr}")
    return float(ended.stdout)


def _start_with_backlog() -> float:
    with TemporaryDirectory(prefix="receiver-bench-") as name:
        folder = Path(name)
        _filled(folder, _BACKLOG)
        with running(catalogue.receiver("one worker", handlers="nothing"), folder) as started:
            return started.started_in
