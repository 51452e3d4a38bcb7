"""The log of a recording context: lines that a test can look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partialmethod
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a handler logged."""

    event: str
    """What happened, for example `video.shelved`."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Its keyword arguments, with what was bound before."""
    level: str = "info"
    """debug, info, warning, error or critical."""


class RecordingLog:
    """A logger with the methods of `context.log` that keeps its lines."""

    def __init__(self, lines: list[Line], bound: Mapping[str, Any] | None = None) -> None:
        self._lines = lines
        self._bound = dict(bound or {})

    def bind(self, **fields: Any) -> RecordingLog:
        """Give a logger that adds these fields to each of its lines."""
        return RecordingLog(self._lines, self._bound | fields)

    def _note(self, level: str, event: str, **fields: Any) -> None:
        self._lines.append(Line(event, self._bound | fields, level))

    debug = partialmethod(_note, "debug")
    info = partialmethod(_note, "info")
    warning = partialmethod(_note, "warning")
    error = partialmethod(_note, "error")
    exception = partialmethod(_note, "error")
    critical = partialmethod(_note, "critical")
