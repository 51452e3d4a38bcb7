"""Acknowledgements beside handlers: at a fifth of the full speed, does it matter what handlers do?"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import catalogue
from tests.bench.load import Load, flood, send_at
from tests.bench.options import Options
from tests.bench.programs import running
from tests.bench.report import Goal, Section
from tests.bench.small import compare_with_record, figures

_IDLE = "idle"
_CASES = {_IDLE: "idle", "that sleep": "sleeping", "that block": "blocking", "that burn": "burning"}
_LIMIT_MS = 25.0


def measure(options: Options) -> Section:
    """The same rate with handlers that do nothing, wait, hold their loop, and compute."""
    options.tell("handlers: the full speed")
    rate = full_speed(options) / 5
    section = Section("handlers", f"Acknowledgements beside handlers, {rate:,.0f} callbacks a second")
    section.notes = [
        "a fifth of the full speed; latency counts from when a request was due; two workers",
        "jobs pile up on purpose: the workers never rest",
    ]
    for number in range(options.rounds):
        for row, handlers in _CASES.items():
            options.tell(f"handlers, round {number + 1}: {row}")
            section.add(row, figures(_load(handlers, rate, options)))
    idle = section.row(_IDLE)["p99 ms"]
    bound = max(2 * idle, _LIMIT_MS)
    for row in _CASES:
        section.ratios[row] = {"× idle": section.ratio(row, _IDLE, "p99 ms")}
    section.goals = [
        Goal(f"p99 beside handlers {row}", section.row(row)["p99 ms"], bound, bound, "ms")
        for row in _CASES
        if row != _IDLE
    ]
    return section


def full_speed(options: Options) -> float:
    """Callbacks a second of a receiver that has nothing else to do."""
    with running(catalogue.receiver("default")) as started:
        flood(started, seconds=1)
        return flood(started, seconds=options.seconds).per_second


def _load(handlers: str, rate: float, options: Options) -> Load:
    """One load, all of which must be recorded."""
    with TemporaryDirectory(prefix="receiver-bench-") as name:
        folder = Path(name)
        with running(catalogue.receiver(handlers, "--workers", "2", handlers=handlers), folder) as started:
            warm = send_at(started, rate=rate, seconds=1)
            load = send_at(started, rate=rate, seconds=options.seconds)
        compare_with_record(folder, acknowledged=warm.requests + load.requests)
        return load
