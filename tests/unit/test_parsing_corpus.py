"""What is one strict JSON object and what is none: a corpus, small and large, with one verdict everywhere.

Each verdict is written down here; none comes from a parser.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from receiver.errors import BadBody
from receiver.model import INLINE_BODY_LIMIT, LongString, Payload
from receiver.scanner import Scanned, Scanner
from receiver.strict import parse_small
from tests.strict_json import reference, verdict

pytestmark = [pytest.mark.fault("P2", "P4")]
LONG = b"x" * (INLINE_BODY_LIMIT + 10)

# Values of a key.
GOOD_VALUES = [
    b"null", b"true", b"false", b"0", b"-0", b"1", b"-1", b"10", b"0.0", b"-0.0", b"0.1", b"1.50", b"-1.5",
    b"0e0", b"0e+0", b"0e-0", b"0E5", b"1e5", b"1E5", b"1e+5", b"1e-5", b"1E+05", b"1e00", b"1.5e10",
    b"0.0e1", b"1e308", b"-1.7976931348623157e308", b"1e-400", b"-1e-9999", b"5e-324", b"0.1e-99999",
    b"0e999", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615",
    b"-9223372036854775808", b"999999999999999999", b"0." + b"1" * 126, b"1" * 18, b"1." + b"0" * 126,
    b"1e-" + b"0" * 100 + b"1", b'""', b'" "', b'"null"', b'"/*x*/"', b'"{[:,"', b'"[1,2"', b'"\'"',
    b'"e1"', b'"NaN"', b"[]", b"[[]]", b"[ ]", b"[\n]", b"[0]", b"[0 , 1]", b"[null,true]", b'["a"]', b"[{}]",
    b"[[],{}]", b"[1,[2]]", b"{}", b"{ }", b'{"":0}', b'{"":{"":0}}', b'{"b":1,"B":2}', b'{"b":[1,{"b":2}]}',
    b'{"b" : 1}', b'{"b":\t1}', b" 1", b"1 ", b"\r\n1\t", b"[" * 63 + b"]" * 63,
    b'{"b":' * 62 + b"{}" + b"}" * 62,
]  # fmt: skip
BAD_VALUES = [
    # Numbers that are none, or too large to mean one thing to everybody.
    b"NaN", b"-NaN", b"+NaN", b"nan", b"Infinity", b"-Infinity", b"+Infinity", b"inf", b"-inf", b"Inf",
    b"1e309", b"1e999", b"-1e999", b"1e99999999", b"1.8e308", b"123e45678", b"0.4e00669999999999999999999999",
    b"18446744073709551616", b"-9223372036854775809", b"2" * 20, b"9" * 400, b"1" + b"0" * 4400,
    b"-" + b"9" * 30, b"0." + b"1" * 127, b"1e-" + b"0" * 200 + b"1", b"1." + b"0" * 127, b"0." + b"0" * 5000,
    b"+1", b"--1", b"-", b"+", b"- 1", b"01", b"00", b"-01", b"007", b"1.", b".5", b"-.5", b"1.e5", b".e1",
    b"1e", b"1e+", b"1e-", b"1E", b"1e1.5", b"1.5.5", b"1ee5", b"1e5e5", b"0x10", b"0b1", b"0o7", b"1_000",
    b"1,000", b"1 000", b"1f", b"1L", b"1n", b"1a", b"1.5a", b"0e", b"0e+", b"1+2", b"2.e3", b"2.e+3",
    b"9.e+", b"-2.", "１".encode(), "٣".encode(), "1\u00a0".encode(), b"-foo", b"1.0-2", b"0.1.2", b"0.e1",
    b"1/2", b"$1", b"1%",
    # Words, quotes and other literals of other languages.
    b"True", b"FALSE", b"Null", b"None", b"nil", b"undefined", b"nul", b"tru", b"truee", b"nulll", b"true1",
    b"'a'", b"a", b"`a`", "“a”".encode(), b"<a>", b"/a/", b'"a"b', b'"a""b"', b'"a" "b"', b'"a"+"b"', b'r"a"',
    b'b"a"', b'"a', b'a"', b'"', b'""a', b'\\"a\\"', b"@", b"#", b"*", b"?", b"~", b"\\", b"\\u0031",
    b"/**/1", b"1/**/", b"1//", b"1#", b"(1)", b"new Date()", b"1;", b"=1", b"\xef\xbb\xbf1",
    b"\xe2\x81\xa01", b"\xff", b"\x80", b"\x00", b"\x001", b"1\x00", b"\x0b1", b"\x0c1", b"1\x1f", b"\xa01",
    b"\xc2\xa01", b"\xe2\x80\xa81",
    # Lists and objects.
    b"", b" ", b"[", b"]", b"[[", b"[]]", b"[1", b"1]", b"[1,", b"[,1]", b"[1,]", b"[,]", b"[1,,2]", b"[1 2]",
    b"[1:2]", b"[1;2]", b"[1,2]]", b"[1}", b"[}", b"{]", b"[{]}", b'["a"', b'["a",', b'["a",\n', b'["a]',
    b"[a]", b"[*]", b"[-]", b"(1,2)", b"[1,2", b"[1]x", b"[1][2]", b"[1],[2]", b"[\xff]", b"[\x00]",
    b"[1,\x0b2]", b"[\x0c1]", b"[NaN]", b"{", b"}", b"{{", b"{{}}", b"{}}", b"{1}", b'{"b"}', b'{"b":}',
    b'{"b":1', b'{"b" 1}', b'{"b",1}', b'{"b"::1}', b'{"b":1,}', b'{,"b":1}', b'{"b":1,,"c":2}',
    b'{"b":1 "c":2}', b'{"b":1;"c":2}', b"{b:1}", b"{'b':1}", b"{1:1}", b'{"b"=1}', b'{"b"=>1}', b'{null:1}',
    b'{[]:1}', b'{"b":1}x', b'{"b":1}{}', b'{"b":1/**/}', b'{"b":1//\n}', b"{:1}", b'{"b":1,"b":1}',
    b'{"b":1,"b":2}', b'{"b":1,"\\u0062":2}', b'{"":1,"":2}', b'[{"b":{},"b":{}}]', b'{"b":1,"c":2,"b":3}',
    b"[" * 64 + b"]" * 64, b'{"b":' * 63 + b"{}" + b"}" * 63, b"[" * 1025 + b"]" * 1025, b"[" * 5000,
    b"[" * 63, b'{"b":{"b":[{"c":1,"c":1}]}}', b'{"b":[1]],"c":2}', b'{"b":"x"', b'{"b":"x}', b'{"\\x":1}',
    b'{"\xff":1}', b'{"b\n":1}',
]  # fmt: skip

# The inside of a string.
GOOD_INSIDES = [
    b"a", b"\x7f", b"/", b"\\/", b"\\\\", b'\\"', b"\\b\\f\\n\\r\\t", b"\\u0001", b"\\u001F", b"\\u0061",
    b"\\u00E9", b"\\u20ac", b"\\uFFFF", b"\\uFFFE", b"\\uFEFF", b"\\u202e", b"\\u200B", b"\\ud83d\\ude00",
    b"\\uD800\\uDC00", b"\\uDBFF\\uDFFF", b"\\ud83d\\ude00\\ud83d\\ude00", b"\\\\u0000", b"\\\\\\\\u0000",
    b"\\\\ud800", b"\\\\x", b"\\\\\\\\", b"\xc2\x80", b"\xdf\xbf", b"\xe0\xa0\x80", b"\xed\x9f\xbf",
    b"\xee\x80\x80", b"\xef\xbf\xbf", b"\xef\xbb\xbf", b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf",
    "Ä€😀".encode(), b"e\xcc\x81", b"\xe2\x80\xa8\xe2\x80\xa9", b"u0000", b"\\u005C0",
]  # fmt: skip
BAD_INSIDES = [
    # Escapes.
    b"\\", b"\\\\\\", b"\\x41", b"\\a", b"\\0", b"\\v", b"\\'", b"\\U0041", b"\\N", b"\\ ", b"\\\n",
    b"\\\x00", b"\\\xc3\xa9", b"\\u", b"\\u0", b"\\u00", b"\\u004", b"\\u00G1", b"\\u 041", b"\\u-041",
    b"\\u+041", b"\\u{41}", b"\\u0x41", b"\\u\\u0041", "\\u００４１".encode(), b"\\u123\xc3\xa9", b"\\\\\\x",
    b"\\8", b"\\1", b"\\e", b"\\[", b"\\{",
    # NUL and surrogates.
    b"\\u0000", b"a\\u0000b", b"\\\\\\u0000", b"\\u0000\\u0000", b"\\ud800", b"\\udbff", b"\\udc00",
    b"\\udfff", b"\\uD83D", b"\\ude00\\ud83d", b"\\ud83d\\ud83d", b"\\ud83dx", b"\\ud83d\\n",
    b"\\ud83d\\u0041", b"\\ud83d\\", b"\\ud83d\\u", b"\\ud83d\\ude0", b"\\ud83d\\ude00\\ud83d",
    b"\\ud83d\\ud83d\\ude00", b"\\ud83dx\\ude00", b"\\ud83d\\\\ude00",
    # Control characters.
    *(bytes([code]) for code in range(32)),
    # What is no UTF-8: overlong, surrogates, beyond U+10FFFF, cut, other charsets.
    b"\x80", b"\xbf", b"\xff", b"\xfe", b"\xe9", b"\xa4\xdf", b"\xc0\x80", b"\xc0\xaf", b"\xc1\xbf",
    b"\xe0\x80\xaf", b"\xe0\x9f\xbf", b"\xf0\x80\x80\xaf", b"\xf0\x8f\xbf\xbf", b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xf0\x9f",
    b"\xc3\xc3\xa4", b"\xe2\x82\x61", b"\xc3\\u00a4", "日".encode("shift-jis"),
    "é".encode("utf-16"), b'a"b', b'"', b'","a":1,"b":"', b'"}{"a":"',
]  # fmt: skip

# Whole bodies.
GOOD_BODIES = [
    b"{}", b" {} ", b"\t\r\n{\n}\n", b'{"":""}', b'{"a":1}\n', b"{ }",
]  # fmt: skip
BAD_BODIES = [
    b"", b" ", b"\n", b"null", b"true", b"1", b'"a"', b"[]", b"[{}]", b"a", b"{", b"}", b"{}{}", b"{} {}",
    b"{}\n{}", b"{},", b"{}}", b"{}x", b"{}#", b"{}//", b"{}/**/", b"/**/{}", b"//\n{}", b",{}", b"[{}",
    b"{}]", b"({})", b"x={}", b")]}',\n{}", b"{};", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00",
    b"\xfe\xff\x00{\x00}", "{}".encode("utf-16-le"), "{}".encode("utf-16-be"), "{}".encode("utf-32"),
    b"\x00{}", b"{}\x00", b"\x0b{}", b"{}\x0c", b"{}\xa0", b"\xc2\xa0{}", b"{}\xe2\x81\xa0", b"\x1e{}",
    b"<a/>", b"a=1&b=2", b"--x\r\n", b"\x1f\x8b\x08", b"PK\x03\x04", b"%7B%7D", b"&#123;&#125;", b"{\x00}",
    b"{\xff}", b"{}\xff",
]  # fmt: skip


def scanned(*chunks: bytes) -> Scanned:
    scanner = Scanner()
    for chunk in chunks:
        scanner.feed(chunk)
    return scanner.finish()


def framed(frame: bytes, parts: Iterable[bytes]) -> list[bytes]:
    return [frame.replace(b"@", part) for part in parts]


SMALL = {
    True: [*framed(b'{"a":@}', GOOD_VALUES), *framed(b'{"a":"@"}', GOOD_INSIDES), *GOOD_BODIES],
    False: [*framed(b'{"a":@}', BAD_VALUES), *framed(b'{"a":"@"}', BAD_INSIDES), *BAD_BODIES],
}


def large(is_good: bool) -> list[bytes]:
    """The same beside a long string, in front of one, inside of one, or between much white space."""
    values, insides, bodies = (
        (GOOD_VALUES, GOOD_INSIDES, GOOD_BODIES) if is_good else (BAD_VALUES, BAD_INSIDES, BAD_BODIES)
    )
    return [
        *framed(b'{"long":"%b","a":@}' % LONG, values[::2]),
        *framed(b'{"a":@,"long":"%b"}' % LONG, values[1::2]),
        *framed(b'{"a":"%b@"}' % LONG, insides),
        *framed(b'{"@":"%b"}' % LONG, insides),
        *framed(b"%b@" % (b" " * len(LONG)), bodies),
    ]


def test_the_corpus_is_large_and_has_no_case_twice() -> None:
    assert len(SMALL[True]) > 100
    assert len(SMALL[False]) > 300
    for bodies in SMALL.values():
        assert len(set(bodies)) == len(bodies)


@pytest.mark.parametrize("is_good", [True, False])
def test_every_small_body_gets_its_verdict_wherever_it_is_cut(is_good: bool) -> None:
    for body in SMALL[is_good]:
        assert (verdict(reference, body) is not None) == is_good, body
        parsed = verdict(parse_small, body)
        assert (parsed is not None) == is_good, body
        assert verdict(scanned, body) == parsed, body
        assert verdict(scanned, *(body[i : i + 1] for i in range(len(body)))) == parsed, body


@pytest.mark.parametrize("is_good", [True, False])
def test_every_large_body_gets_its_verdict_wherever_it_is_cut(is_good: bool) -> None:
    for body in large(is_good):
        assert len(body) > INLINE_BODY_LIMIT
        shown = body.replace(LONG, b"<long>").strip()
        parsed = verdict(scanned, body)
        assert (parsed is not None) == is_good, shown
        for cut in (len(body) - 3, 65_536):
            assert verdict(scanned, body[:cut], body[cut:]) == parsed, shown
        assert (verdict(parse_small, body) is not None) == is_good, shown


def test_nothing_that_is_accepted_holds_a_nul_or_a_surrogate() -> None:
    for body in SMALL[True]:
        text = repr(parse_small(body))
        assert "\\x00" not in text
        assert text.encode()


@pytest.mark.parametrize("body", [b'{"a":1,"a":"%b"}' % LONG, b'{"a":"%b","a":"%b"}' % (LONG, LONG)])
@pytest.mark.fault("P3")
def test_a_key_that_comes_again_with_a_long_value_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody, match="same key twice"):
        scanned(body)


def test_a_long_string_is_told_from_its_mark() -> None:
    payload: Payload = {"a": {"$long_string": {"bytes": len(LONG)}}}
    found = scanned(b'{"a":"%b"}' % LONG)

    assert found.payload == payload
    assert found.strings == (LongString(path=("a",), offset=6, length=len(LONG), escaped=False),)
