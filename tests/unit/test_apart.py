"""Work in a process of its own: its end is told, whatever it was; and how a command ends by a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
import pytest

from receiver.cli.progress import broken_off_at_once, ended_by_signals

SCRIPT = """
import os, signal, sys, threading, time
import click
from receiver.cli.apart import run_apart

def by_itself(slate):
    slate.write(7)
    return 3

def refused(slate):
    raise click.exceptions.Exit(2)

def leaves(slate):
    slate.write(7)
    os._exit(0)

def crashes(slate):
    slate.write(8)
    os.kill(os.getpid(), signal.SIGKILL)

def before_any(slate):
    os._exit(5)

def has_a_thread(slate):
    threading.Thread(target=time.sleep, args=(60,)).start()
    raise KeyboardInterrupt

def is_told(slate):
    os.kill(os.getppid(), signal.SIGTERM)  # meant for the command, which hands it on
    time.sleep(60)

own = os.getpid()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for act in (by_itself, refused, leaves, crashes, before_any, has_a_thread, is_told):
    ending = run_apart(act)
    if os.getpid() != own:
        os._exit(ending.status)
    print(act.__name__, *ending, sep="|")
"""


def test_how_the_other_process_ended_is_told() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout.splitlines() == [
        "by_itself|3|0|",
        "refused|2|0|",
        "leaves|1|7|the process ended with status 0",
        "crashes|1|8|the process ended by SIGKILL",
        "before_any|1|0|the process ended with status 5",
        "has_a_thread|130|0|",
        "is_told|143|0|",
    ]


def _die(number: int, frame: object) -> None:
    raise AssertionError("nothing was to hear of it any more")


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("of_interrupt", [signal.default_int_handler, signal.SIG_IGN])
def test_a_signal_ends_a_command_as_ctrl_c_does(
    number: signal.Signals, of_interrupt: Callable[..., Any] | signal.Handlers
) -> None:
    tidied: list[bool] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            tidied.append(True)

    signal.signal(number, _die)
    signal.signal(signal.SIGINT, of_interrupt)
    with pytest.raises(click.exceptions.Exit) as ended, ended_by_signals():
        asyncio.run(work())

    assert (ended.value.exit_code, tidied) == (128 + number, [True])
    assert signal.getsignal(number) is _die


@pytest.mark.usefixtures("usual_signals")
def test_who_is_told_by_nohup_to_ignore_a_closed_terminal_does() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ended_by_signals():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("usual_signals")
def test_ctrl_c_does_not_wait_for_what_keeps_the_loop_busy() -> None:
    went_on: list[bool] = []

    async def work() -> None:
        with broken_off_at_once():
            os.kill(os.getpid(), signal.SIGINT)
            went_on.append(True)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(work())

    assert went_on == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
