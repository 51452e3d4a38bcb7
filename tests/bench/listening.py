"""Listening: how fast a laptop catches up with another receiver, and how far it is behind a busy one."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import catalogue
from tests.bench.load import send_at
from tests.bench.options import Options
from tests.bench.programs import ROOT, Broken, Running, running
from tests.bench.report import Goal, Section

_EVENTS = 10_000
_RATE = 500.0
_LONGEST_SECONDS = 120.0
_LOOK_SECONDS = 0.02
_HANDLER = str(catalogue.HANDLERS / "nothing.py")
_LIVE = f"live, {_RATE:g} a second"
_RECORDED, _DONE = f"{_EVENTS:,} recorded", f"{_EVENTS:,} handled"


def measure(options: Options) -> Section:
    """Catch up with many, then follow what comes."""
    section = Section("listen", "`receiver listen` to another receiver on this machine, callbacks of 1.2 KB")
    program = catalogue.receiver("no worker", "--no-worker", handlers="nothing")
    section.made_of = {program.name: program.built_of}
    section.notes = [
        "with the start of the command, of its store and of its worker",
        "behind: from the last acknowledgement there until that event is recorded here",
    ]
    for number in range(options.rounds):
        options.tell(f"listen, round {number + 1}: {_EVENTS:,} are caught up with")
        for row, seconds in zip((_RECORDED, _DONE), _catch_up(), strict=True):
            section.add(row, {"events/s": _EVENTS / seconds, "s": seconds})
        options.tell(f"listen, round {number + 1}: {_LIVE}")
        section.add(_LIVE, _live(options))
    speed, behind = section.medians(_RECORDED)["events/s"], section.medians(_LIVE)["behind s"]
    section.goals = [
        Goal("events that listen catches up with", speed, 500, 1000, "events/s", is_floor=True),
        Goal(f"listen, behind {_RATE:g} callbacks a second", behind, 2, 0.5, "s"),
    ]
    return section


def _catch_up() -> tuple[float, float]:
    """Seconds until everything is recorded, and until it is handled."""
    program = catalogue.receiver("no worker", "--no-worker")
    with _two_folders() as (origin, laptop):
        command = [
            sys.executable,
            "-m",
            "tests.bench.generate",
            str(catalogue.database_in(origin)),
            str(_EVENTS),
        ]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            raise Broken("the store could not be filled")
        with running(program, origin) as started:
            began = time.monotonic()
            with _listening(started, laptop, "--since", "365d"):
                _until(laptop, "SELECT count(*) FROM events", _EVENTS)
                recorded = time.monotonic() - began
                _until(laptop, "SELECT count(*) FROM jobs WHERE state = 'done'", _EVENTS)
                return recorded, time.monotonic() - began


def _live(options: Options) -> dict[str, float]:
    program = catalogue.receiver("no worker", "--no-worker")
    with _two_folders() as (origin, laptop), running(program, origin) as started, _listening(started, laptop):
        _until_connected(laptop)
        sent = send_at(started, rate=_RATE, seconds=options.seconds).requests
        ended = time.monotonic()
        _until(laptop, "SELECT count(*) FROM events", sent)
        behind = time.monotonic() - ended
    return {"events/s": sent / (options.seconds + behind), "behind s": behind}


@contextmanager
def _two_folders() -> Iterator[tuple[Path, Path]]:
    """One of a receiver with an API, and one that has its token."""
    with TemporaryDirectory(prefix="receiver-bench-") as name:
        origin, laptop = Path(name) / "origin", Path(name) / "laptop"
        for folder in (origin, laptop):
            folder.mkdir()
            catalogue.configured(folder)
        (laptop / "token").write_text(catalogue.with_api(origin), "ascii")
        yield origin, laptop


@contextmanager
def _listening(origin: Running, folder: Path, *options: str) -> Iterator[None]:
    """Run `receiver listen` in a folder; it must not end by itself."""
    command = [
        sys.executable,
        "-m",
        "receiver",
        "--config",
        str(folder / "receiver.toml"),
        "--json",
        "listen",
    ]
    asked = ["--token-file", str(folder / "token"), "--handlers", _HANDLER, *options]
    with _log(folder).open("wb") as log:
        process = subprocess.Popen(
            [*command, f"http://127.0.0.1:{origin.port}", *asked],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield
        if process.poll() is not None:
            raise Broken(f"receiver listen ended: {_log(folder).read_text('utf-8', 'replace')[-2000:]}")
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log(folder: Path) -> Path:
    return folder / "listen.log"


def _until_connected(folder: Path) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while "listener.connected" not in _log(folder).read_text("utf-8", "replace"):
        _wait(deadline, "it was connected")


def _until(folder: Path, query: str, count: int) -> None:
    """Wait until a query of the record in a folder gives a count."""
    database = catalogue.database_in(folder)
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not database.exists():
        _wait(deadline, "there was a record")
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        while _count(connection, query) < count:
            _wait(deadline, f"there were {count:,}: {query}")


def _count(connection: sqlite3.Connection, query: str) -> int:
    try:
        return int(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # the tables are about to be made
        return 0


def _wait(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise Broken(f"{_LONGEST_SECONDS:g} s were over before {what}")
    time.sleep(_LOOK_SECONDS)
