"""Thin events and video objects: whose video the news is about, what happened to it, what else is said."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from receiver.errors import BadBody
from receiver.model import EVENT_TYPES, VideoFailure
from receiver.sources import places_of, video_of
from receiver.sources.base import Admission, Digests, LinkedVideo, News, NoVideo
from receiver.sources.video_object import content_id, is_event, news_of
from tests.samples.reading import cases, gateway, openai, sample

ANSWER: dict[str, Any] = {"id": "video_1", "object": "video", "status": "completed"}


def news(payload: dict[str, Any], *, request_id: str | None = "wh_1") -> News:
    """Read a payload as a small body."""
    return news_of(payload, Admission(request_id), b"the body", Digests(None))


def event(type_: Any = "video.completed", **data: Any) -> dict[str, Any]:
    """A thin event."""
    return {"id": "evt_1", "object": "event", "created_at": 1762500000, "type": type_, "data": data}


# Events.


@pytest.mark.parametrize(
    ("case", "identity", "what", "event_type"),
    [
        ("completed", "video_sample_1", "completed", "video.completed"),
        ("failed", "video_sample_2", "failed", "video.failed"),
        ("completed_oddly_spelled", "video_sample_3", "completed", "video.completed"),
        ("completed_signed_twice", "video_sample_4", "completed", "video.completed"),
        (
            "response_completed",
            "wh_sample_response_completed",
            "other:response.completed",
            "video.unknown",
        ),
    ],
)
def test_a_sample_of_a_callback_is_news_of_its_video(
    case: str, identity: str, what: str, event_type: str
) -> None:
    request, source = sample("openai", case), openai()
    admission = source.admit(request.headers)
    assert isinstance(admission, Admission)

    found = source.read(request.payload, admission, request.body, Digests(None))

    assert (found.identity, found.video_id, found.what, found.type) == (identity, identity, what, event_type)
    assert found.warnings == ()
    assert found.content is None


def test_every_sample_of_a_callback_is_read_above() -> None:
    assert len(cases("openai")) == 5


@pytest.mark.fault("D3")
def test_the_id_of_the_video_counts_and_not_that_of_the_message() -> None:
    first, again = (news(event(id="video_1"), request_id=f"wh_{number}") for number in (1, 2))

    assert first == again
    assert first.key == "video_1:completed"


@pytest.mark.parametrize(
    "payload",
    [
        event("video.deleted", id="video_1"),
        event("batch.completed", id="batch_1"),
        event("", id="video_1"),
        event(None, id="video_1"),
        event("video.completed"),
        event("video.completed", id=None),
        event("video.completed", id=""),
        event("video.completed", id=["video_1"]),
        {"object": "event"},
        {"type": "ping", "data": {}},
    ],
)
def test_another_event_is_kept_as_unknown_under_the_id_of_its_message(payload: dict[str, Any]) -> None:
    found = news(payload)

    assert (found.identity, found.video_id, found.type) == ("wh_1", "wh_1", "video.unknown")
    assert found.what.startswith("other:")
    assert content_id(payload) is None or found.what == "other:"


def test_two_other_events_of_one_type_are_two() -> None:
    first, second = (news(event("batch.completed", id="b"), request_id=f"wh_{number}") for number in (1, 2))

    assert first.key != second.key


def test_without_an_id_of_the_message_the_events_own_counts_and_then_its_bytes() -> None:
    assert news(event("ping"), request_id=None).identity == "evt_1"
    digest = hashlib.sha256(b"the body").hexdigest()
    assert news({"type": "ping", "data": {}}, request_id=None).identity == f"sha256:{digest}"


@pytest.mark.fault("P11")
@pytest.mark.parametrize(
    "payload",
    [
        event(id="x" * 257),
        event(id="a\nb"),
        event(id="\u202evideo"),
        event("x" * 257, id="video_1"),
        event("video.\u0000", id="video_1"),
        {**ANSWER, "status": "x" * 257},
        {**ANSWER, "status": "do\nne"},
        {**ANSWER, "id": "a\x7fb"},
    ],
)
def test_an_id_or_a_word_that_can_not_be_kept_is_a_bad_body(payload: dict[str, Any]) -> None:
    with pytest.raises(BadBody):
        news(payload)


def test_a_thin_event_says_of_its_video_who_it_is_and_how_it_ended() -> None:
    video = video_of("openai", event(id="video_1"))

    assert (video.id, video.status, video.created_at) == ("video_1", "completed", None)
    assert video_of("openai", event("video.failed", id=7)).id == "7"
    assert video_of("openai", event("batch.completed", id="batch_1")).id is None


# Video objects.


@pytest.mark.parametrize(
    ("case", "what", "event_type"),
    [
        ("queued", "progress", "video.progress"),
        ("in_progress", "progress", "video.progress"),
        ("processing_as_one_guide_shows_it", "progress", "video.progress"),
        ("not_started", "progress", "video.progress"),
        ("running", "progress", "video.progress"),
        ("completed", "completed", "video.completed"),
        ("completed_with_a_link", "completed", "video.completed"),
        ("done_without_a_link", "completed", "video.completed"),
        ("failed", "failed", "video.failed"),
        ("expired", "failed", "video.failed"),
        ("cancelled", "failed", "video.failed"),
        ("unheard_of", "other:awaiting_moderation", "video.unknown"),
    ],
)
def test_a_sample_of_an_answer_is_news_of_the_video_that_was_asked_for(
    case: str, what: str, event_type: str
) -> None:
    answer, asked = sample("openai-compatible", case), "video_sample_5"

    found = gateway().read(answer.payload, Admission(asked), answer.body, Digests(None))

    assert (found.identity, found.what, found.type) == (asked, what, event_type)
    assert found.warnings == ()
    video = video_of("openai-compatible", answer.payload)
    assert (found.status, found.progress, found.title) == (video.status, video.progress, video.title)
    assert video.id == asked


def test_every_sample_of_an_answer_is_read_above() -> None:
    assert len(cases("openai-compatible")) == 12


@pytest.mark.fault("D3")
def test_a_video_is_the_same_whichever_way_its_news_came() -> None:
    thin = openai().read(event(id="video_1"), Admission("wh_1"), b"", Digests(None))
    polled = openai().read(ANSWER, Admission("video_1"), b"", Digests(None))

    assert thin.key == polled.key == "video_1:completed"


def test_an_answer_about_another_id_says_so() -> None:
    found = news(ANSWER, request_id="video_2")

    assert (found.identity, found.warnings) == ("video_1", ("other_id",))


def test_an_answer_without_an_id_is_about_the_video_that_was_asked_for() -> None:
    assert news({"status": "running"}, request_id="video_2").identity == "video_2"


def test_another_object_is_kept_as_unknown() -> None:
    found = news({"id": "resp_1", "object": "response", "status": "completed"})

    assert (found.identity, found.what, found.type) == ("wh_1", "other:completed", "video.unknown")


@pytest.mark.parametrize("status", [None, 5, ["completed"], {}])
def test_a_status_that_is_none_is_unknown(status: Any) -> None:
    assert news({**ANSWER, "status": status}).what == "other:"


@pytest.mark.parametrize("status", ["IN_PROGRESS", "in-progress", "In Progress", "NOT_START", "Queued"])
def test_the_spelling_of_a_status_does_not_matter(status: str) -> None:
    found = news({**ANSWER, "status": status})

    assert (found.type, found.status) == ("video.progress", status)


def test_all_that_an_object_says_is_normalised() -> None:
    video = video_of("openai", sample("openai-compatible", "completed").payload)

    assert (video.id, video.status, video.progress) == ("video_sample_5", "completed", 100.0)
    assert video.model == "sora-2"
    assert video.created_at == datetime(2025, 11, 7, 7, 10, 10, tzinfo=UTC)
    assert video.completed_at == datetime(2025, 11, 7, 7, 11, 40, tzinfo=UTC)
    assert video.expires_at == datetime(2025, 11, 7, 8, 11, 40, tzinfo=UTC)
    assert (video.title, video.url, video.inline) == (None, None, False)
    assert video.error == VideoFailure()


def test_an_error_is_read_as_an_object_and_as_a_text() -> None:
    as_object = video_of("openai", sample("openai-compatible", "failed").payload)
    as_text = video_of("openai", sample("openai-compatible", "expired").payload)

    assert as_object.error == VideoFailure(code="moderation_blocked", message="The prompt was refused.")
    assert as_text.error == VideoFailure(code="", message="the task ran out of time")


def test_a_time_of_zero_is_one_that_is_not_known() -> None:
    payload = sample("openai-compatible", "not_started").payload
    video = video_of("openai-compatible", payload)

    assert (video.progress, video.completed_at, video.expires_at) == (0.0, None, None)
    assert news(payload).expires_at is None


def test_the_end_of_the_link_is_news_of_a_finished_video_only() -> None:
    assert news({**ANSWER, "expires_at": 1762503100}).expires_at == 1762503100_000
    assert news({**ANSWER, "expires_at": 1762503100, "status": "failed"}).expires_at is None
    assert news({**ANSWER, "expires_at": 1e300}).expires_at is None


@pytest.mark.fault("D4")
def test_a_link_is_what_a_contradiction_is_seen_by_but_for_its_query() -> None:
    first, again = (news({**ANSWER, "url": f"https://cdn.example.com/v?token={n}"}).content for n in (1, 2))

    assert first == again == "url https://cdn.example.com/v"


def test_types_are_the_models_own() -> None:
    for case in cases("openai-compatible"):
        assert news(sample("openai-compatible", case).payload).type in EVENT_TYPES


# Where the video is.


@pytest.mark.parametrize("case", ["completed", "completed_with_a_link", "done_without_a_link"])
def test_a_finished_video_is_behind_the_content_endpoint_whatever_else_is_said(case: str) -> None:
    places = places_of("openai-compatible", sample("openai-compatible", case).payload, gateway())

    url = "https://gateway.example.com/v1/videos/video_sample_5/content"
    assert {variant: place.url for variant, place in places.items() if isinstance(place, LinkedVideo)} == {
        "video": url,
        "thumbnail": f"{url}?variant=thumbnail",
        "spritesheet": f"{url}?variant=spritesheet",
    }


@pytest.mark.parametrize("case", ["queued", "failed", "unheard_of"])
def test_an_unfinished_video_is_nowhere(case: str) -> None:
    assert places_of("openai-compatible", sample("openai-compatible", case).payload, gateway()) == {}


def test_without_its_source_a_video_can_not_be_had_and_the_reason_is_said() -> None:
    for source in (None, gateway()):
        (place,) = places_of("openai", event(id="video_1"), source).values()
        assert isinstance(place, NoVideo)
        assert "is not configured any more" in place.reason
    assert places_of("openai", event("video.failed", id="video_1"), None) == {}


def test_an_event_is_told_from_a_video_by_its_form() -> None:
    assert is_event(event(id="v"))
    assert is_event({"type": "video.completed", "data": {}})
    assert not is_event(ANSWER)
    assert not is_event({"type": "video", "status": "completed", "id": "v", "data": None})


def test_a_watch_that_expired_is_a_failure_of_the_same_video() -> None:
    payload = openai().watch_expired("video_1", "no end of it was heard of")
    found = openai().read(payload, Admission("video_1"), b"", Digests(None))

    assert (found.key, found.type, found.status) == ("video_1:failed", "video.failed", "watch_expired")
    assert video_of("openai", payload).error == VideoFailure(
        code="watch_expired", message="no end of it was heard of"
    )


def test_until_a_video_is_looked_up_its_content_is_taken_to_last_an_hour() -> None:
    told_at = 1762500000
    thin = {"type": "video.completed", "created_at": told_at, "data": {"id": "video_1"}}

    assert news(thin).expires_at == (told_at + 3600) * 1000
    assert news({**thin, "type": "video.failed"}).expires_at is None
    assert news({**thin, "created_at": None}).expires_at is None
    assert news({**thin, "created_at": 2**64}).expires_at is None
