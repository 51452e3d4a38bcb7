"""A process that is killed at any call while it writes a video: readers see a whole file or none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from receiver.files import OutputDirectory
from tests.acceptance.conftest import Receiver, a_video, callback, is_running, until

CALLS = ("write", "fsync", "unlinkat", "flock")
CONTENT = b"a video, more or less" * 20_000
EVENT = "evt_aaaaaaaa11111111"
SAVE = f"""\
import sys
from pathlib import Path
from receiver.files import OutputDirectory

with OutputDirectory("videos", folder=Path(sys.argv[1])) as output:
    partial = output.begin({EVENT!r})
    content = {CONTENT[:21]!r} * 20_000
    for begin in range(0, len(content), 150_000):
        partial.write(content[begin : begin + 150_000])
    partial.commit("a.mp4")
"""


def killed_at(call: str, number: int, folder: Path) -> bool:
    """Save a video in a process that is killed as it makes its nth such call; False when it made fewer."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
    ended = subprocess.run(
        [*command, sys.executable, "-c", SAVE, str(folder)],
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    assert ended.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), ended.stderr
    return ended.returncode != 0


def finished(folder: Path) -> dict[str, bytes]:
    """What a reader finds."""
    videos = folder / "videos"
    paths = sorted(videos.iterdir()) if videos.is_dir() else []
    return {path.name: path.read_bytes() for path in paths if path.name != ".receiver"}


def save(folder: Path, content: bytes) -> None:
    with OutputDirectory("videos", folder=folder) as output:
        partial = output.begin(EVENT)
        partial.write(content)
        partial.commit("a.mp4")


@pytest.mark.debian
@pytest.mark.fault("C5")
@pytest.mark.parametrize("former", [None, b"what it wrote before"], ids=["new", "again"])
def test_a_kill_at_any_call_leaves_a_whole_file_or_none_and_the_next_attempt_succeeds(
    tmp_path: Path, former: bytes | None
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs the Debian package strace")
    calls = [*CALLS, "mkdirat", "linkat"] if former is None else [*CALLS, "renameat"]
    seen = {call: list(_kills(call, tmp_path, former)) for call in calls}
    for appeared in seen.values():
        assert appeared, "it makes each of these calls"
        assert appeared == sorted(appeared), "what appeared once stays"
    assert sum(map(len, seen.values())) > 8, "there are so many calls to be killed at"
    assert {appeared for each in seen.values() for appeared in each} == {False, True}


def _kills(call: str, tmp_path: Path, former: bytes | None) -> Iterator[bool]:
    """Kill at the first, second … of these calls; say of each whether the file had appeared."""
    before = {} if former is None else {"a.mp4": former}
    for number in count(1):
        folder = tmp_path / f"{call}{number}"
        folder.mkdir()
        if former is not None:
            save(folder, former)
        is_killed = killed_at(call, number, folder)
        found = finished(folder)
        if not is_killed:
            assert found == {"a.mp4": CONTENT}
            return
        assert found in (before, {"a.mp4": CONTENT}), f"half a file after {call} number {number}"
        yield found != before
        save(folder, CONTENT)
        assert finished(folder) == {"a.mp4": CONTENT}, "its own name, again"
        assert list((folder / "videos" / ".receiver" / "partial").iterdir()) == []


@pytest.mark.debian
@pytest.mark.root
@pytest.mark.fault("C5")
@pytest.mark.parametrize(
    ("call", "number"),
    [("fsync", 2), ("linkat", 1), ("unlinkat", 1), ("linkat", 2)],
    ids=["written", "named", "tidied", "described"],
)
def test_a_worker_that_is_killed_at_a_step_of_an_output_leaves_a_whole_one_or_none(
    receiver: Receiver, call: str, number: int
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("needs the Debian package strace")
    if os.geteuid() != 0:
        pytest.skip("needs root to trace a process that is no child of ours")
    receiver.start("--handlers", "save_video").ready()
    worker = receiver.child("receiver.worker")
    video = a_video(padding=3_000_000)
    with _killing(worker, call, number):
        receiver.accepted(callback("v1", video=video))
        until(partial(_has_ended, worker), what=f"the kill at {call} number {number}")
        assert set(receiver.files().values()) <= {video}
    (event,) = receiver.settled(count=1)
    assert event["jobs"][0]["state"] == "done"
    assert list(receiver.files().values()) == [video]
    assert len(list(receiver.videos.glob("*.json"))) == 1
    assert receiver.halves() == []


def _has_ended(pid: int) -> bool:
    return not is_running(pid)


@contextmanager
def _killing(pid: int, call: str, nth: int) -> Iterator[None]:
    """Have a running process killed as it makes its nth such call from now on."""
    inject = f"inject={call}:signal=SIGKILL:when={nth}"
    command = ["strace", "-f", "-qq", "-p", str(pid), "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
        try:
            threads = Path(f"/proc/{pid}/task")
            until(
                lambda: all(
                    "TracerPid:\t0" not in (each / "status").read_text() for each in threads.iterdir()
                )
            )
            yield
        finally:
            tracer.kill()  # asked politely, it may wait for a thread that is no more
