"""Small bodies: how many callbacks a second, how late, and for how much processor time."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import callbacks, catalogue
from tests.bench.load import Load, flood
from tests.bench.options import Options
from tests.bench.programs import Broken, Program, running
from tests.bench.report import Goal, Section

ROUTE = "bare Starlette route"
OURS = "receiver: default"


def measure(options: Options) -> Section:
    """Ours beside everybody else."""
    section = Section("small", f"Callbacks of 1.2 KB, {callbacks.CONNECTIONS} connections")
    peers = [
        catalogue.on_uvicorn("bare ASGI", "bare:asgi"),
        catalogue.on_uvicorn(ROUTE, "bare:starlette", "starlette"),
        catalogue.receiver("default"),
        catalogue.receiver("no worker", "--no-worker"),
        catalogue.flask_guide(),
        catalogue.on_uvicorn("FastAPI, one commit each", "commit:app", "fastapi", "starlette"),
        catalogue.webhook("adnanh/webhook, /bin/true"),
    ]
    section.made_of = {program.name: program.built_of for program in peers}
    section.notes = [
        f"wrk, one thread, {options.seconds} s after a warm-up of 1 s; another order in every other round",
        "cpu is time on the processor by a request; the least disturbed figure on a busy machine",
        "default has one worker, which is idle, as the events are nothing for its handler",
        "uvicorn runs without its access log; webhook answers when /bin/true has ended",
    ]
    for number in range(options.rounds):
        for program in peers if number % 2 == 0 else reversed(peers):
            options.tell(f"small, round {number + 1}: {program.name}")
            section.add(program.name, figures(_load(program, options)))
    for program in peers:
        rate = section.ratio(program.name, ROUTE, "requests/s")
        section.ratios[program.name] = {"× route": rate}
    section.goals = _goals(section)
    return section


def _goals(section: Section) -> list[Goal]:
    ours = section.row(OURS)
    peers = [row for row in section.rounds if not row.startswith(("bare", "receiver"))]
    fastest = max(section.row(peer)["requests/s"] for peer in peers)
    return [
        Goal("callbacks/s, against the bare route", ours["× route"], 0.6, 0.9, "×", is_floor=True),
        Goal("callbacks/s, against the fastest peer", ours["requests/s"] / fastest, 1, 1, "×", is_floor=True),
        Goal("p99 under full load", ours["p99 ms"], 50, 25, "ms"),
    ]


def figures(load: Load) -> dict[str, float]:
    """The columns of a load."""
    total = {"cpu µs": sum(load.cpu_us.values())}
    by_role = {f"{role} µs": used for role, used in load.cpu_us.items() if role in ("ingress", "store")}
    speed = {"requests/s": load.per_second, "p50 ms": load.p50_ms, "p99 ms": load.p99_ms}
    return {**speed, **total, **by_role}


def _load(program: Program, options: Options) -> Load:
    with TemporaryDirectory(prefix="receiver-bench-") as folder:
        with running(program, Path(folder)) as started:
            warm = flood(started, seconds=1)
            load = flood(started, seconds=options.seconds)
        if program.role == "ingress":
            compare_with_record(Path(folder), acknowledged=warm.requests + load.requests)
        return load


def compare_with_record(folder: Path, *, acknowledged: int, before: int = 0) -> None:
    """Raise Broken unless the record holds what was acknowledged: nothing less, nothing more."""
    stored = count_events(folder) - before
    if stored != acknowledged:
        raise Broken(f"{acknowledged} callbacks were acknowledged, but the record holds {stored}")


def count_events(folder: Path) -> int:
    """How many events a receiver that has ended left behind."""
    with closing(sqlite3.connect(catalogue.database_in(folder))) as database:
        return int(database.execute("SELECT count(*) FROM events").fetchone()[0])
