"""Replays and captures by their commands, as an operator would run them: how many events a second."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench import catalogue
from tests.bench.options import Options
from tests.bench.programs import ROOT, Broken, running
from tests.bench.report import Goal, Section

_SCHEDULED = 100_000
_DONE = 20_000
_FEW = 2_000
_LONGEST_SECONDS = 120.0
_HANDLER = str(catalogue.HANDLERS / "nothing.py")
_EVERYTHING = ("--all", "--yes", "--json")


def measure(options: Options) -> Section:
    """Schedule many, have some done, export, import, replay and post them."""
    section = Section("replays", "Replays and captures of callbacks of 1.2 KB, each by one command")
    program = catalogue.receiver("no worker", "--no-worker", handlers="nothing")
    section.made_of = {program.name: program.built_of}
    section.notes = ["with the start of the command; one new job, or one request, for each event"]
    for number in range(options.rounds):
        options.tell(f"replays, round {number + 1}: {_SCHEDULED:,} are scheduled")
        with TemporaryDirectory(prefix="receiver-bench-") as name:
            section.add(f"schedule {_SCHEDULED:,}", _scheduled(Path(name)))
        options.tell(f"replays, round {number + 1}: {_DONE:,} are done")
        with TemporaryDirectory(prefix="receiver-bench-") as name:
            section.add(f"have {_DONE:,} done by one worker", _done(Path(name)))
        options.tell(f"replays, round {number + 1}: captures of {_DONE:,} and {_FEW:,}")
        with TemporaryDirectory(prefix="receiver-bench-") as name:
            for row, figures in _captured(Path(name)).items():
                section.add(row, figures)
    seconds = section.medians(f"schedule {_SCHEDULED:,}")["s"]
    section.goals = [Goal(f"{_SCHEDULED:,} events scheduled for a replay", seconds, 5, 2.5, "s")]
    return section


def _figures(count: int, seconds: float) -> dict[str, float]:
    return {"events/s": count / seconds, "s": seconds}


def _scheduled(folder: Path) -> dict[str, float]:
    _fill(folder, _SCHEDULED)
    with running(catalogue.receiver("no worker", "--no-worker", handlers="nothing"), folder):
        seconds, said = _timed(folder, "replay", *_EVERYTHING)
    if said[-1]["jobs"] != _SCHEDULED:
        raise Broken(f"{_SCHEDULED} events were to get jobs: {said[-1]}")
    return _figures(_SCHEDULED, seconds)


def _done(folder: Path) -> dict[str, float]:
    _fill(folder, _DONE)
    with running(catalogue.receiver("one worker", handlers="nothing"), folder):
        began = time.monotonic()
        _timed(folder, "replay", *_EVERYTHING)
        _wait_until_all_are_done(catalogue.database_in(folder))
        return _figures(_DONE, time.monotonic() - began)


def _captured(folder: Path) -> dict[str, dict[str, float]]:
    origin, copy, few = folder / "origin", folder / "copy", folder / "few"
    whole, small = folder / "whole.tar", folder / "small.tar"
    figures = {}
    for place, count in ((origin, _DONE), (few, _FEW)):
        place.mkdir()
        _fill(place, count)
    copy.mkdir()
    catalogue.configured(copy)
    figures[f"export {_DONE:,}"] = _figures(_DONE, _timed(origin, "export", str(whole))[0])
    figures[f"import {_DONE:,}"] = _figures(_DONE, _timed(copy, "import", str(whole))[0])
    _timed(few, "export", str(small))
    seconds, said = _timed(few, "replay", str(small), "--handlers", _HANDLER, "--json")
    if len(said) != _FEW or {line["state"] for line in said} != {"done"}:
        raise Broken(f"{len(said)} of {_FEW} jobs were done in the command's own process")
    figures[f"replay {_FEW:,} from a capture"] = _figures(_FEW, seconds)
    with running(catalogue.receiver("no worker", "--no-worker", handlers="nothing"), few) as started:
        seconds, said = _timed(few, "replay", *_EVERYTHING, "--to", started.url)
    if said[-1]["failed"]:
        raise Broken(f"{said[-1]['failed']} of {_FEW} were not accepted")
    figures[f"post {_FEW:,}"] = _figures(_FEW, seconds)
    return figures


def _fill(folder: Path, count: int) -> None:
    catalogue.configured(folder)
    database = str(catalogue.database_in(folder))
    command = [sys.executable, "-m", "tests.bench.generate", database, str(count)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise Broken("the store could not be filled")


def _timed(folder: Path, *arguments: str) -> tuple[float, list[dict[str, Any]]]:
    """Run a command of the receiver; how long it took, and the objects that it printed."""
    command = [sys.executable, "-m", "receiver", "--config", str(catalogue.configured(folder)), *arguments]
    began = time.monotonic()
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if ended.returncode:
        raise Broken(f"receiver {' '.join(arguments)}: {ended.stderr[-2000:]}")
    return seconds, [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


def _wait_until_all_are_done(database: Path) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        query = "SELECT EXISTS (SELECT 1 FROM jobs WHERE state IN ('ready', 'running'))"
        while connection.execute(query).fetchone()[0]:
            if time.monotonic() > deadline:
                raise Broken(f"the jobs were not done after {_LONGEST_SECONDS:g} s")
            time.sleep(0.05)
