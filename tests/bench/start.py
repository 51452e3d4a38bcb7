"""How long it takes until callbacks are welcome, and until `--help` is there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import catalogue
from tests.bench.options import Options
from tests.bench.programs import Program, running
from tests.bench.report import Goal, Section

_TIMES = 10


def measure(options: Options) -> Section:
    """From the start of the process to the answer 200 of /readyz."""
    section = Section("start", f"Start, the median of {_TIMES}")
    options.tell("start")
    default, alone = catalogue.receiver("default"), catalogue.receiver("no worker", "--no-worker")
    section.made_of = {default.name: default.built_of}
    with TemporaryDirectory(prefix="receiver-bench-") as name:
        folder = Path(name)
        for _ in range(_TIMES):
            section.add("ready, new database", _started(default))
            section.add("ready, known database", _started(default, folder))
            section.add("ready, no worker", _started(alone))
            section.add("--help", {"s": _help()})
    ready = max(section.row(row)["s"] for row in ("ready, new database", "ready, known database"))
    section.goals = [
        Goal("start to ready", ready, 1.5, 0.5, "s"),
        Goal("receiver --help", section.row("--help")["s"], 0.3, 0.3, "s"),
    ]
    return section


def _started(program: Program, folder: Path | None = None) -> dict[str, float]:
    """The time, and what all its processes together worked in it: a busy machine changes the latter less."""
    with running(program, folder) as started:
        return {"s": started.started_in, "cpu s": sum(started.cpu_seconds().values())}


def _help() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "receiver", "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
