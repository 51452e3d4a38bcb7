"""Clocks that jump, and memory that is scarce."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import NO_TLS, Receiver, callback, children_of, headers, peak_memory, until
from tests.acceptance.test_big_body import BigCallback

MEMORY_BYTES = 256 * 2**20


def is_ready(receiver: Receiver) -> bool:
    return httpx.get(f"{receiver.url}/readyz", verify=NO_TLS, trust_env=False, timeout=30).status_code == 200


# Clocks.

SLOW = """\
import asyncio
from pathlib import Path
from receiver import Router

router = Router()
here = Path(__file__).parent

@router.on("video.completed", timeout="60s")
async def wait(event, context):
    (here / f"started-{event.video.id}").touch()
    while not (here / f"gate-{event.video.id}").exists():
        await asyncio.sleep(0.02)
"""


@pytest.mark.debian
@pytest.mark.fault("O5")
def test_a_wall_clock_that_jumps_ends_no_lease_and_no_attempt(receivers: Callable[..., Receiver]) -> None:
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        pytest.skip("needs the Debian package faketime")
    receiver = receivers('[worker]\nlease = "4s"\n')
    clock = receiver.folder / "clock"
    clock.write_text("+0\n")
    receiver.environment = {
        "LD_PRELOAD": str(libraries[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    receiver.handler(SLOW)
    receiver.start("--handlers", "hooks.py").ready()
    real = time.time()
    for name, jump in (("ahead", 600), ("back", -600)):
        receiver.accepted(callback(name))
        until((receiver.folder / f"started-{name}").exists)
        clock.write_text(f"{jump:+d}\n")
        time.sleep(4.5)  # a whole lease goes by, on the clock that counts
        assert is_ready(receiver), "the worker is still known to be alive"
        (receiver.folder / f"gate-{name}").touch()
    events = receiver.settled(count=2)
    assert {(job["state"], job["attempts"]) for event in events for job in event["jobs"]} == {("done", 1)}
    outcomes = [attempt["outcome"] for event in events for attempt in receiver.show(event["id"])["attempts"]]
    assert outcomes == ["done"] * 2, "no attempt was lost or timed out"
    assert receiver.log("worker.expired", "process.died", "worker.killed") == []
    told = [
        json.loads(line)["timestamp"] for line in receiver.log_file.read_text().splitlines() if line[0] == "{"
    ]
    assert min(told) < _iso(real - 500), "the clock was set back"
    assert max(told) > _iso(real + 500), "and ahead"


def _iso(unix_seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_seconds))


# Memory.

GREEDY = """\
import os, signal
from pathlib import Path
from receiver import Router

router = Router()
here = Path(__file__).parent

@router.on("video.failed")
def eat(event):
    once = here / "eaten"
    if once.exists():
        return "fed"
    once.touch()
    if (here / "limited").exists():
        hoard = [bytearray(os.urandom(1 << 20)) for _ in range(1024)]
    os.kill(os.getpid(), signal.SIGKILL)
"""


@contextmanager
def limited(processes: list[int], limit: int) -> Iterator[Path | None]:
    """A memory cgroup around processes; None where the kernel or the container gives none."""
    first, second = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    parent, name = (first, "memory.limit_in_bytes") if first.is_dir() else (second, "memory.max")
    group = parent / f"receiver-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / name).write_text(str(limit))
        for process in processes:
            (group / "cgroup.procs").write_text(str(process))
    except OSError:
        if group.is_dir():
            group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        for member in (group / "cgroup.procs").read_text().split():
            (parent / "cgroup.procs").write_text(member)
        group.rmdir()


@pytest.mark.slow
@pytest.mark.fault("O7")
def test_400_megabytes_fit_into_little_memory_and_a_worker_that_the_kernel_kills_is_replaced(
    receiver: Receiver,
) -> None:
    receiver.handler(GREEDY)
    receiver.start("--handlers", "save_video", "--handlers", "hooks.py").ready()
    family = [receiver.pid, *children_of(receiver.pid)]
    content = BigCallback("big", 1, size=400_000_000)
    with limited(family, MEMORY_BYTES) as group:
        answer = httpx.post(
            f"{receiver.url}/webhooks/opennote",
            content=iter(content),
            headers=headers(),
            verify=NO_TLS,
            trust_env=False,
            timeout=120,
        )
        assert answer.status_code == 200, answer.text
        receiver.settled(count=1, seconds=60)
        assert sum(peak_memory(process) for process in family) < MEMORY_BYTES
        assert receiver.log("process.died") == [], "nobody was killed for it"
        if group is not None:
            (receiver.folder / "limited").touch()
        receiver.accepted(callback("greedy", "failed"))
        [died] = receiver.logged("process.died")
        assert (died["name"], died["status"]) == ("worker 1", -signal.SIGKILL)
        events: list[dict[str, Any]] = receiver.settled(count=2)
        assert {job["state"] for event in events for job in event["jobs"]} == {"done"}
        receiver.ready()
    with (receiver.videos / "A title-big.mp4").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == content.video.hexdigest()
