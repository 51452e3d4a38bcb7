"""Sentences in a window: as many words on a line as there is room for, whatever room its characters take."""

from __future__ import annotations

import re

_NARROWEST = 40
_FURTHER = 4


def wrapped(line: str, width: int | None) -> str:
    """Break a line for a window of so many columns; without one (a file or a pipe has none) it stays whole.

    Ids and paths are left whole, so that they can be copied; what is written without blanks is not.
    """
    if width is None or (len(line) <= width and line.isascii()):
        return line
    from rich.cells import cell_len

    if cell_len(line) <= width:
        return line
    width = max(width, _NARROWEST)
    indent = " " * (len(line) - len(line.lstrip()) + _FURTHER)
    lines, last = [], ""
    for word in re.findall(r"\s*\S+", line):
        if cell_len(last + word) <= width or not last:
            last += word
            continue
        lines.append(last)
        last = indent + word.lstrip()
        if len(word) < cell_len(word):
            *whole, last = _chopped(last, width, indent)
            lines += whole
    return "\n".join([*lines, last])


def _chopped(line: str, width: int, indent: str) -> list[str]:
    """Break wide characters wherever the room ends: such scripts do so."""
    from rich.cells import cell_len, chop_cells

    room = width - cell_len(indent)
    return [indent + part for part in chop_cells(line.removeprefix(indent), room)]
