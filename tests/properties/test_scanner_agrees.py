"""The Scanner and parse_small agree with the standard library's json, plus the rules that it lacks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import strict_json
from tests.strict_json import agree

SCRAPS = st.sampled_from(strict_json.SCRAPS)
CUTS = st.lists(st.integers(0, 400), max_size=6)
TEXT = st.text(max_size=30) | st.text('\\/"\0\n{}[]:,\ud83d\ude00au0ä😀', max_size=30)
NUMBERS = st.integers(-(2**65), 2**65) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=5)


@pytest.mark.fault("P4")
@given(st.binary(max_size=60), CUTS)
def test_any_bytes_get_the_verdict_of_the_reference(body: bytes, cuts: list[int]) -> None:
    agree(body, cuts)
    agree(b'{"a":%b}' % body, cuts)
    agree(b'{"a":"%b"}' % body, cuts)


@pytest.mark.fault("P1", "P2", "P3", "P4")
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
