"""How far something long has come: a bar on a terminal, nothing elsewhere; and how it is stopped."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

import click


@contextmanager
def bar(label: str, total: int, *, is_shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Give what is to be called with how much is done, of `total`."""
    if not (is_shown and is_terminal(sys.stderr)) or total < 2:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def until_interrupted() -> Iterator[asyncio.Event]:
    """Give an event that is set by Ctrl-C, SIGTERM and a terminal that closes, which do nothing else then."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else nohup has seen to it
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, so that nothing temporary is left.

    Raise Exit with the status that is usual for that signal.
    """
    heard: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        handler = signal.getsignal(signal.SIGINT)
        if not callable(handler):  # it is ignored, as in a background job
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    former = {number: handler for number, handler in former.items() if handler is not signal.SIG_IGN}
    for number in former:  # nohup has seen to the others
        signal.signal(number, end)
    try:
        yield
    except KeyboardInterrupt:
        if heard:
            raise click.exceptions.Exit(128 + heard[0]) from None
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def broken_off_at_once() -> Iterator[None]:
    """Let Ctrl-C end what keeps the loop busy; it would wait for the loop's next turn else."""
    former = signal.getsignal(signal.SIGINT)
    if not callable(former):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits there; a standard stream that is closed is None."""
    return stream is not None and stream.isatty()
