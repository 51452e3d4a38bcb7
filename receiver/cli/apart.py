"""Work in a process of its own, for what may end it: a crash there is told, and ends no more than that."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import sys
import termios
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from receiver.cli.progress import is_terminal
from receiver.cli.replays import INTERRUPTED

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
_FROM_TERMINAL = 0x80
"""The `si_code` of a signal that the kernel sent, to all processes of the terminal at once."""
_SLATE = struct.Struct("<q?")


class Slate:
    """What the other process writes down for the time after its end."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SLATE.size)  # shared, without a name

    @property
    def job(self) -> int:
        """What it was at; 0 = nothing."""
        return int(_SLATE.unpack(self._memory[:])[0])

    @property
    def is_through(self) -> bool:
        """Whether it came to its end by itself."""
        return bool(_SLATE.unpack(self._memory[:])[1])

    def write(self, job: int = 0, *, is_through: bool = False) -> None:
        """Write down anew."""
        self._memory[:] = _SLATE.pack(job, is_through)


class Ending(NamedTuple):
    """How the other process ended."""

    status: int
    """Its exit status; 128 and the number of the signal that ended it."""
    job: int = 0
    """What it was at when it ended before its time; 0 = nothing that is known."""
    how: str = ""
    """How it ended before its time; empty when it did not."""


def run_apart(act: Callable[[Slate], int]) -> Ending:
    """Run `act` in a copy of this process, with the same terminal; give its end, in both of them.

    Nothing may run beside the caller, no thread and no loop. Signals that are meant for this process
    alone are handed on.
    """
    slate, terminal = Slate(), _terminal()
    _flush()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it, which is inherited, hears of no end
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)
    child = os.fork()
    try:
        if child:
            ending = _wait(child, slate)
            if terminal is not None:  # a debugger that was ended has left it without an echo
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, terminal)
            return ending
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return Ending(_act(act, slate))


def _act(act: Callable[[Slate], int], slate: Slate) -> int:
    try:
        return act(slate)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except click.exceptions.Exit as ending:
        status = ending.exit_code
    finally:
        slate.write(is_through=True)
    if threading.active_count() > 1:  # a function that can't be stopped does not keep who has broken it off
        _flush()
        os._exit(status)
    return status


def _terminal() -> list[Any] | None:
    return termios.tcgetattr(sys.stdin) if is_terminal(sys.stdin) else None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _wait(child: int, slate: Slate) -> Ending:
    handed_on = 0
    while True:
        told = signal.sigwaitinfo(_NUMBERS)
        if told.si_signo != signal.SIGCHLD:
            if told.si_code != _FROM_TERMINAL:
                handed_on = told.si_signo
                os.kill(child, handed_on)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
    code = os.waitstatus_to_exitcode(status)
    if slate.is_through or handed_on:
        return Ending(code if code >= 0 else 128 - code)
    how = f"with status {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
    return Ending(1, slate.job, f"the process ended {how}")
