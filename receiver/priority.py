"""Which processes come after acknowledgements, and how far."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

_NICE = {"idle": 19, "low": 10}


def step_back(priority: str) -> None:
    """Let acknowledgements come before what this process does: `worker.priority`.

    Nice alone lets a handler that computes finish its slice of some milliseconds first, at every step of an
    acknowledgement: its p99 is 50 to 100 ms with nice 10, and 25 beside handlers that are idle to the kernel.
    Where the kernel shares the processors out by session (sched(7), autogroup), a process is nice within its
    session only. A child of `serve` is a session of its own, so that has to be nice as a whole.
    """
    if priority == "normal":
        return
    for thread in threading.enumerate():  # those, too, that modules have started
        number = thread.native_id or 0
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, number, _NICE[priority])
        if priority == "idle":
            with suppress(OSError):
                os.sched_setscheduler(number, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):  # a kernel without autogroups has no such file
        Path("/proc/self/autogroup").write_text(str(_NICE[priority]), "ascii")
