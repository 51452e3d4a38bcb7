"""Whatever headers come, a callback is believed or denied; whatever JSON it holds is news or a bad body."""

from __future__ import annotations

import base64
import hmac
from itertools import combinations
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.errors import BadBody
from receiver.model import EVENT_TYPES
from receiver.sources import places_of, video_of
from receiver.sources.base import Admission, Denied, Digests
from receiver.sources.openai import CHECKED
from receiver.sources.video_object import VARIANTS
from tests.samples.reading import OLD_SECRET, SECRET, SIGNED_AT, openai

SOURCE = openai()
BODY = b'{"type":"video.completed","data":{"id":"video_1"}}'
KEYS = [base64.b64decode(secret.removeprefix("whsec_")) for secret in (SECRET, OLD_SECRET)]

# The grammar of the header: entries of every version, right, wrong and malformed, between blanks.
VERSIONS = st.sampled_from([b"v1", b"v1a", b"v2", b"V1", b"", b"v1,v1"])
TEXTS = (
    st.binary(max_size=40).map(base64.b64encode)
    | st.binary(max_size=60)
    | st.sampled_from([b"", b"=", b"whsec_AAAA", b"\xff\xfe", b"v1"])
)
WRONG = st.builds(lambda version, text: version + b"," + text, VERSIONS, TEXTS) | TEXTS
IDS = st.from_regex(rb"[A-Za-z0-9_-]{1,40}", fullmatch=True)
ANY_ID = IDS | st.binary(max_size=40) | st.sampled_from([b"a.b", b".", b"\xc3\xa9", b" "])
TIMESTAMPS = (
    st.integers(SIGNED_AT - 400, SIGNED_AT + 400).map(lambda at: str(at).encode())
    | st.binary(max_size=14)
    | st.sampled_from(
        [b"+1762500000", b"1.7625e9", b" 1762500000", "١٧٦٢٥٠٠٠٠٠".encode(), b"01762500000", b"-1"]
    )
)


def right(key: bytes, message_id: bytes, timestamp: bytes, body: bytes = BODY) -> bytes:
    text = message_id + b"." + timestamp + b"." + body
    return b"v1," + base64.b64encode(hmac.digest(key, text, "sha256"))


def is_believed(headers: list[tuple[bytes, bytes]], body: bytes = BODY) -> bool:
    admission = SOURCE.admit(headers)
    if isinstance(admission, Denied):
        return False
    admission.feed(body)
    return admission.conclude() is None


@pytest.mark.fault("A9", "A10")
@given(st.data(), ANY_ID, TIMESTAMPS, st.lists(WRONG, max_size=20), st.sampled_from([*KEYS, None]))
@example(None, b"wh_1", b"1762500000", [b"v1,x"] * 15, KEYS[1])
@example(None, b"wh_1", b"1762500000", [b"v1,x"] * 16, KEYS[0])
def test_a_callback_is_believed_exactly_when_all_of_its_grammar_is_right(
    data: st.DataObject | None, message_id: bytes, timestamp: bytes, entries: list[bytes], key: bytes | None
) -> None:
    sent = list(entries)
    if key is not None:
        place = 0 if data is None else data.draw(st.integers(0, len(sent)))
        sent.insert(place, right(key, message_id, timestamp))
    header = b" ".join(sent)
    is_id = 0 < len(message_id) <= 256 and all(33 <= byte < 127 and byte != 46 for byte in message_id)
    is_time = timestamp.isdigit() and len(timestamp) <= 12 and abs(int(timestamp) - SIGNED_AT) <= 300
    is_bounded = len(header) <= 4096 and header.count(b" ") < 16

    headers = list(zip(CHECKED, (message_id, timestamp, header), strict=True))

    assert is_believed(headers) == (key is not None and is_id and is_time and is_bounded)


@pytest.mark.fault("A9")
@given(st.lists(st.tuples(st.sampled_from([*CHECKED, b"host"]), st.binary(max_size=5000)), max_size=6))
def test_any_headers_give_a_verdict(headers: list[tuple[bytes, bytes]]) -> None:
    assert not is_believed(headers)


PARTS = st.sampled_from([b"", b"wh_1", b"1762500000", b"1762500001", b"1", b"x"]) | st.text(
    "ab.0", max_size=8
).map(str.encode)


@pytest.mark.fault("A10")
@given(st.lists(PARTS, min_size=3, max_size=7))
@example([b"wh_1", b"1762500000", b"1762500001", b"x"])
@example([b"wh_1", b"1", b"1762500000", b"x"])
def test_a_signed_text_can_be_read_in_one_way_at_most(parts: list[bytes]) -> None:
    text = b".".join(parts)
    dots = [at for at, byte in enumerate(text) if byte == 46]
    signature = b"v1," + base64.b64encode(hmac.digest(KEYS[0], text, "sha256"))
    readings = [
        (text[:one], text[one + 1 : other], text[other + 1 :]) for one, other in combinations(dots, 2)
    ]

    believed = [
        (message_id, timestamp)
        for message_id, timestamp, body in readings
        if is_believed(list(zip(CHECKED, (message_id, timestamp, signature), strict=True)), body)
    ]

    message_id, timestamp, _ = readings[0]
    is_one = message_id.replace(b"_", b"").isalnum()
    is_now = timestamp.isdigit() and len(timestamp) <= 12 and abs(int(timestamp) - SIGNED_AT) <= 300
    assert believed == ([(message_id, timestamp)] if is_one and is_now else [])


@pytest.mark.fault("A5")
@given(st.binary(min_size=1, max_size=200), st.data())
def test_one_flipped_bit_of_the_body_is_denied(body: bytes, data: st.DataObject) -> None:
    headers = [
        (b"webhook-id", b"wh_1"),
        (b"webhook-timestamp", b"1762500000"),
        (b"webhook-signature", right(KEYS[0], b"wh_1", b"1762500000", body)),
    ]
    assert is_believed(headers, body)
    flipped = bytearray(body)
    bit = data.draw(st.integers(0, 8 * len(body) - 1))
    flipped[bit // 8] ^= 1 << bit % 8

    assert not is_believed(headers, bytes(flipped))


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
WORDS = st.sampled_from(
    ["video.completed", "video.failed", "completed", "failed", "NOT_START", "video", "event"]
)
# Objects that look like what the provider sends: any field may be anything.
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "object": WORDS | JSON,
        "type": WORDS | JSON,
        "data": st.fixed_dictionaries({}, optional={"id": JSON, "status": JSON}) | JSON,
        "status": WORDS | JSON,
        "progress": JSON | st.just("40%"),
        "url": JSON,
        "error": JSON,
        "created_at": JSON,
        "completed_at": JSON,
        "expires_at": JSON | st.integers(-(10**12), 10**12),
    },
)


@pytest.mark.fault("P5")
@given(OBJECTS, st.none() | st.text(st.characters(max_codepoint=255), max_size=300), st.booleans())
@example({"object": "video", "id": "v", "status": "completed", "expires_at": 2**64 - 1}, "v", True)
def test_any_object_is_news_or_a_bad_body(payload: dict[str, Any], asked: str | None, is_small: bool) -> None:
    body, digests = (b"{}", Digests(None)) if is_small else (None, Digests("ab" * 32))
    try:
        news = SOURCE.read(payload, Admission(asked), body, digests)
    except BadBody:
        return
    assert news.type in EVENT_TYPES
    assert news.identity
    assert news.identity == news.video_id
    assert news.key.isprintable()
    assert len(news.key) < 1000
    assert news.expires_at is None or abs(news.expires_at) < 2**63


@given(OBJECTS)
def test_normalising_never_fails(payload: dict[str, Any]) -> None:
    video_of("openai", payload)

    assert set(places_of("openai", payload, SOURCE)) in (set(), set(VARIANTS))
