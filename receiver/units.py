"""Durations and sizes as people write them: "90s", "10m", "1GiB"."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", re.ASCII)
_LONGEST_SECONDS = 100 * 365 * 86400
_LARGEST_BYTES = 2**62


def _amount(text: str, units: dict[str, float], example: str) -> float:
    match = _AMOUNT.fullmatch(text)
    if match is None or match[2].lower() not in units:
        names = ", ".join(unit for unit in units if unit)
        raise ValueError(f"expected a number and a unit ({names}), for example {example!r}")
    return float(match[1]) * units[match[2].lower()]


def duration(value: str | float | timedelta) -> timedelta:
    """Read a duration: "90s", "1.5h", a number of seconds, or a timedelta. Raise ValueError."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError("expected a duration, for example '30s' or '10m'")
    else:
        seconds = _amount(value, {**_SECONDS, "": 1}, "30s") if isinstance(value, str) else float(value)
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise ValueError("a duration lies between 0 and 100 years")
    return timedelta(seconds=seconds)


def size(value: str | int) -> int:
    """Read a size in bytes: "64KiB", "1.5GB", or a whole number of bytes. Raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("expected a size, for example '64KiB' or '1GiB'")
    count = int(_amount(value, {**_BYTES, "": 1}, "1GiB")) if isinstance(value, str) else value
    if not 0 <= count <= _LARGEST_BYTES:
        raise ValueError("a size lies between 0 bytes and 4 EiB")
    return count


def rate(value: str | float) -> float:
    """Read how many in a second: "10/s", "90/m", "500/h", or a number of them a second. Raise ValueError."""
    count, _, unit = str(value).partition("/")
    unit = unit.strip().lower() or "s"
    try:
        number = float(count)
    except ValueError:
        number = 0.0
    if unit not in ("s", "m", "h") or not 0 < number < float("inf"):
        raise ValueError("expected a number for each second, minute or hour, for example '10/s'")
    return number / _SECONDS[unit]


def in_words(seconds: float) -> str:
    """Write a duration for people, in its largest fitting unit: 90 -> "90s", 600 -> "10m"."""
    for unit, length in reversed(list(_SECONDS.items())):
        if seconds >= length and (seconds / length == int(seconds / length) or seconds >= 10 * length):
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


Duration = Annotated[
    timedelta, BeforeValidator(duration), PlainSerializer(lambda d: in_words(d.total_seconds()))
]
Size = Annotated[int, BeforeValidator(size)]
