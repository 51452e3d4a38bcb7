"""`make bench`: run the sections that were asked for, print tables, write the same as JSON."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench import (
    attack,
    beside,
    big,
    downloads,
    jobs,
    listening,
    replays,
    small,
    start,
    stored,
    streams,
)
from tests.bench.options import Options, parse
from tests.bench.programs import Broken
from tests.bench.report import Section, goals_as_text

_NEEDS = {
    "small": ("wrk", "webhook"),
    "big": ("wrk", "webhook"),
    "stored": ("wrk",),
    "start": (),
    "handlers": ("wrk",),
    "streams": ("wrk",),
    "attack": ("wrk",),
    "jobs": (),
    "replays": (),
    "listen": (),
    "downloads": ("curl",),
}
_MEASURES: dict[str, Callable[[Options], Section | list[Section]]] = {
    "small": small.measure,
    "big": big.measure,
    "stored": stored.measure,
    "start": start.measure,
    "handlers": beside.measure,
    "streams": streams.measure,
    "attack": attack.measure,
    "jobs": jobs.measure,
    "replays": replays.measure,
    "listen": listening.measure,
    "downloads": downloads.measure,
}


def main(options: Options) -> int:
    """Measure; return the exit status: 0 measured, 1 something did not do what it is measured for."""
    needed = {program for name in options.only for program in _NEEDS[name]}
    missing = sorted(program for program in needed if shutil.which(program) is None)
    if missing:
        names = " ".join(missing)
        print(f"make bench needs {names}; on Debian and Ubuntu: apt install {names}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sections: list[Section] = []
    try:
        for name in options.only:
            measured = _MEASURES[name](options)
            new = measured if isinstance(measured, list) else [measured]
            print(*(section.as_text() for section in new), sep="\n", flush=True)
            sections += new
    except Broken as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    finally:
        _write(options, sections)  # what was measured until then, too
    return 0


def _stop(*_: object) -> None:
    """End what runs and remove what was made, on the way up; a second signal must not disturb that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _write(options: Options, sections: list[Section]) -> None:
    if sections:
        print(goals_as_text(goal for section in sections for goal in section.goals))
        options.output.write_text(json.dumps(_as_json(options, sections), indent=1) + "\n", "utf-8")


def _as_json(options: Options, sections: list[Section]) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "options": {"rounds": options.rounds, "seconds": options.seconds, "events": options.events},
        "sections": {section.key: section.as_json() for section in sections},
    }


def _machine() -> dict[str, Any]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        if line.startswith("model name")
    ]
    kind = subprocess.run(
        ["stat", "--file-system", "--format=%T", tempfile.gettempdir()],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "file system": kind.stdout.strip(),
    }


if __name__ == "__main__":
    sys.exit(main(parse(sys.argv[1:])))
