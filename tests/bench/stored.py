"""A full store: speed against that of an empty one, pages of events, time to start."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from receiver.store.remote import Remote
from receiver.store.values import EventFilter
from tests.bench import callbacks, catalogue, generate
from tests.bench.load import flood
from tests.bench.options import Options
from tests.bench.programs import ROOT, Broken, running
from tests.bench.report import Goal, Section
from tests.bench.small import compare_with_record, count_events, figures

_EMPTY, _FULL = "empty", "full"
_FIGURES = "(figures, for /metrics)"
_LOOKS = 10
_PAGE = 50
_FIRST, _LAST = "first", "last"
_HOUR_MS = 3_600_000


def measure(options: Options) -> list[Section]:
    """Fill a store once, then measure on it and on empty ones in turn."""
    with TemporaryDirectory(prefix="receiver-bench-") as name:
        full = Path(name)
        options.tell(f"stored: recording {options.events:,} events")
        seconds = _fill(full, options.events)
        speed, pages = _speed(options, full), _pages(options, full)
        size = catalogue.database_in(full).stat().st_size
        speed.notes.append(
            f"{options.events / seconds:,.0f} events/s were written to fill it: {size / 1e9:.2f} GB"
        )
        return [speed, pages]


def _fill(folder: Path, count: int) -> float:
    began = time.monotonic()
    database = catalogue.database_in(folder)
    command = [sys.executable, "-m", "tests.bench.generate", str(database), str(count)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise Broken("the store could not be filled")
    return time.monotonic() - began


def _speed(options: Options, full: Path) -> Section:
    section = Section("stored", f"Callbacks of 1.2 KB, with {options.events:,} events stored and with none")
    program = catalogue.receiver("default")
    section.made_of = {program.name: program.built_of}
    for number in range(options.rounds):
        with TemporaryDirectory(prefix="receiver-bench-") as empty:
            sides = [(_EMPTY, Path(empty)), (_FULL, full)]
            for row, folder in sides if number % 2 == 0 else reversed(sides):
                options.tell(f"stored, round {number + 1}: {row}")
                before = count_events(folder) if row == _FULL else 0
                with running(program, folder) as started:
                    warm = flood(started, seconds=1)
                    load = flood(started, seconds=options.seconds)
                acknowledged = warm.requests + load.requests
                compare_with_record(folder, acknowledged=acknowledged, before=before)
                section.add(row, {**figures(load), "ready s": started.started_in})
    for row in (_EMPTY, _FULL):
        section.ratios[row] = {"× empty": section.ratio(row, _EMPTY, "requests/s")}
    ratio = section.ratios[_FULL]["× empty"]
    section.goals = [Goal("callbacks/s with a full store", ratio, 0.8, 0.95, "× empty", is_floor=True)]
    return section


def _pages(options: Options, full: Path) -> Section:
    section = Section("pages", f"A page of {_PAGE} events, over the store's socket")
    now = int(time.time() * 1000)
    middle = callbacks.video_id(generate.RUN, options.events // 2)
    half = now - options.events * 500
    filters = {
        "newest": EventFilter(),
        "one source": EventFilter(source="opennote"),
        "failed": EventFilter(type="video.failed"),
        "with a dead job": EventFilter(state="dead"),
        "with a done job": EventFilter(state="done"),
        "ready to run (none is)": EventFilter(state="ready"),
        "of a type that none has": EventFilter(type="video.unknown"),
        "from a source that none has": EventFilter(source="none"),
        "of one video": EventFilter(video=middle),
        "of the last hour": EventFilter(since=now - _HOUR_MS),
        "until long ago": EventFilter(until=now - options.events * 1000 + 60_000),
        "until the middle": EventFilter(until=half),
        "failed, until the middle": EventFilter(type="video.failed", until=half),
        "done, failed": EventFilter(state="done", type="video.failed"),
        "dead, since the middle": EventFilter(state="dead", since=half),
        "everything at once": EventFilter("opennote", "video.failed", "done", half - 7 * 24 * _HOUR_MS, half),
    }
    options.tell("stored: pages of events")
    with running(catalogue.receiver("no worker", "--no-worker"), full):
        taken = asyncio.run(_look(catalogue.database_in(full), filters))
        walked = asyncio.run(_walk(catalogue.database_in(full)))
    for row, (milliseconds, found) in taken.items():
        section.add(row, {"ms": milliseconds, "events": found})
    for page, milliseconds in walked.items():
        section.add(f"the {page} page of those that failed", {"ms": milliseconds, "events": _PAGE})
    slowest = max(taken[row][0] for row in filters)
    section.goals = [
        Goal("a page of events, the slowest filter", slowest, 100, 20, "ms"),
        Goal("the last full page, against the first", walked[_LAST] / walked[_FIRST], 1.5, 1.1, "×"),
        Goal("what /metrics asks the store", taken[_FIGURES][0], 50, 20, "ms"),
    ]
    return section


async def _look(database: Path, filters: dict[str, EventFilter]) -> dict[str, tuple[float, int]]:
    """Filter → the median of its milliseconds, how many events came; and what metrics ask for."""
    store = Remote(database)
    await store.connect()
    taken: dict[str, tuple[float, int]] = {}
    for name, wanted in filters.items():
        look = partial(store.events, wanted, limit=_PAGE, before=None)
        taken[name] = (await _milliseconds(look), len(await look()))
    taken[_FIGURES] = (await _milliseconds(store.figures), 0)
    await store.close()
    return taken


async def _walk(database: Path) -> dict[str, float]:
    """Go from page to page to the end; the milliseconds of some pages on that way."""
    store = Remote(database)
    await store.connect()
    wanted, before, begins = EventFilter(type="video.failed"), None, [None]
    while len(page := await store.events(wanted, limit=_PAGE, before=before)) == _PAGE:
        before = page[-1]["seq"]
        begins.append(before)
    # The last one may not be full: it would be the faster for it.
    middle, last = max(len(begins) // 2, 1), max(len(begins) - 1, 1)
    chosen = {_FIRST: None, f"{middle:,}th": begins[middle - 1], _LAST: begins[last - 1]}
    taken = {
        name: await _milliseconds(partial(store.events, wanted, limit=_PAGE, before=before))
        for name, before in chosen.items()
    }
    await store.close()
    return taken


async def _milliseconds(look: Callable[[], Awaitable[object]]) -> float:
    """The median of several looks."""
    times = []
    for _ in range(_LOOKS):
        began = time.perf_counter()
        await look()
        times.append((time.perf_counter() - began) * 1000)
    return median(times)
