"""Bodies: the Scanner, in chunks cut anywhere, and parse_small give the verdict of a strict reference."""

from __future__ import annotations

from tests.samples.reading import cases, sample
from tests.strict_json import LONG, SCRAPS, agree

_LONG = b"x" * (LONG + 1)
_FRAMES = (b"%b", b"{%b}", b'{"a":%b}', b'{"b":[%b]}', b'{"long":"' + _LONG + b'%b"}')
_CUTS = 3
SEEDS = [
    *(b"\x40\x80\xc0" + sample("opennote", case).body for case in cases("opennote")),
    *(b"\x20\x21\xf0" + frame % scrap for frame in _FRAMES for scrap in SCRAPS),
    b"\x20\x21\xf0" + b'{"a":"%b\xe3\\ud83d\\ude00}' % _LONG,
    b"\x01\x50\xff" + b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
    b"\x01\x50\xff" + b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
]
DICTIONARY = [*SCRAPS, b'"' + _LONG + b'"', b'"' + _LONG + b'":', b"e-400", b"\\ud83d\\ude00"]


def check(data: bytes) -> None:
    """The first bytes say where the chunks of the others are cut."""
    body = data[_CUTS:]
    agree(body, [place * len(body) // 256 for place in data[:_CUTS]])
