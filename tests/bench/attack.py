"""Good callbacks under attack: at a fifth of the full speed, do others who do no good matter?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import catalogue
from tests.bench.beside import full_speed
from tests.bench.load import Load, send_at
from tests.bench.options import Options
from tests.bench.programs import ROOT, Broken, Running, running
from tests.bench.report import Goal, Section
from tests.bench.small import compare_with_record, figures

SILENT = 500
BAD_PER_SECOND = 1000
LEAST_MS = 25.0
TIMES_QUIET = 4.0
MOST_MEMORY = 512 * 2**20
_QUIET, _ATTACKED = "quiet", "under attack"
_END_SECONDS = 30


@dataclass
class Attacked:
    """What an attack has seen, once it is over."""

    statuses: dict[str, int] = field(default_factory=dict)
    """Status (or how it failed) → bad requests that met it."""
    per_second: float = 0.0
    """Bad requests that were answered."""
    replaced: int = 0
    """Silent connections that were closed, each of them followed by another."""


@contextmanager
def attacking(target: Running, *, silent: int = SILENT, rate: float = BAD_PER_SECOND) -> Iterator[Attacked]:
    """Attack for the time of a block, by a process of its own; raise Broken when that fails."""
    command = [sys.executable, "-m", "tests.bench.attacker", str(target.port), str(silent), str(rate)]
    seen = Attacked()
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise Broken("the attack did not begin")
            yield seen
            output, _ = process.communicate(timeout=_END_SECONDS)  # which ends its standard input
        finally:
            process.kill()
    report = json.loads(output)
    seen.statuses, seen.per_second, seen.replaced = (
        report["statuses"],
        report["per_second"],
        report["replaced"],
    )


@dataclass(frozen=True, slots=True)
class Compared:
    """The same callbacks before and under attack."""

    quiet: Load
    attacked: Load
    attack: Attacked
    memory: int
    """The most that all processes had resident, each at its worst, in bytes."""


def compare(*, rate: float, seconds: int) -> Compared:
    """Send callbacks at a fixed rate, all of which must be recorded: first alone, then beside an attack."""
    with TemporaryDirectory(prefix="receiver-bench-") as name:
        folder = Path(name)
        with running(catalogue.receiver("default"), folder) as target:
            warm = send_at(target, rate=rate, seconds=1)
            quiet = send_at(target, rate=rate, seconds=seconds)
            with attacking(target) as attack:
                attacked = send_at(target, rate=rate, seconds=seconds)
            memory = sum(target.peaks().values())
        compare_with_record(folder, acknowledged=warm.requests + quiet.requests + attacked.requests)
    return Compared(quiet, attacked, attack, memory)


def measure(options: Options) -> Section:
    """The same rate in peace, and beside 500 silent connections and 1,000 bad requests a second."""
    options.tell("attack: the full speed")
    rate = full_speed(options) / 5
    section = Section("attack", f"Acknowledgements under attack, {rate:,.0f} good callbacks a second")
    section.notes = [
        f"a fifth of the full speed; {SILENT} silent connections and {BAD_PER_SECOND} bad requests a second",
        "from 8 addresses: wrong keys, unknown paths, bodies that are no JSON, requests that are no HTTP",
        "memory is the sum of what each process had resident at its worst",
    ]
    for number in range(options.rounds):
        options.tell(f"attack, round {number + 1}")
        seen = compare(rate=rate, seconds=options.seconds)
        section.add(_QUIET, figures(seen.quiet))
        bad = {"bad/s": seen.attack.per_second, "MB": seen.memory / 1e6}
        section.add(_ATTACKED, {**figures(seen.attacked), **bad})
    section.ratios[_ATTACKED] = {"× quiet": section.ratio(_ATTACKED, _QUIET, "p99 ms")}
    attacked = section.row(_ATTACKED)
    bound = max(TIMES_QUIET * section.row(_QUIET)["p99 ms"], LEAST_MS)
    section.goals = [
        Goal("p99 under attack", attacked["p99 ms"], bound, bound, "ms"),
        Goal(
            "memory of all processes under attack", attacked["MB"], MOST_MEMORY / 1e6, MOST_MEMORY / 1e6, "MB"
        ),
    ]
    return section
