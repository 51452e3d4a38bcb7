"""Inline base64 is decoded in every form that senders use, and errors say where they are."""

from __future__ import annotations

import base64
import tracemalloc
from pathlib import Path

import pytest

from receiver.errors import Hopeless
from receiver.event import StoredBody
from receiver.inline import decode, decode_text, open_slice
from receiver.model import LongString

DATA = bytes(range(256)) * 3


def decoded(*chunks: bytes) -> bytes:
    return b"".join(decode(chunks))


@pytest.mark.fault("B9")
@pytest.mark.parametrize(
    "raw",
    [
        base64.b64encode(DATA),
        base64.urlsafe_b64encode(DATA),
        base64.b64encode(DATA).replace(b"/", b"\\/"),
        base64.b64encode(DATA).replace(b"/", b"\\u002f").replace(b"+", b"\\u002B"),
        base64.encodebytes(DATA).replace(b"\n", b"\\r\\n"),
        base64.encodebytes(DATA).replace(b"\n", b" \\t"),
        b"data:video/mp4;base64," + base64.b64encode(DATA),
        b"data:video\\/mp4;codecs=avc1;base64," + base64.b64encode(DATA),
    ],
)
def test_every_form_is_decoded(raw: bytes) -> None:
    assert decoded(raw) == DATA
    assert decoded(*(raw[i : i + 1] for i in range(len(raw)))) == DATA


@pytest.mark.parametrize("text", ["QQ", "QQ==", "QR==", "Q Q\\n=="])
def test_padding_may_be_missing_and_surplus_bits_are_ignored(text: str) -> None:
    assert decoded(text.encode()) == b"A"


@pytest.mark.fault("B9")
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "the inline video is empty"),
        (b" \\n", "the inline video is empty"),
        (b"data:video/mp4;base64,", "the inline video is empty"),
        (b"QUJD!UJD", "is not base64, at byte 4"),
        (b"QUJD\\/\\u00e9JD", "is not base64, at byte 6"),
        (b"QUJD\\\\/JD", "is not base64, at byte 4"),
        (b"QUJD\xc3\xa9", "is not base64, at byte 4"),
        (b"=", "is not base64, at byte 0"),
        (b"QUJDQ===", "is not base64, at byte 5"),
        (b"QQ==QQ==", "goes on after its base64 padding, at byte 4"),
        (b"QQ==\\n=", "goes on after its base64 padding, at byte 6"),
        (b"QQ=Q", "goes on after its base64 padding, at byte 3"),
        (b"QUJDQ", "ends within a base64 group, at byte 5"),
        (b"QUJDQQ=", "ends within a base64 group, at byte 7"),
        (b"QUJD\\", "is not base64, at byte 4"),
        (b"QU+D\\/-JD", "mixes two base64 alphabets, at byte 6"),
        (b"data:video/mp4,QUJD", "does not say base64"),
        (b"data:" + b"x" * 2000, "does not say base64"),
        (b"data:;base64", "is not base64, at byte 4"),
        (b"data:;base64,QU!D", "is not base64, at byte 15"),
    ],
)
def test_an_error_says_where_it_is(raw: bytes, reason: str) -> None:
    for step in (1, 4, len(raw) + 1):
        chunks = [raw[i : i + step] for i in range(0, len(raw), step)]
        with pytest.raises(Hopeless, match=reason):
            decoded(*chunks)


def test_text_of_the_payload_has_no_escapes_any_more() -> None:
    assert decode_text("data:video/mp4;base64,QU\nJD") == b"ABC"
    with pytest.raises(Hopeless, match="at byte 2"):
        decode_text("QU\\nJD")
    with pytest.raises(Hopeless, match="at byte 3"):
        decode_text("QUJé")


def test_a_slice_of_the_body_file_is_read_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b'{"a":"' + base64.b64encode(DATA) + b'","b":"QUJD"}')
    string = LongString(path=("a",), offset=6, length=1024, escaped=False)
    body = StoredBody(path=file, strings=(string,))
    assert b"".join(open_slice(body, string)) == base64.b64encode(DATA)
    pieces = list(open_slice(body, string, piece=1000))
    assert [len(piece) for piece in pieces] == [1000, 24]
    assert decoded(*pieces) == DATA


@pytest.mark.fault("B9", "B10")
def test_a_body_file_that_was_cut_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b'{"a":"QUJD')
    string = LongString(path=("a",), offset=6, length=1024, escaped=False)
    with pytest.raises(Hopeless, match="shorter"):
        decoded(*open_slice(StoredBody(path=file), string))


@pytest.mark.parametrize("letters", [b"QUJD", b"QU\\/D", b"QU JD\\n"])
def test_memory_stays_flat_whatever_the_length(letters: bytes) -> None:
    count = 100
    tracemalloc.start()
    try:
        size = sum(len(piece) for piece in decode(letters * 2**16 for _ in range(count)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 3 * count * 2**16
    assert peak < 10 * 2**20
