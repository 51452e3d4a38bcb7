"""Which events: the options that choose them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from receiver.cli.options import Text
from receiver.cli.output import now_ms

Command = TypeVar("Command", bound=Callable[..., Any])
STATES = ("waiting", "ready", "running", "done", "dead", "cancelled")
TYPES = ("video.completed", "video.failed", "video.progress", "video.unknown")


class Moment(click.ParamType[int]):
    """A time in unix milliseconds: an age ("90s", "1h", "7d") or a date in ISO 8601 (local without zone)."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or fail with what would have been right."""
        from receiver.units import moment

        if isinstance(value, int):
            return value
        try:
            return moment(str(value), now_ms=now_ms())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def filters(command: Command) -> Command:
    """Add `--source --type --state --since --until --video`."""
    for option in (
        click.option("--video", type=Text(), metavar="ID", help="Only this video."),
        click.option("--until", type=Moment(), help="Received before this age or date."),
        click.option("--since", type=Moment(), help="Received after this age (1h) or date."),
        click.option("--state", type=click.Choice(STATES), help="Any of its jobs is in this state."),
        click.option("--type", type=click.Choice(TYPES), help="Only this event type."),
        click.option("--source", type=Text(), metavar="NAME", help="Only this source."),
    ):
        command = option(command)
    return command
