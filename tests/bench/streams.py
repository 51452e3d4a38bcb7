"""Acknowledgements beside streams: do those who follow the events delay those who send them?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import catalogue
from tests.bench.beside import full_speed
from tests.bench.load import Load, send_at
from tests.bench.options import Options
from tests.bench.programs import ROOT, Broken, Running, running
from tests.bench.report import Goal, Section
from tests.bench.small import compare_with_record, figures

_FOLLOWERS = 8
_ALONE, _FOLLOWED = "nobody follows", f"{_FOLLOWERS} follow"
_LONGEST_SECONDS = 60.0
_LIMIT_MS = 25.0


def measure(options: Options) -> Section:
    """The same rate with and without readers of the stream, each of whom hears of every event."""
    options.tell("streams: the full speed")
    rate = full_speed(options) / 5
    section = Section("streams", f"Acknowledgements beside streams, {rate:,.0f} callbacks a second")
    section.notes = [
        "a fifth of the full speed; latency counts from when a request was due",
        "those who follow are one process, on the same cores, that counts events",
    ]
    for number in range(options.rounds):
        sides = [(_ALONE, 0), (_FOLLOWED, _FOLLOWERS)]
        for row, followers in sides if number % 2 == 0 else reversed(sides):
            options.tell(f"streams, round {number + 1}: {row}")
            section.add(row, figures(_load(rate, followers, options)))
    for row in (_ALONE, _FOLLOWED):
        section.ratios[row] = {"× alone": section.ratio(row, _ALONE, "p99 ms")}
    bound = max(2 * section.row(_ALONE)["p99 ms"], _LIMIT_MS)
    p99 = section.row(_FOLLOWED)["p99 ms"]
    section.goals = [Goal(f"p99 beside {_FOLLOWERS} streams", p99, bound, bound, "ms")]
    return section


def _load(rate: float, followers: int, options: Options) -> Load:
    """One load, all of which is recorded and heard by everybody who follows."""
    with TemporaryDirectory(prefix="receiver-bench-") as name:
        folder = Path(name)
        token = catalogue.with_api(folder)
        program = catalogue.receiver("no worker", "--no-worker")
        with running(program, folder) as started, _following(started, followers, token) as crowd:
            warm = send_at(started, rate=rate, seconds=1)
            load = send_at(started, rate=rate, seconds=options.seconds)
            if crowd is not None:
                _hears(crowd, warm.requests + load.requests)
        compare_with_record(folder, acknowledged=warm.requests + load.requests)
        return load


@contextmanager
def _following(started: Running, followers: int, token: str) -> Iterator[subprocess.Popen[str] | None]:
    """A process that follows so many streams; none for none."""
    if not followers:
        yield None
        return
    command = [sys.executable, "-m", "tests.bench.follower", str(started.port), str(followers), token]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise Broken("those who were to follow do not")
            yield process
        finally:
            process.kill()


def _hears(crowd: subprocess.Popen[str], events: int) -> None:
    try:
        said, _ = crowd.communicate(f"{events}\n", timeout=_LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        said = ""
    if said != "all\n":
        raise Broken(f"not everybody who followed has heard of {events:,} events")
