"""Programs that are measured: started on loopback ports of their own, watched, ended by their process id."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import callbacks, procfs

ROOT = Path(__file__).parents[2]
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.002
_TRIES = 3


class Broken(Exception):
    """A program did not do what it is measured for."""


@dataclass(frozen=True, slots=True)
class Program:
    """Something that answers callbacks."""

    name: str
    built_of: str
    """Versions, parser and loop."""
    command: Callable[[int, Path], list[str]]
    """From a port and a folder of its own to the command; it may write files into the folder."""
    ready_path: str = "/"
    ready_status: int | None = None
    """What it answers there when it is ready; None = anything."""
    role: str = "server"
    """What its first process is called."""


@dataclass(frozen=True, slots=True)
class Running:
    """A program that runs."""

    program: Program
    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    started_in: float
    """Seconds from its start to ready."""

    @property
    def url(self) -> str:
        """Where it takes callbacks."""
        return f"http://127.0.0.1:{self.port}{callbacks.PATH}"

    def processes(self) -> dict[int, str]:
        """Process id → role."""
        return {self.process.pid: self.program.role, **procfs.children(self.process.pid)}

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time so far, by role; with that of children that have ended."""
        used: dict[str, float] = defaultdict(float)
        for pid, role in self.processes().items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # /bin/true has ended meanwhile
                used[role] += procfs.cpu_seconds(pid)
        return dict(used)

    def cpu_us_since(self, before: dict[str, float], requests: int) -> dict[str, float]:
        """Microseconds for each of so many requests, by role."""
        return {
            role: (seconds - before.get(role, 0.0)) / requests * 1e6
            for role, seconds in self.cpu_seconds().items()
        }

    def forget_peaks(self) -> dict[str, int]:
        """Start measuring peak memory anew; return what is resident now, in bytes, by role."""
        processes = self.processes()
        for pid in processes:
            procfs.forget_peak(pid)
        return {role: procfs.memory(pid, "VmRSS") for pid, role in processes.items()}

    def peaks(self) -> dict[str, int]:
        """The most memory that was resident, in bytes, by role."""
        return {role: procfs.memory(pid, "VmHWM") for pid, role in self.processes().items()}


@contextmanager
def running(program: Program, folder: Path | None = None) -> Iterator[Running]:
    """Start a program, in a fresh folder unless one is given, and end it."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="receiver-bench-")))
        started = _start(program, folder)
        stack.callback(_stop, started.process)
        yield started


def _start(program: Program, folder: Path) -> Running:
    """Start it and wait until it is ready; somebody may snatch the port meanwhile, so try again."""
    status: int | None = None
    for _ in range(_TRIES):
        port = _free_port()
        command = program.command(port, folder)
        began = time.monotonic()
        process = _spawn(command, folder)
        try:
            if _is_ready(program, process, port):
                return Running(program, process, port, folder, time.monotonic() - began)
        except BaseException:
            _stop(process)
            raise
        status = process.returncode
    said = (folder / "output.log").read_text("utf-8", "replace")[-2000:]
    raise Broken(f"{program.name} ended with status {status} before it was ready:\n{said}")


def _spawn(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    with (folder / "output.log").open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=inherited,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us, who end it
        )


def _is_ready(program: Program, process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until it answers; False when it has ended instead."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        if _answers(port, program.ready_path, program.ready_status):
            return True
        if time.monotonic() > deadline:
            raise Broken(f"{program.name} was not ready after {_START_SECONDS:g} s")
        time.sleep(_LOOK_SECONDS)
    return False


def _answers(port: int, path: str, status: int | None) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
    try:
        connection.request("GET", path)
        got = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return status in (None, got)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
