"""Signed callbacks: believed exactly when form, age and one signature are right, and nothing raises."""

from __future__ import annotations

import base64
import hmac

from receiver.sources.base import Denied
from receiver.sources.openai import CHECKED
from tests.samples.reading import OLD_SECRET, SECRET, SIGNED_AT, cases, openai, sample

_SOURCE = openai()
_KEYS = [base64.b64decode(secret.removeprefix("whsec_")) for secret in (SECRET, OLD_SECRET)]
_SAMPLES = [sample("openai", case) for case in cases("openai")]
_LISTS = (b"v1,x", b"v1a,x v2,x", b"v1,", b"", b"v1", b" ".join([b"v1,x"] * 16), b"v1," + b"=" * 5000)
_TIMES = (b"1762500301", b"1762499699", b"+1762500000", b"1762500000.0", b"01762500000", b"1e9", b"")
_IDS = (b"a.b", b"wh 1", b"\xff", b"", b"x" * 300)


def _input(headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    lines = b"".join(b"%b:%b\n" % header for header in headers if header[0] in CHECKED)
    return lines + b"\n" + body


def _with(name: bytes, value: bytes) -> bytes:
    headers = [(each, value if each == name else was) for each, was in _SAMPLES[0].headers]
    return _input(headers, _SAMPLES[0].body)


SEEDS = [
    *(_input(one.headers, one.body) for one in _SAMPLES),
    *(_input([*one.headers, *one.headers], one.body) for one in _SAMPLES[:1]),
    *(_with(CHECKED[0], value) for value in _IDS),
    *(_with(CHECKED[1], value) for value in _TIMES),
    *(_with(CHECKED[2], value) for value in _LISTS),
]
DICTIONARY = [
    *(name + b":" for name in CHECKED),
    *(value for one in _SAMPLES for name, value in one.headers if name in CHECKED),
    *(*_IDS[:3], *_TIMES[:-1], *_LISTS[:3]),
    *(b"v1,", b"v1a,", b" ", b".", b",", b"=", b"\n", b"\n\n", b"\x00", b"0", b"9"),
]


def check(data: bytes) -> None:
    """Lines are headers, up to an empty one; the rest is the body, which comes in two pieces."""
    head, _, body = data.partition(b"\n\n")
    parts = [line.partition(b":") for line in head.split(b"\n") if line]
    headers = [(name.lower(), value) for name, _, value in parts]
    admission = _SOURCE.admit(headers)
    if isinstance(admission, Denied):
        is_believed = False
    else:
        half = len(body) // 2
        admission.feed(body[:half])
        admission.feed(body[half:])
        is_believed = admission.conclude() is None
    assert is_believed == _is_right(headers, body)


def _is_right(headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
    found = {name: [value for each, value in headers if each == name] for name in CHECKED}
    if any(len(values) != 1 for values in found.values()):
        return False
    [[message_id], [timestamp], [sent]] = found.values()
    is_id = 0 < len(message_id) <= 256 and all(32 < byte < 127 and byte != 46 for byte in message_id)
    is_time = 0 < len(timestamp) <= 12 and not timestamp.translate(None, b"0123456789")
    if not (is_id and is_time and abs(int(timestamp) - SIGNED_AT) <= 300):
        return False
    entries = sent.split(b" ")
    text = message_id + b"." + timestamp + b"." + body
    right = {b"v1," + base64.b64encode(hmac.digest(key, text, "sha256")) for key in _KEYS}
    return len(sent) <= 4096 and len(entries) <= 16 and not right.isdisjoint(entries)
