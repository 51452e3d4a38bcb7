"""Identifiers that sort by time: 48 bits of milliseconds, then 64 random bits, in hex."""

from __future__ import annotations

RANDOM_BYTES = 8


def event_id(unix_milliseconds: int, random: bytes) -> str:
    """Return "evt_" and 28 hex digits, from a time and 8 random bytes.

    The order of the parts is that of UUID version 7 (RFC 9562, 5.7).
    """
    return f"evt_{unix_milliseconds:012x}{random.hex()}"


def submission_id(unix_milliseconds: int, random: bytes) -> str:
    """Return "sub_" and 28 hex digits, made like those of an event."""
    return f"sub_{unix_milliseconds:012x}{random.hex()}"
