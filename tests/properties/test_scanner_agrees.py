"""The Scanner and parse_small agree with the standard library's json, plus the rules that it lacks."""

from __future__ import annotations

import json
import math
import re
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.errors import BadBody
from receiver.model import Payload
from receiver.scanner import Scanned, Scanner
from receiver.strict import parse_small

LONG = 12
"""Bytes: the limit of a long string in these tests."""


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


SCRAPS = st.sampled_from(
    [
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
    ]
)
CUTS = st.lists(st.integers(0, 400), max_size=6)
TEXT = st.text(max_size=30) | st.text('\\/"\0\n{}[]:,\ud83d\ude00au0ä😀', max_size=30)
NUMBERS = st.integers(-(2**65), 2**65) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=5)


@given(st.binary(max_size=60), CUTS)
def test_any_bytes_get_the_verdict_of_the_reference(body: bytes, cuts: list[int]) -> None:
    agree(body, cuts)
    agree(b'{"a":%b}' % body, cuts)
    agree(b'{"a":"%b"}' % body, cuts)


@given(st.lists(SCRAPS, max_size=14), CUTS)
@example([b'"a":', b'"', b"x" * 13, b'"', b'"'], [])
@example([b'"a":', b"1", b",", b'"a" :', b"1"], [])
@example([b'"a":', b'"', b"\\ud83d", b"\\ude00", b"\\ud83d", b"\\ude00", b'"'], [16, 20, 25, 27])
def test_scraps_of_json_get_the_verdict_of_the_reference(scraps: list[bytes], cuts: list[int]) -> None:
    body = b"".join(scraps)
    for frame in (b"%b", b"{%b}", b'{"a":%b}', b'{"b":[%b]}', b'{"long":"xxxxxxxxxxxxx%b"}'):
        agree(frame % body, cuts)


@given(OBJECTS, st.booleans(), st.sampled_from([None, 1, "\t"]), st.sampled_from([":", " : ", ": "]), CUTS)
def test_objects_come_back_as_they_were_written(
    value: dict[str, Any], is_ascii: bool, indent: int | str | None, colon: str, cuts: list[int]
) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent, separators=(",", colon))
    agree(text.encode("utf-8", "surrogatepass"), cuts)


@given(OBJECTS, st.integers(0, 10**6), st.integers(0, 255), CUTS)
def test_one_changed_byte_gets_the_verdict_of_the_reference(
    value: dict[str, Any], place: int, byte: int, cuts: list[int]
) -> None:
    body = bytearray(json.dumps(value).encode())
    body[place % len(body)] = byte
    agree(bytes(body), cuts)


CORPUS = [
    (
        b' {"a":"0123456789abcdef","b":[1,"short","0123456789\\/abc",'
        b'{"c":"\\ud83d\\ude00\\ud83d\\ude00\xf0\x9f\x98\x80"}]} '
    ),
    b'{"0123456789abcdef":"0123456789abcdef","":[["' + rb"\\" * 7 + rb"\"\"\"" + "ä".encode() * 7 + b'"]]}',
    b'{"a":-12345678901234567890}',
    b'{"a":-1234567890.123456789012e-12,"b":18446744073709551615,"c":true,"d":null}',
    b'{"a":"0123456789abcdef\\ud83d0123456789"}',
    b'{"a":"0123456789abcdef\\u0000"}',
    b'{"a":"0123456789abcdef\\\\u0000"}',
    b'{"a":"0123456789abcdef\xed\xa0\x80"}',
    b'{"a":"0123456789abcdef\x1f"}',
    b'{"a":"0123456789abcdef","\\u0061":1}',
    b'{"$long_string":{"bytes":16},"b":"0123456789abcdef"}',
    b'{"a":"0123456789abcdef',
]


@pytest.mark.parametrize("body", CORPUS)
def test_every_cut_gives_the_same(body: bytes) -> None:
    for first in range(len(body) + 1):
        agree(body, [first])
        agree(body, [first, first + 1, first + 3])
    agree(body, list(range(len(body))))
