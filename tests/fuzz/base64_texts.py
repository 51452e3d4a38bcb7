"""Inline videos: whole, or refused; never cut short or altered, wherever the slices are cut."""

from __future__ import annotations

import base64

from receiver.errors import Hopeless
from receiver.inline import decode, decode_text
from tests.strict_base64 import in_json, in_text, sliced

_CUTS = 3
_DATA = bytes(range(256))
_FORMS = (
    base64.b64encode(_DATA),
    base64.urlsafe_b64encode(_DATA),
    base64.b64encode(_DATA).replace(b"/", rb"\/"),
    base64.b64encode(_DATA).replace(b"/", rb"\u002f").replace(b"+", rb"\u002B"),
    base64.encodebytes(_DATA).replace(b"\n", rb"\r\n"),
    base64.b64encode(_DATA[:40]).rstrip(b"="),
    b"QQ==",
    b"QR",
    rb"QQ=\u003d",
    b"data",
)
_PREFIXES = (b"", b"data:video/mp4;base64,", rb"DATA:video\/mp4;codecs=avc1;base64,", b"data:video/mp4,")
SEEDS = [
    *(b"\x10\x50\xa0" + prefix + form for prefix in _PREFIXES for form in _FORMS),
    b"\x10P\xa0" + rb"QQ=\u003d" + b"\t" * 30,
]
DICTIONARY = [
    *_PREFIXES[1:],
    *(b"=", b"==", b"===", b"AAAA", b"+", b"-", b"_", b"/", b"\\", b"!", b" ", b"\n", b'"', b",", b"data:"),
    *(rb"\/", rb"\n", rb"\r\n", rb"\t", rb"\\", rb"\u0041", rb"\u003d", rb"\u002F", rb"\u0020", rb"\u0000"),
    *(rb"\ud83d\ude00", rb"\ud83d", b"\xc3\xa9", b"\xff", b"\x00"),
]


def check(data: bytes) -> None:
    """The first bytes say where the slices of the others are cut."""
    raw = data[_CUTS:]
    expected, is_legal = in_json(raw, is_strict=False), in_json(raw) is not None
    ways = [[raw], sliced(raw, [place * len(raw) // 256 for place in data[:_CUTS]])]
    if len(raw) < 200:
        ways.append([raw[i : i + 1] for i in range(len(raw))])
    for slices in ways:
        found = _decoded(slices)
        # A control character has no place in a JSON string: refused or not, it must do no harm.
        if found is not None or is_legal:
            assert found == expected
    text = raw.decode("utf-8", "replace")
    try:
        assert decode_text(text) == in_text(text)
    except Hopeless:
        assert in_text(text) is None


def _decoded(slices: list[bytes]) -> bytes | None:
    try:
        return b"".join(decode(slices))
    except Hopeless:
        return None
