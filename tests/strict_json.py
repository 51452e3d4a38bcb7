"""What parsers of JSON are compared with: the standard library's, plus the rules that it lacks."""

from __future__ import annotations

import json
import math
import re
import zlib
from itertools import pairwise
from typing import Any

from receiver.errors import BadBody
from receiver.model import Payload
from receiver.scanner import Scanned, Scanner
from receiver.strict import parse_small

LONG = 12
"""Bytes: the limit of a long string in these tests."""
SCRAPS = (
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b'"',
    b"\\",
    b"\\\\",
    b'\\"',
    b"\\u",
    b"\\u0000",
    b"\\ud83d",
    b"\\ude00",
    b"\\u00",
    b"\\u0061",
    b"\\/",
    b"\\n",
    b"\\x",
    b" ",
    b"\n",
    b"\x00",
    b"\x1f",
    b"\x7f",
    b"a",
    b'"a"',
    b'"a":',
    b'"a" :',
    b"0",
    b"1",
    b"-",
    b".",
    b"e",
    b"E+",
    b"1e999",
    b"true",
    b"null",
    b"NaN",
    b"Infinity",
    b"\xef\xbb\xbf",
    b"\xc3",
    b"\xa4",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xff",
    b"9999999999999999999",
    b"xxxxxxxxxxxxx",
    b"/**/",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-9223372036854775808",
    b"-9223372036854775809",
)
"""What JSON, and nearly JSON, is made of."""


class Refuse(ValueError):
    """The reference says no."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise Refuse("duplicate key")
    return dict(pairs)


def _constant(name: str) -> Any:
    raise Refuse(name)


def _int(literal: str) -> int:
    if len(literal) > 128 or not -(2**63) <= int(literal) < 2**64:
        raise Refuse("integer")
    return int(literal)


def _float(literal: str) -> float:
    if len(literal) > 128 or not math.isfinite(float(literal)):
        raise Refuse("float")
    return float(literal)


def _check(node: Any, depth: int = 1) -> None:
    if isinstance(node, str) and ("\0" in node or re.search("[\ud800-\udfff]", node)):
        raise Refuse("text")
    if isinstance(node, (dict, list)):
        if depth > 64:
            raise Refuse("depth")
        for value in node.values() if isinstance(node, dict) else node:
            _check(value, depth + 1)
    if isinstance(node, dict):
        for key in node:
            _check(key)


def reference(body: bytes) -> Payload:
    """Parse with the standard library and refuse what we refuse. Raise ValueError."""
    text = body.decode("utf-8", "strict")
    if not text.strip(" \t\n\r").startswith("{"):
        raise Refuse("not an object")
    try:
        parsed: Payload = json.loads(
            text, object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_int, parse_float=_float
        )
    except RecursionError as error:
        raise Refuse("depth") from error
    _check(parsed)
    return parsed


def scan(*chunks: bytes, long_limit: int = 2**20) -> Scanned:
    scanner = Scanner(long_limit=long_limit)
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner.finish()


def verdict(parse: Any, *arguments: Any, **options: Any) -> Any:
    """Return what was parsed as text that tells 1 from 1.0, or None for a refusal."""
    try:
        parsed = parse(*arguments, **options)
    except (BadBody, ValueError):
        return None
    return json.dumps(parsed.payload if isinstance(parsed, Scanned) else parsed)


def restored(body: bytes, scanned: Scanned) -> Payload:
    """Put the long strings back, read from where the Scanner says that they lie."""
    payload: Payload = json.loads(json.dumps(scanned.payload))
    for string in scanned.strings:
        raw = body[string.offset : string.offset + string.length]
        assert body[string.offset - 1 : string.offset] == b'"'
        assert body[string.offset + string.length : string.offset + string.length + 1] == b'"'
        assert string.length > LONG
        assert string.escaped == (b"\\" in raw)
        assert scanned.checksums[string.path] == f"{len(raw)}-{zlib.crc32(raw):08x}"
        node: Any = payload
        for step in string.path[:-1]:
            node = node[step]
        assert node[string.path[-1]] == {"$long_string": {"bytes": string.length}}
        node[string.path[-1]] = json.loads(b'"%b"' % raw)
    return payload


def agree(body: bytes, cuts: list[int]) -> None:
    """See that everything that parses a body gives one verdict, wherever its chunks are cut."""
    expected = verdict(reference, body)
    assert verdict(scan, body) == expected
    assert verdict(parse_small, body) == expected
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[a:b] for a, b in pairwise(edges)]
    try:
        scanned = scan(*chunks, long_limit=LONG)
    except BadBody:
        scanned = None
    assert (scanned and json.dumps(restored(body, scanned))) == expected
