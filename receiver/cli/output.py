"""How results are printed: JSON lines for programs, tables and plain words for people."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import orjson

if TYPE_CHECKING:
    from receiver.views import View


def json_line(value: Mapping[str, Any], *, err: bool = False) -> None:
    """Print one object on one line."""
    click.echo(orjson.dumps(value, default=str).decode(), err=err)


def view_line(view: View) -> None:
    """Print what the API would answer, on one line."""
    from receiver.views import to_json

    click.echo(to_json(view).decode())


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print a table that fits the window, or the line `empty`."""
    lines = [[plain(cell) for cell in row] for row in rows]
    if not lines:
        click.echo(empty, err=True)
        return
    from receiver.cli.tables import draw  # not above: only who shows a table pays for rich

    draw(columns, lines)


def painted(text: str, colour: str) -> str:
    """Colour a word on a terminal, unless NO_COLOR is set (no-color.org)."""
    from rich.console import Console

    return click.style(text, fg=colour) if Console(file=sys.stdout).color_system else text


def window() -> int | None:
    """How many columns there are, where there is a window."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def plain(text: str) -> str:
    """Escape what could drive a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def iso(unix_milliseconds: int | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    from receiver import model

    return model.iso(unix_milliseconds)


def local(unix_milliseconds: int | None) -> str:
    """The time on this machine's clock."""
    if unix_milliseconds is None:
        return "-"
    return _utc(unix_milliseconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _utc(unix_milliseconds: int) -> datetime:
    from receiver.model import utc  # not above: `serve` prints a line or two and starts faster without

    return utc(unix_milliseconds)


def when(unix_milliseconds: int, *, now: int) -> str:
    """The time on this machine's clock, and how far away that is."""
    if unix_milliseconds > now:
        return f"{local(unix_milliseconds)} (in {age(now, now=unix_milliseconds)})"
    return f"{local(unix_milliseconds)} ({age(unix_milliseconds, now=now)} ago)"


def brief(unix_milliseconds: int, *, now: int) -> str:
    """The same, in as little room as tells it: the time of day today, else the day with it."""
    text, today = local(unix_milliseconds), local(now)
    shown = text[11:] if text[:10] == today[:10] else text[5:16] if text[:4] == today[:4] else text[:10]
    return f"{shown} ({age(unix_milliseconds, now=now)} ago)"


def length(milliseconds: int) -> str:
    """A span of time in one unit, exact enough to compare attempts."""
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    return age(0, now=milliseconds) if milliseconds >= 36_000_000 else f"{milliseconds / 60_000:.1f} min"


def age(then: int, *, now: int) -> str:
    """How long ago, in one unit."""
    seconds = max(0, (now - then) // 1000)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def last_seen(status: str | None, progress: float | None) -> str:
    """What a provider said last of a video."""
    said = status or "not seen yet"
    return said if progress is None else f"{said} {progress:.0f} %"


def bytes_in_words(count: int) -> str:
    """A size in its largest fitting binary unit."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{count} B"


def now_ms() -> int:
    """Now, in unix milliseconds."""
    return int(datetime.now().astimezone().timestamp() * 1000)
