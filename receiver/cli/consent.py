"""Whether many events are meant: somebody is asked, on a terminal and nowhere else."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import click

from receiver.cli.progress import is_terminal
from receiver.errors import CommandFailed, UsageError

if TYPE_CHECKING:
    from receiver.replay import Forecast


def ask(count: int, question: str, forecast: Forecast | None = None) -> None:
    """Let somebody say yes to so many.

    Raise UsageError where nobody can, CommandFailed for a no, and Abort for Ctrl-C or no answer.
    """
    if not is_terminal(sys.stdin):
        raise UsageError(f"{count:,} events: say --yes, as there is nobody to ask")
    if forecast is not None:
        click.echo(f"{count:,} events, of which {forecast.events:,} get new jobs", err=True)
        for handler, jobs in forecast.jobs.items():
            click.echo(f"  {jobs:,} × {handler}", err=True)
        for reason, jobs in forecast.left.items():
            click.echo(f"  {jobs:,} not again: {reason}", err=True)
    # While a loop runs, Ctrl-C only cancels its task, of which one who waits for a key hears nothing.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        is_meant = click.confirm(question, err=True)
    finally:
        signal.signal(signal.SIGINT, former)
    if not is_meant:
        raise CommandFailed("nothing was done")
