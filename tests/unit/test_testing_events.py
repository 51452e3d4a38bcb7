"""Ready-made events for tests of handlers: they are what the receiver would build from real callbacks."""

from __future__ import annotations

import json

import pytest

from receiver import Event
from receiver.errors import BadBody
from receiver.model import EVENT_TYPES
from receiver.testing import by_link, failed, from_body, inline, looked_up, progress, unknown
from tests.samples.reading import cases, sample


@pytest.mark.parametrize(
    ("event", "type_", "key"),
    [
        (by_link(), "video.completed", "vid_sample@org_sample:completed"),
        (inline(), "video.completed", "vid_sample@org_sample:completed"),
        (failed(), "video.failed", "vid_sample@org_sample:failed"),
        (progress(), "video.progress", "vid_sample@org_sample:progress"),
        (unknown(), "video.unknown", "vid_sample@org_sample:other:archived"),
    ],
)
def test_there_is_an_event_of_every_type(event: Event, type_: str, key: str) -> None:
    assert (event.type, event.key, event.source, event.warnings) == (type_, key, "opennote", ())
    assert event.video.id == "vid_sample"
    assert type_ in EVENT_TYPES
    assert json.loads(event.open_body().read())["video_id"] == "vid_sample"


def test_what_is_said_of_a_video_can_be_chosen() -> None:
    event = by_link(video_id="v2", title="Cells", cost=2.5, url="https://example.com/v2.mp4")
    assert (event.video.id, event.video.title, event.video.cost) == ("v2", "Cells", 2.5)
    assert event.video.url == "https://example.com/v2.mp4"
    assert not event.video.inline
    assert (progress(percent=12.5).video.progress, unknown(status="lost").video.status) == (12.5, "lost")
    assert failed(code="rate_limited").video.error.code == "rate_limited"


def test_the_same_news_has_the_same_id_and_other_news_another_one() -> None:
    assert by_link().id == inline().id
    assert len({by_link().id, failed().id, by_link(video_id="v2").id, by_link(source="other").id}) == 4


def test_an_inline_video_stands_in_the_payload_as_in_production() -> None:
    event = inline(video=bytes(90_000))
    encoded = event.payload["response"]["b64_video"]  # type: ignore[index, call-overload]
    assert encoded == {"$long_string": {"bytes": 120_000}}
    assert event.video.inline


@pytest.mark.parametrize("case", cases("opennote"))
def test_a_recorded_callback_becomes_its_event(case: str) -> None:
    recorded = sample("opennote", case)
    request_id = dict(recorded.headers).get(b"x-request-id", b"").decode() or None
    event = from_body(recorded.body, request_id=request_id)
    assert event.type in EVENT_TYPES
    assert event.open_body().read() == recorded.body
    assert ("request_id_rewritten" in event.warnings) == ("proxy" in case)


@pytest.mark.parametrize("case", cases("openai"))
def test_a_recorded_thin_event_becomes_its_event(case: str) -> None:
    recorded = sample("openai", case)
    event = from_body(recorded.body, request_id="wh_1", source="videos", kind="openai")
    assert event.type in EVENT_TYPES
    assert event.open_body().read() == recorded.body
    assert event.source == "videos"


def test_an_event_that_was_looked_up_shows_the_video_and_keeps_its_body() -> None:
    event = looked_up(model="sora-2", expires_at=1762503100)
    assert (event.type, event.video.model, event.source) == ("video.completed", "sora-2", "openai")
    assert event.video.expires_at is not None
    assert event.payload["data"] == {"id": "vid_sample"}
    assert looked_up(video_id="v2").id != event.id


def test_the_kind_of_a_sender_is_that_of_its_name_unless_it_is_told() -> None:
    assert from_body({"status": "completed", "id": "v"}, source="openai-compatible").video.id == "v"
    assert from_body({"video_id": "v"}, source="elsewhere").video.id == "v"


def test_a_body_that_the_receiver_would_refuse_is_refused() -> None:
    with pytest.raises(BadBody):
        from_body(b'{"status": "completed", "status": "failed"}')
