"""Identifiers that sort by time: 48 bits of milliseconds, then 80 random bits, in Crockford's base 32."""

from __future__ import annotations

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def event_id(unix_milliseconds: int, random: bytes) -> str:
    """Return "evt_" and 26 characters, from a time and 10 random bytes.

    The layout is the ULID specification's (github.com/ulid/spec), in lower case.
    """
    number = (unix_milliseconds << 80) | int.from_bytes(random, "big")
    pairs = [_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)]
    return "evt_" + "".join(pairs)
