"""Other programs: what they get, what they may not do, and that none outlives its time or its caller."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from receiver import programs
from receiver.programs import Ended
from tests.acceptance.conftest import is_running, until

SH = "/bin/sh"


async def run(*command: str, timeout: float = 20, most: int = 100_000, joins_errors: bool = False) -> Ended:
    return await programs.run(
        command, timeout_seconds=timeout, max_output=most, max_memory=512 * 2**20, joins_errors=joins_errors
    )


def pid_in(path: Path) -> int:
    """The process whose number is the name of a file in a folder: a limited program can write no content."""
    return int(until(lambda: [entry.name for entry in path.iterdir()], what=f"a name in {path}")[0])


@pytest.mark.anyio
async def test_output_errors_and_status_come_back() -> None:
    ended = await run(SH, "-c", "echo out; echo err >&2; exit 3")

    assert ended == Ended(status=3, output=b"out\n", errors="err\n", stopped=None)
    assert (ended.how, ended.may_differ_next_time) == ("exit status 3", False)
    joined = await run(SH, "-c", "echo out; echo err >&2", joins_errors=True)
    assert (joined.output, joined.errors) == (b"out\nerr\n", "")


@pytest.mark.anyio
async def test_it_gets_no_environment_no_input_no_descriptors_and_no_folder_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RECEIVER_ADMIN__TOKEN", "secret")
    with (tmp_path / "ours").open("wb") as ours:
        os.set_inheritable(ours.fileno(), True)
        ended = await run(SH, "-c", "env; pwd; ls -l /proc/self/fd; cat")
        os.set_inheritable(ours.fileno(), False)

    text = ended.output.decode()
    assert ended.status == 0
    assert "PATH=" in text
    assert "\n/\n" in text
    assert "secret" not in text
    assert str(tmp_path) not in text


@pytest.mark.anyio
async def test_its_limits_are_set_before_it_begins() -> None:
    names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NOFILE")
    show = f"import resource as r; print([r.getrlimit(getattr(r, n)) for n in {names}])"
    ended = await run(sys.executable, "-c", show, timeout=9.5)

    memory = 512 * 2**20
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most > 64, "else this shows nothing"
    assert ended.output.decode().strip() == str([(memory,) * 2, (10, 11), (0, 0), (0, 0), (64, 64)])


@pytest.mark.anyio
async def test_too_much_memory_is_not_given() -> None:
    ended = await run(sys.executable, "-c", "bytearray(2**30)")

    assert ended.status == 1
    assert "MemoryError" in ended.errors
    assert not ended.may_differ_next_time


@pytest.mark.anyio
async def test_it_can_write_no_file(tmp_path: Path) -> None:
    ended = await run(SH, "-c", f"exec cat /proc/self/status > '{tmp_path}/file'")

    assert (tmp_path / "file").read_bytes() == b""
    assert ended.how == "it was killed by SIGXFSZ"


@pytest.mark.anyio
async def test_a_flood_of_output_is_ended_at_the_limit() -> None:
    began = time.monotonic()
    ended = await run(SH, "-c", "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done", most=1000)

    assert len(ended.output) == 1000
    assert (ended.how, ended.may_differ_next_time) == ("it wrote too much", False)
    assert time.monotonic() - began < 10


@pytest.mark.anyio
async def test_of_its_complaints_the_last_4_kib_are_kept() -> None:
    ended = await run(SH, "-c", "head -c 300000 /dev/zero | tr '\\0' x >&2; echo end >&2")

    assert ended.status == 0
    assert len(ended.errors) == 4096
    assert ended.errors.endswith("xxend\n")


@pytest.mark.anyio
async def test_when_its_time_is_over_it_is_killed_with_what_it_started(tmp_path: Path) -> None:
    ended = await run(SH, "-c", f"sleep 60 & mkdir '{tmp_path}'/$!; wait", timeout=1)

    assert (ended.how, ended.may_differ_next_time) == ("it took too long", True)
    child = pid_in(tmp_path)
    until(lambda: not is_running(child), seconds=5, what="the end of what it started")


@pytest.mark.anyio
async def test_it_is_killed_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    task = asyncio.create_task(run(SH, "-c", f"mkdir '{tmp_path}'/$$; sleep 60"))
    pid = await asyncio.to_thread(pid_in, tmp_path)
    assert is_running(pid)
    task.cancel()
    await asyncio.wait([task], timeout=10)

    assert task.cancelled()
    assert not is_running(pid)


def test_it_dies_with_a_caller_that_is_killed(tmp_path: Path) -> None:
    begin = (
        "import asyncio; from receiver import programs; asyncio.run(programs.run((*{command!r},),"
        " timeout_seconds=60, max_output=9, max_memory=2**30, joins_errors=False))"
    )
    command = (SH, "-c", f"mkdir '{tmp_path}'/$$; exec sleep 60")
    with subprocess.Popen([sys.executable, "-c", begin.format(command=command)]) as caller:
        try:
            pid = pid_in(tmp_path)
            assert is_running(pid)
        finally:
            caller.kill()

    until(lambda: not is_running(pid), seconds=5, what="the end of the program")


@pytest.mark.anyio
async def test_a_program_that_is_none_can_not_be_started(tmp_path: Path) -> None:
    ended = await run(str(tmp_path / "nothing"))

    assert (ended.status, ended.errors) == (127, "No such file or directory\n")
    assert (ended.how, ended.may_differ_next_time) == ("it could not be started", True)


@pytest.mark.parametrize(
    ("number", "how", "may_differ"),
    [
        (signal.SIGSEGV, "it was killed by SIGSEGV", False),
        (signal.SIGXCPU, "it took too much of the processor's time", False),
        (signal.SIGKILL, "it was killed by SIGKILL", True),
    ],
)
@pytest.mark.anyio
async def test_a_signal_is_told(number: signal.Signals, how: str, may_differ: bool) -> None:
    ended = await run(SH, "-c", f"kill -{int(number)} $$")

    assert (ended.how, ended.may_differ_next_time) == (how, may_differ)
