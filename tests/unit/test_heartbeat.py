"""The thread that renews a worker's lease: when it can't, the handlers are stopped, or the process ends."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from receiver.heartbeat import Heartbeat
from receiver.lifeline import REPLACE_ME
from receiver.store.values import Row
from tests.contract.stand import StoreProcess, hang_up
from tests.unit.test_context import Lines

LEASE_SECONDS = 1.0
# A worker without a store, whose handler stops when it is told to, or never; says when it ended by itself.
PROGRAM = """
import asyncio, sys, time
from pathlib import Path
from receiver import logs
from receiver.heartbeat import Heartbeat

how = sys.argv[1]
logs.configure(style="json")

def jobs():
    if how == "fails":
        raise RuntimeError("a mistake of ours")
    return [1]

async def main():
    running = {"a handler"}
    heartbeat = Heartbeat(
        Path(sys.argv[2]),
        worker="w",
        lease_seconds=1.0,
        jobs=jobs,
        due=lambda: [],
        attempts_of=lambda handler: 1,
        runs=lambda: bool(running),
        lapse=lambda: running.clear() if how == "stops" else None,
        log=logs.get(),
    )
    heartbeat.start()
    if how == "blocks":
        time.sleep(20)
    while running:
        await asyncio.sleep(0.01)
    await asyncio.sleep(1.5)
    print("still here", heartbeat.has_lapsed)
    heartbeat.stop()

asyncio.run(main())
"""


def ended(how: str, folder: Path) -> tuple[int, list[str], str, float]:
    """Exit status, logged events, output, and how long it took."""
    began = time.monotonic()
    command = [sys.executable, "-c", PROGRAM, how, str(folder / "receiver.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    return done.returncode, lines, done.stdout, time.monotonic() - began


@pytest.mark.fault("R4")
@pytest.mark.parametrize("how", ["never stops", "blocks"])
def test_handlers_that_do_not_stop_end_with_their_process(tmp_path: Path, how: str) -> None:
    status, lines, output, seconds = ended(how, tmp_path)
    assert (status, lines, output) == (REPLACE_ME, ["worker.lapsed", "worker.killed"], "")
    assert 0.8 * LEASE_SECONDS < seconds < 15


@pytest.mark.fault("R4")
def test_handlers_that_stop_leave_a_process_that_may_tell_what_it_had_done(tmp_path: Path) -> None:
    assert ended("stops", tmp_path)[:3] == (0, ["worker.lapsed"], "still here True\n")


@pytest.mark.fault("R4")
def test_a_thread_that_fails_does_not_leave_a_worker_without_renewals(tmp_path: Path) -> None:
    status, lines, output, _ = ended("fails", tmp_path)
    assert (status, lines, output) == (REPLACE_ME, ["worker.killed"], "")


def a_heartbeat(database: Path, *, running: list[int], lapses: list[bool]) -> Heartbeat:
    due: list[tuple[float, Row]] = []
    log: Any = Lines()
    return Heartbeat(
        database,
        worker="w",
        lease_seconds=LEASE_SECONDS,
        jobs=lambda: running,
        due=lambda: due,
        attempts_of=lambda _: 1,
        runs=lambda: bool(running),
        lapse=lambda: lapses.append(True),
        log=log,
    )


@pytest.mark.anyio
@pytest.mark.fault("R4")
async def test_a_worker_without_handlers_that_run_lapses_and_comes_back_with_the_store(
    tmp_path: Path,
) -> None:
    database, lapses = tmp_path / "receiver.db", list[bool]()
    heartbeat = a_heartbeat(database, running=[], lapses=lapses)
    heartbeat.start()
    try:
        async with asyncio.timeout(20):
            while not heartbeat.has_lapsed:  # noqa: ASYNC110 - time is what passes here
                await asyncio.sleep(0.01)
            store = StoreProcess(database)
            remote = await store.connected()
            while heartbeat.has_lapsed:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert await remote.probe() == ["w"]
        await hang_up(remote)
    finally:
        heartbeat.stop()
    store.stop()
    assert lapses == []


@pytest.mark.anyio
async def test_what_comes_too_late_begins_no_lease_anew_while_a_handler_runs(tmp_path: Path) -> None:
    running = [1]
    heartbeat = a_heartbeat(tmp_path / "receiver.db", running=running, lapses=[])
    heartbeat.confirm(time.monotonic() - 10)
    assert not heartbeat.has_lapsed, "an older answer takes nothing back"
    await asyncio.sleep(0.85 * LEASE_SECONDS)
    heartbeat.confirm(time.monotonic())
    assert heartbeat.has_lapsed
    running.clear()
    heartbeat.confirm(time.monotonic())
    assert not heartbeat.has_lapsed
