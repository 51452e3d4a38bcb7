"""The Scanner refuses what isn't one strict JSON object, finds the long strings, and holds little."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

import pytest

from receiver.errors import BadBody, TooLarge
from receiver.model import INLINE_BODY_LIMIT, LongString
from receiver.scanner import Scanned, Scanner

MEBIBYTE = 1024 * 1024


def scan(
    *chunks: bytes,
    arriving: Iterable[bytes] = (),
    rest_limit: int = 4 * MEBIBYTE,
    long_limit: int = INLINE_BODY_LIMIT,
) -> Scanned:
    scanner = Scanner(rest_limit=rest_limit, long_limit=long_limit)
    for chunk in chain(chunks, arriving):
        scanner.feed(chunk)
    return scanner.finish()


def nested(depth: int) -> bytes:
    """Write an object that is `depth` deep, the top one counted."""
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.fault("P1", "P2", "P3", "P4")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b" \n\t\r", "empty"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"\xef\xbb\xbf{}", "not a JSON object"),
        ('{"a":1}'.encode("utf-16"), "not a JSON object"),
        (b"{} {}", "not valid JSON: .*, at byte 3"),
        (b'{"a":1,}', "not valid JSON: .*, at byte 6"),
        (b"{'a':1}", "not valid JSON: .*, at byte 1"),
        (b'{"a":1} // x', "not valid JSON: .*, at byte 8"),
        (b'{"\xc3\xa4":x}', "not valid JSON: .*, at byte 6"),
        (b'{"a":01}', "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":-Infinity}', "not valid JSON"),
        (b'{"a":1e999}', "not valid JSON"),
        (b'{"a":18446744073709551616}', "64 bits"),
        (b'{"a":-9223372036854775809}', "64 bits"),
        (b'{"a":0.' + b"1" * 127 + b"}", "more than 128 characters"),
        (b'{"a":"\xff"}', "invalid UTF-8, at byte 6"),
        (b'{"a":"\xed\xa0\x80"}', "invalid UTF-8, at byte 6"),
        (b'{"a":"\xc0\x80"}', "invalid UTF-8, at byte 6"),
        (b'{"a":"\\ud800"}', "not valid JSON: .*surrogate"),
        (b'{"a":"\\udc00\\ud800"}', "not valid JSON: .*surrogate"),
        (b'{"a":"\x1f"}', "not valid JSON: .*control"),
        (b'{"a":"\\u0000"}', "NUL"),
        (b'{"\\u0000":1}', "NUL"),
        (b'{"a":"\\\\\\u0000"}', "NUL"),
        (b'{"a":1,"a":1}', "same key twice"),
        (b'{"a":1,"\\u0061":1}', "same key twice"),
        (b'{"b":[{"a":{},"a":{}}]}', "same key twice"),
        (b'{"a":[}', "closed that is not open"),
        (b"{}]", "closed that is not open"),
        (b'{"a":"b', "ends inside a string, at byte 7"),
        (b'{"a":', "not valid JSON: .*, at byte 5"),
        (nested(65), "nested more than 64 deep"),
        (nested(100_000), "nested more than 64 deep"),
        (b'{"a":' * 1_000_000, "nested more than 64 deep"),
    ],
)
def test_what_is_not_one_strict_object_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadBody, match=reason) as caught:
        scan(body, rest_limit=10 * MEBIBYTE)
    assert caught.value.reason.isascii()


@pytest.mark.fault("P4")
@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        (b"\x00", "control character in a string, at byte 26"),
        (b"\x1f", "control character in a string, at byte 26"),
        ("ä\n".encode(), "control character in a string, at byte 28"),
        (b"\\x", "escape.*, at byte 26"),
        (b"\\u12", "escape"),
        (b"\\u123", "escape"),
        (b"\\ud83d", "escape|surrogate"),
        (b"\\ud83dabcdefghijklmnop", "escape|surrogate.*, at byte 26"),
        (b"\\ude00", "surrogate.*, at byte 26"),
        (b"\\u0000", "NUL"),
        (b"\xff", "invalid UTF-8, at byte 26"),
        (b"\xed\xa0\x80", "invalid UTF-8, at byte 26"),
        (b"\xf0\x9f\x98", "invalid UTF-8, at byte 26"),
        (b"\xe3\\ud83d\\ude00", "invalid UTF-8, at byte 26"),
    ],
)
def test_the_inside_of_a_long_string_is_judged_as_strictly(inside: bytes, reason: str) -> None:
    body = b'{"a":"0123456789abcdefghij' + inside + b'"}'
    for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
        with pytest.raises(BadBody, match=reason):
            scan(*chunks, long_limit=10)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a" "0123456789abcdef":1',
        b'"0123456789abcdef"',
        b'{}"0123456789abcdef"',
        b'{},"0123456789abcdef"',
        b'{"a":[1 "0123456789abcdef',
        b'{"a":["0123456789abcdef" "0123456789abcdef',
    ],
)
def test_a_long_string_where_none_may_stand_is_refused_at_once(body: bytes) -> None:
    with pytest.raises(BadBody):
        Scanner(long_limit=10).feed(body)


@pytest.mark.fault("P1", "P2")
def test_limits_are_met_exactly() -> None:
    assert scan(nested(64)).payload["a"]
    numbers = b'{"a":[18446744073709551615,-9223372036854775808,0.' + b"1" * 126 + b"]}"
    assert scan(numbers).payload["a"][:2] == [2**64 - 1, -(2**63)]  # type: ignore[index]
    assert scan(b'{"a":"\\\\u0000"}').payload == {"a": "\\u0000"}


def test_a_long_string_is_noted_and_left_out() -> None:
    text = b"QUJD" * 16384 + b"\\/"
    body = b' {"id": "x", "response": {"list": [1, {"b64_video": "' + text + b'"}], "ok": true}}'
    scanned = scan(body)
    path = ("response", "list", 1, "b64_video")
    assert scanned.strings == (
        LongString(path=path, offset=body.index(text), length=len(text), escaped=True),
    )
    assert scanned.checksums == {path: f"{len(text)}-{zlib.crc32(text):08x}"}
    mark = {"$long_string": {"bytes": len(text)}}
    assert scanned.payload == {"id": "x", "response": {"list": [1, {"b64_video": mark}], "ok": True}}


def test_a_string_of_exactly_the_limit_is_not_long() -> None:
    assert scan(b'{"a":"%b"}' % (b"x" * INLINE_BODY_LIMIT)).strings == ()
    assert len(scan(b'{"a":"%b"}' % (b"x" * (INLINE_BODY_LIMIT + 1))).strings) == 1


def test_a_long_key_stays_as_it_is() -> None:
    key = "x" * (INLINE_BODY_LIMIT + 1)
    for cut in (1, 1000, INLINE_BODY_LIMIT + 2):
        body = b'{"a":1,"%b":2}' % key.encode()
        assert scan(body[:cut], body[cut:]) == Scanned({"a": 1, key: 2})


def test_a_mark_that_the_sender_wrote_is_no_long_string() -> None:
    scanned = scan(b'{"a":{"$long_string":{"bytes":5}}}')
    assert scanned == Scanned({"a": {"$long_string": {"bytes": 5}}})


@pytest.mark.fault("P3")
def test_the_same_key_with_a_long_value_is_refused() -> None:
    with pytest.raises(BadBody, match="same key twice"):
        scan(b'{"a":"0123456789","a":"0123456789","b":"0123456789"}', long_limit=5)


@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_the_rest_is_limited_and_long_strings_are_not_part_of_it(step: int) -> None:
    body = b'{"a":"' + b"x" * 500 + b'","b":"' + b"y" * 50 + b'"}'
    rest = len(body) - 500
    chunks = [body[i : i + step] for i in range(0, len(body), step)]
    assert len(scan(*chunks, rest_limit=rest, long_limit=100).strings) == 1
    with pytest.raises(TooLarge):
        scan(*chunks, rest_limit=rest - 1, long_limit=100)


def test_an_endless_key_is_refused() -> None:
    scanner = Scanner(rest_limit=1000, long_limit=100)
    scanner.feed(b'{"' + b"x" * 990)
    with pytest.raises(TooLarge):
        scanner.feed(b"x" * 10)


@pytest.mark.parametrize("letters", [b"QUJD", b"QU\\/", "äöü€".encode(), b"\\u00e4"])
def test_memory_stays_flat_whatever_the_length(letters: bytes) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"a":"'
        yield from (letters * (MEBIBYTE // 16) for _ in range(40))
        yield b'"}'

    tracemalloc.start()
    try:
        scanned = scan(arriving=chunks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert scanned.strings[0].length == 40 * len(letters) * (MEBIBYTE // 16)
    assert peak < 6 * MEBIBYTE
