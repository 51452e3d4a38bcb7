"""Options that every command takes, before or after its name, and the values they turn into."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from receiver.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


class Text(click.ParamType[str]):
    """Text that is UTF-8; what else a shell may pass is only good for names of files."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take it as it is, or fail."""
        text = str(value)
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            self.fail("it is not UTF-8 text", param, ctx)
        return text


class Rate(click.ParamType[float]):
    """How many a second: "10/s", "90/m", "500/h"."""

    name = "rate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it, or fail with what would have been right."""
        from receiver.units import rate

        try:
            return rate(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Length(click.ParamType[timedelta]):
    """A span of time as the configuration has it: "90s", "24h"."""

    name = "length"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or fail with what would have been right."""
        from receiver.units import duration

        try:
            return duration(value if isinstance(value, timedelta) else str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True, slots=True)
class Common:
    """What was said once for the whole program."""

    config: str | None
    as_json: bool

    def settings(self, *, is_needed: bool = True) -> Settings:
        """Read the configuration, if there is one or one is needed. Raise SettingsError."""
        from receiver import settings

        return settings.load(self.config, is_needed=is_needed)


def common(command: Command) -> Command:
    """Add `--config` and `--json` to a command, whose first argument then is a `Common`."""

    @click.option("--config", metavar="FILE", help="The configuration.  [default: ./receiver.toml]")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
    @click.pass_context
    @functools.wraps(command)
    def wrapped(ctx: click.Context, /, config: str | None, as_json: bool, **values: Any) -> Any:
        before = ctx.obj or {"config": None, "as_json": False}
        chosen = Common(config or before["config"], as_json or before["as_json"])
        return command(chosen, **values)

    return wrapped  # type: ignore[return-value]


def specs(command: Command) -> Command:
    """Add `--handlers SPEC`, repeatable."""
    option = click.option(
        "--handlers",
        "specs",
        multiple=True,
        metavar="SPEC",
        help="Load these handlers: a name, a module, module:router, or a file.py. Repeatable.",
    )
    return option(command)
