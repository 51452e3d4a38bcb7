"""Base64 in any form it may take, cut anywhere, decodes to what was encoded; the rest is an error."""

from __future__ import annotations

import base64
import re
from random import Random

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from receiver.errors import Hopeless
from receiver.inline import Base64Stream, decode, decode_text
from tests.strict_base64 import reference, sliced

CUTS = st.lists(st.integers(0, 500), max_size=6)
ESCAPES = {
    "/": ["/", "\\/", "\\u002f", "\\u002F"],
    "+": ["+", "\\u002b"],
    "A": ["A", "\\u0041"],
    "=": ["=", "\\u003d"],
}
SPACES = ["", "", "", " ", "\\n", "\\r\\n", "\\t", "\\u0020"]
PREFIXES = ["", "data:video/mp4;base64,", "data:video\\/mp4;base64,", "DATA:;base64,"]


@pytest.mark.fault("B9")
@given(
    st.binary(min_size=1, max_size=90),
    st.booleans(),
    st.booleans(),
    st.sampled_from(PREFIXES),
    CUTS,
    st.randoms(),
)
def test_every_form_decodes_to_what_was_encoded(
    data: bytes, is_url_safe: bool, is_padded: bool, prefix: str, cuts: list[int], random: Random
) -> None:
    text = (base64.urlsafe_b64encode if is_url_safe else base64.b64encode)(data).decode()
    text = text if is_padded else text.rstrip("=")
    choice = random.choice
    raw = prefix + "".join(choice(ESCAPES.get(letter, [letter])) + choice(SPACES) for letter in text)
    assert b"".join(decode(sliced(raw.encode(), cuts))) == data


@pytest.mark.fault("B9")
@given(st.text("AB9+/-_=", max_size=14).map(str.encode) | st.binary(max_size=12), CUTS)
@example(b"AA==", [3])
@example(b"AA=A", [3])
@example(b"AAAA====", [4])
@example(b"data", [2])
@example(b"AA==AA==", [])
@example(b"AA=", [])
@example(b"A=", [])
def test_plain_text_gets_the_verdict_of_the_reference(raw: bytes, cuts: list[int]) -> None:
    assume(not re.search(rb'[\\ \t\r\n"]', raw))
    try:
        decoded = b"".join(decode(sliced(raw, cuts)))
    except Hopeless:
        assert reference(raw) is None
    else:
        assert decoded == reference(raw)


@pytest.mark.fault("B9")
@given(
    st.binary(min_size=30, max_size=200),
    st.integers(0, 10**6),
    st.sampled_from(["!", "é", "\\u00e9", "\\\\", "\\u0000", "=", "\\b", "\\ud83d\\ude00", "{"]),
    CUTS,
)
def test_a_strange_character_is_an_error_that_says_where_it_is(
    data: bytes, place: int, strange: str, cuts: list[int]
) -> None:
    text = base64.b64encode(data).decode().rstrip("=").replace("/", "\\/")
    place %= len(text) - 6
    assume(text[place - 1] != "\\" or place == 0)
    raw = (text[:place] + strange + text[place:]).encode()
    # A lone padding character may stand where a group is half full; what follows it is then the fault.
    expected = {place, place + 1} if strange == "=" else {place}
    with pytest.raises(Hopeless) as caught:
        b"".join(decode(sliced(raw, cuts)))
    match = re.search(r"at byte (\d+)", str(caught.value))
    assert match is not None
    assert int(match[1]) in expected


@pytest.mark.fault("B9")
@given(st.randoms(), st.integers(0, 3000), st.booleans(), st.binary(max_size=2), st.integers(0, 5000), CUTS)
@example(Random(1), 300, False, b"=", 200, [])
@example(Random(1), 300, True, b"/", 200, [])
@example(Random(1), 300, False, b"\x80", 0, [])
@example(Random(1), 3 * 48, False, b"Q", 192, [])
def test_long_text_gets_the_verdict_of_the_reference(
    random: Random, size: int, is_url_safe: bool, strange: bytes, place: int, cuts: list[int]
) -> None:
    # Many bytes at a time are decoded in other ways than a few.
    assume(not re.search(rb'[\\ \t\r\n"]', strange))
    data = random.randbytes(size)
    text = base64.urlsafe_b64encode(data) if is_url_safe else base64.b64encode(data)
    place %= len(text) + 1
    raw = text[:place] + strange + text[place + random.choice([0, len(strange)]) :]
    try:
        decoded = b"".join(decode(sliced(raw, [cut * 8 for cut in cuts])))
    except Hopeless:
        assert reference(raw) is None
    else:
        assert decoded == reference(raw)


@given(st.binary(min_size=1, max_size=90), st.sampled_from(["", "\n", " ", "\r\n"]))
def test_text_from_the_payload_decodes(data: bytes, space: str) -> None:
    text = base64.b64encode(data).decode()
    assert decode_text("data:video/mp4;base64," + space.join(text) + space) == data
    with pytest.raises(Hopeless):
        decode_text("\\n" + text)


@given(st.binary(max_size=60), CUTS)
def test_any_bytes_give_a_verdict(raw: bytes, cuts: list[int]) -> None:
    for is_escaped in (True, False):
        stream = Base64Stream(escaped=is_escaped)
        try:
            for chunk in sliced(raw, cuts):
                stream.feed(chunk)
            stream.finish()
        except Hopeless:
            pass
