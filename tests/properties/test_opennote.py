"""Whatever JSON object a believed sender posts is news or a bad body, and never anything else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.errors import BadBody
from receiver.model import EVENT_TYPES
from receiver.sources.base import Admission, Denied, Digests
from receiver.sources.opennote import CHECKED, place_of, video_of
from tests.samples.reading import API_KEY, ORGANIZATION, opennote

SOURCE = opennote()
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300)
)
JSON = st.recursive(
    SCALARS,
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3)
    ),
    max_leaves=8,
)
STATUSES = st.sampled_from(["completed", "failed", "pending", "status_error", "cancelled"]) | JSON
LONG = st.just({"$long_string": {"bytes": 70_000}})
RESPONSES = JSON | st.fixed_dictionaries(
    {},
    optional={
        "s3_url": JSON,
        "b64_video": JSON | LONG,
        "title": JSON,
        "transcript": JSON,
        "sources": st.lists(st.fixed_dictionaries({"url": JSON, "content": JSON}), max_size=2) | JSON,
        "cost": JSON,
        "model": JSON,
        "timestamp": JSON | st.datetimes().map(str) | st.floats(),
        "error": JSON,
    },
)
# Objects that look like what the provider sends: any field may be anything.
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "video_id": JSON,
        "set_id": JSON,
        "total_problems": JSON,
        "status": STATUSES,
        "response": RESPONSES,
        "progress": JSON,
        "completion_percentage": JSON,
        "error": JSON,
        "message": JSON,
    },
) | st.dictionaries(st.text(max_size=20), JSON, max_size=5)
REQUEST_IDS = st.none() | st.text(st.characters(max_codepoint=255), max_size=300)


@pytest.mark.fault("P5")
@given(OBJECTS, REQUEST_IDS, st.booleans())
@example({"progress": 2**64 - 1, "response": {"timestamp": 2**64 - 1}}, "v", True)
@example({"video_id": "v", "status": "completed", "response": {"b64_video": {"x": 1}}}, None, False)
def test_any_object_is_news_or_a_bad_body(
    payload: dict[str, Any], request_id: str | None, is_small: bool
) -> None:
    body, digests = (b"{}", Digests(None)) if is_small else (None, Digests("ab" * 32))
    try:
        news = SOURCE.read(payload, Admission(request_id), body, digests)
    except BadBody:
        return
    assert news.type in EVENT_TYPES
    assert news.identity.removesuffix("/problem-set").endswith(f"@{ORGANIZATION}")
    assert news.identity.isprintable()
    assert news.key.isprintable()
    assert news.video_id
    assert len(news.key) < 1000


@given(OBJECTS)
def test_normalising_never_fails(payload: dict[str, Any]) -> None:
    video = video_of(payload)

    assert (place_of(payload) is None) == (not video.inline and not video.url)


@given(OBJECTS, REQUEST_IDS)
def test_the_same_news_has_the_same_key(payload: dict[str, Any], request_id: str | None) -> None:
    def key() -> str | None:
        try:
            return SOURCE.read(payload, Admission(request_id), b"{}", Digests(None)).key
        except BadBody:
            return None

    assert key() == key()


NAMES = st.sampled_from([*CHECKED, b"x-request-id", b"authorization", b"x-api-key-2"])
VALUES = st.binary(max_size=40) | st.sampled_from(
    [b"opennote-api", b"https://video.api.opennote.com", ORGANIZATION.encode(), API_KEY.encode()]
)
RIGHT = dict(
    zip(
        CHECKED,
        [b"opennote-api", b"https://video.api.opennote.com", ORGANIZATION.encode(), API_KEY.encode()],
        strict=True,
    )
)


@pytest.mark.fault("A1")
@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
@example(list(RIGHT.items()))
def test_headers_are_believed_exactly_when_each_of_the_four_is_right_and_there_once(
    headers: list[tuple[bytes, bytes]],
) -> None:
    checked = [(name, value) for name, value in headers if name in CHECKED]
    is_right = len(checked) == 4 and dict(checked) == RIGHT

    assert isinstance(SOURCE.admit(headers), Admission) == is_right


@pytest.mark.fault("A1")
@given(st.sampled_from(CHECKED), st.data())
def test_one_flipped_bit_is_denied(name: bytes, data: st.DataObject) -> None:
    value = bytearray(RIGHT[name])
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    value[bit // 8] ^= 1 << bit % 8

    assert isinstance(SOURCE.admit(list({**RIGHT, name: bytes(value)}.items())), Denied)


@pytest.mark.fault("O1")
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=2000)), max_size=5))
def test_headers_can_always_be_kept_and_never_hold_the_key(headers: list[tuple[bytes, bytes]]) -> None:
    kept = orjson.loads(SOURCE.fingerprint([*headers, (b"x-api-key", API_KEY.encode())]))

    assert len(kept) == len(headers) + 1
    assert all(len(value) <= 1024 for _, value in kept)
    assert API_KEY not in str(kept)
