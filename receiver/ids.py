"""Identifiers that sort by time: 48 bits of milliseconds, then 64 random bits, in hex."""

from __future__ import annotations

RANDOM_BYTES = 8


def event_id(unix_milliseconds: int, random: bytes) -> str:
    """Return "evt_" and 28 hex digits, from a time and 8 random bytes.

    The order of the parts is that of UUID version 7 (RFC 9562, 5.7).
    """
    return _sorted("evt", unix_milliseconds, random)


def submission_id(unix_milliseconds: int, random: bytes) -> str:
    """Return "sub_" and 28 hex digits, in the same way."""
    return _sorted("sub", unix_milliseconds, random)


def replay_id(unix_milliseconds: int, random: bytes) -> str:
    """Return "rpl_" and 28 hex digits, in the same way."""
    return _sorted("rpl", unix_milliseconds, random)


def whole(prefix: str, text: str) -> str:
    """The beginning of an id that somebody wrote: in whatever case, with or without "evt_" before it."""
    lower = text.lower()
    mark = f"{prefix}_"
    return lower if lower.startswith(mark) or mark.startswith(lower) else mark + lower


def _sorted(prefix: str, unix_milliseconds: int, random: bytes) -> str:
    return f"{prefix}_{unix_milliseconds:012x}{random.hex()}"
