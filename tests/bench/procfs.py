"""What the kernel says about processes: who belongs to whom, processor time, memory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_ROLES = {"receiver.store.process": "store"}


class Unreadable(Exception):
    """The kernel does not say it."""


def children(pid: int) -> dict[int, str]:
    """The children of a process and theirs, each with its role: `store` or `worker`."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            for child in map(int, task.read_text().split()):
                command = Path(f"/proc/{child}/cmdline").read_bytes().decode("utf-8", "replace")
                role = next((role for module, role in _ROLES.items() if module in command), "worker")
                found |= {child: role, **children(child)}
    return found


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def forget_peak(pid: int) -> None:
    """Let VmHWM begin anew at what is resident now (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")


def memory(pid: int, name: str) -> int:
    """A line of the process's status, in bytes: VmRSS now, VmHWM at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise Unreadable(f"process {pid} has no {name}")
