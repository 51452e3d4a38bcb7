"""Tables for people: as wide as the window, with colours where there is a terminal that wants them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from receiver.cli.output import window

_JUDGED = frozenset({"jobs", "marks", "outcome", "runs", "states", "status"})
"""Columns in which words are coloured by what they mean."""
_STYLES = {
    r"\b(done|finished|yes)\b": "green",
    r"\b(dead|failed|conflict)\b": "red",
    r"\b(cancelled|stopped|no)\b": "yellow",
    r"\b(ready|running|waiting|open)\b": "cyan",
}
_IDS = frozenset({"event", "replay"})
_SHORT_ID = 20
"""Characters of an id that nearly always mean one event: its millisecond, and some luck."""
_GAP = 2
_INDENT = 4
_USUAL, _WIDEST = 80, 100_000

Lines = Sequence[Sequence[str]]


def draw(columns: Sequence[str], lines: Lines) -> None:
    """Print a table. On a terminal it fits the window; elsewhere each row is one line with all it has."""
    console = Console(file=sys.stdout, highlight=False)
    if console.no_color:  # neither bold nor dim, then
        console = Console(file=sys.stdout, highlight=False, color_system=None)
    if not console.is_terminal:
        console.width = min(_WIDEST, _natural(columns, lines) + _GAP)
        _print(console, columns, lines)
        return
    console.width = console.width or window() or _USUAL  # COLUMNS=0 says nothing
    columns, lines = fitted(columns, lines, console.width)
    across = _across(columns, lines, console.width)
    if across == len(columns):
        _print(console, columns, lines)
    else:
        _print_stacked(console, columns, lines, across)


def _print(console: Console, columns: Sequence[str], lines: Lines) -> None:
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        drawn.add_column(name, overflow="fold")
    for line in lines:
        drawn.add_row(*(_cell(name, text) for name, text in zip(columns, line, strict=True)))
    console.print(drawn)


def _print_stacked(console: Console, columns: Sequence[str], lines: Lines, across: int) -> None:
    """As many columns as fit stand side by side; the others are told below, each with its name."""
    widths = _widths(columns, lines)[:across]
    spaced = [name.ljust(width + _GAP) for name, width in zip(columns[:across], widths, strict=True)]
    console.print(Text("".join(spaced).rstrip(), style="bold"))
    for line in lines:
        row = Text()
        for at, width in enumerate(widths):
            row += _cell(columns[at], line[at])
            row.append(" " * (width - cell_len(line[at]) + _GAP) if at + 1 < across else "")
        console.print(row)
        for at in range(across, len(columns)):
            if line[at] not in ("", "-"):
                below = Text.assemble((f"{columns[at]}: ", "dim"), _cell(columns[at], line[at]))
                console.print(Padding(below, (0, 0, 0, _INDENT), expand=False))


def _cell(name: str, text: str) -> Text:
    cell = Text(text)
    for words, style in _STYLES.items() if name in _JUDGED else ():
        cell.highlight_regex(words, style)
    return cell


def fitted(columns: Sequence[str], lines: Lines, width: int) -> tuple[Sequence[str], Lines]:
    """Make a table narrower without loss, if it must be: empty columns go, and ids get shorter.

    An id is cut to what still tells it from the others; commands take the beginning of one.
    """
    if _natural(columns, lines) <= width:
        return columns, lines
    kept = [at for at in range(len(columns)) if any(line[at] not in ("", "-") for line in lines)]
    columns = [columns[at] for at in kept]
    lines = [[line[at] for at in kept] for line in lines]
    for at in (at for at, name in enumerate(columns) if name in _IDS and _natural(columns, lines) > width):
        length = _telling_length({line[at] for line in lines})
        lines = [[*line[:at], line[at][:length], *line[at + 1 :]] for line in lines]
    return columns, lines


def _telling_length(ids: set[str]) -> int:
    """How much of these ids has to be shown, so that no two look the same."""
    longest = max(map(len, ids), default=0)
    for length in range(_SHORT_ID, longest):
        if len({each[:length] for each in ids}) == len(ids):
            return length
    return longest


def _across(columns: Sequence[str], lines: Lines, width: int) -> int:
    """How many of the first columns fit side by side; one always does."""
    across, room = 0, width
    for needed in _widths(columns, lines):
        room -= needed + (_GAP if across else 0)
        if room < 0:
            break
        across += 1
    return max(1, across)


def _widths(columns: Sequence[str], lines: Lines) -> list[int]:
    return [
        max(cell_len(text) for text in (name, *(line[at] for line in lines)))
        for at, name in enumerate(columns)
    ]


def _natural(columns: Sequence[str], lines: Lines) -> int:
    """How wide it is with nothing folded."""
    return sum(_widths(columns, lines)) + _GAP * (len(columns) - 1)
