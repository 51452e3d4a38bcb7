"""Opennote: which headers are believed, whose video the news is about, and what happened to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any

import orjson
import pytest

from receiver.errors import BadBody
from receiver.model import Payload
from receiver.sources.base import Admission, Denied, Digests, InlineVideo, LinkedVideo, News
from receiver.sources.opennote import CHECKED, INLINE_PATH, Opennote, callback_headers, place_of, video_of
from tests.samples.reading import API_KEY, OLD_API_KEY, ORGANIZATION, cases, opennote, sample

RIGHT: dict[bytes, bytes] = {
    b"x-webhook-platform": b"opennote-api",
    b"x-origin": b"https://video.api.opennote.com",
    b"x-organization-id": ORGANIZATION.encode(),
    b"x-api-key": API_KEY.encode(),
}
FORMS = ("right", "wrong", "missing", "duplicated", "empty", "non-ASCII")
CHECKS = {
    "wrong": "is wrong",
    "missing": "is missing",
    "duplicated": "is given more than once",
    "empty": "is empty",
    "non-ASCII": "is wrong",
}
WRONG = b"canary-a-wrong-value"
NOT_ASCII = b"canary-\xff\xc3\xb6"


def headers_in(forms: tuple[str, ...]) -> Iterator[tuple[bytes, bytes]]:
    """The four headers, each in its form, among others."""
    yield b"host", b"hooks.example.com"
    for (name, value), form in zip(RIGHT.items(), forms, strict=True):
        values = {
            "right": [value],
            "wrong": [WRONG],
            "missing": [],
            "duplicated": [value, value],
            "empty": [b""],
            "non-ASCII": [NOT_ASCII],
        }[form]
        for each in values:
            yield name, each
    yield b"content-type", b"application/json"


def with_header(name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    """The right headers, but one."""
    return list({**RIGHT, name: value}.items())


def news(payload: dict[str, Any], *, request_id: str | None = None, source: Opennote | None = None) -> News:
    """Read a payload as a small body."""
    return (source or opennote()).read(payload, Admission(request_id), b"the body", Digests(None))


def test_the_table_names_every_header_that_is_checked() -> None:
    assert tuple(RIGHT) == CHECKED


@pytest.mark.fault("A1")
def test_of_all_1296_combinations_of_headers_only_the_right_one_is_believed() -> None:
    source = opennote()
    believed = [
        forms
        for forms in product(FORMS, repeat=4)
        if isinstance(source.admit(list(headers_in(forms))), Admission)
    ]

    assert believed == [("right", "right", "right", "right")]


def test_a_denial_names_every_failing_check_and_no_value() -> None:
    source = opennote()
    for forms in product(FORMS, repeat=4):
        verdict = source.admit(list(headers_in(forms)))
        if not isinstance(verdict, Denied):
            continue
        expected = [
            f"{name.decode()} {CHECKS[form]}"
            for name, form in zip(RIGHT, forms, strict=True)
            if form != "right"
        ]
        assert verdict.check == ", ".join(expected)
        assert "canary" not in verdict.check
        assert not any(value.decode() in verdict.check for value in RIGHT.values())


@pytest.mark.fault("A3")
@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("place", [0, 99])
def test_a_right_header_beside_a_wrong_one_of_its_name_is_denied(name: bytes, place: int) -> None:
    headers = list(RIGHT.items())
    headers.insert(place, (name, WRONG))

    assert opennote().admit(headers) == Denied(f"{name.decode()} is given more than once")


@pytest.mark.parametrize("name", RIGHT)
def test_every_part_of_a_value_counts(name: bytes) -> None:
    right = RIGHT[name]
    variants = {
        right[:-1],
        right[1:],
        right + b" ",
        b" " + right,
        right + b"\x00",
        right.upper(),
        right * 2,
        right + b"," + right,
    }
    source = opennote()

    verdicts = [source.admit(with_header(name, value)) for value in variants - {right}]

    assert all(isinstance(verdict, Denied) for verdict in verdicts)


@pytest.mark.fault("A1")
def test_values_can_not_be_moved_from_one_header_to_another() -> None:
    source = opennote()
    joined = b"\n".join(RIGHT.values())

    assert isinstance(source.admit([(CHECKED[0], joined)]), Denied)
    shifted = dict(zip(CHECKED, [*list(RIGHT.values())[1:], b"opennote-api"], strict=True))
    assert isinstance(source.admit(list(shifted.items())), Denied)


def test_the_order_of_the_headers_and_other_headers_do_not_matter() -> None:
    headers = [(b"x-api-key-2", WRONG), *reversed(RIGHT.items()), (b"x-origin-2", WRONG)]

    assert isinstance(opennote().admit(headers), Admission)


@pytest.mark.fault("A8")
def test_each_of_several_keys_is_believed() -> None:
    source = opennote(api_keys=[OLD_API_KEY, API_KEY])

    assert isinstance(source.admit(with_header(b"x-api-key", OLD_API_KEY.encode())), Admission)
    assert isinstance(source.admit(with_header(b"x-api-key", API_KEY.encode())), Admission)
    assert source.admit(with_header(b"x-api-key", b"a third one")) == Denied("x-api-key is wrong")


@pytest.mark.fault("A11")
def test_a_key_of_one_organisation_is_not_believed_for_another() -> None:
    ours, theirs = opennote(), opennote(organization_id="org_theirs", api_keys=["sk_theirs_1234"])
    crossed = with_header(b"x-organization-id", b"org_theirs")

    assert ours.admit(crossed) == Denied("x-organization-id is wrong")
    assert theirs.admit(crossed) == Denied("x-api-key is wrong")


def test_the_id_of_the_request_is_taken_from_its_header() -> None:
    verdict = opennote().admit([*RIGHT.items(), (b"x-request-id", b"v1")])

    assert verdict == Admission(request_id="v1")


@pytest.mark.parametrize("case", cases("opennote"))
def test_every_sample_is_believed(case: str) -> None:
    assert isinstance(opennote().admit(sample("opennote", case).headers), Admission)


def read_sample(case: str) -> News:
    request, source = sample("opennote", case), opennote()
    admission = source.admit(request.headers)
    assert isinstance(admission, Admission)
    return source.read(request.payload, admission, request.body, Digests(None))


@pytest.mark.parametrize(
    ("case", "number", "what", "event_type", "warnings"),
    [
        ("completed_s3", 1, "completed", "video.completed", ()),
        ("completed_inline", 2, "completed", "video.completed", ()),
        ("pending", 3, "progress", "video.progress", ()),
        ("pending_as_the_guide_shows_it", 4, "progress", "video.progress", ()),
        ("failed", 5, "failed", "video.failed", ()),
        ("status_error", 6, "other:status_error", "video.unknown", ()),
        ("completed_s3_behind_a_proxy", 7, "completed", "video.completed", ("request_id_rewritten",)),
        ("completed_s3_without_video_id", 8, "completed", "video.completed", ()),
    ],
)
def test_a_sample_is_news_of_its_video(
    case: str, number: int, what: str, event_type: str, warnings: tuple[str, ...]
) -> None:
    found = read_sample(case)

    video_id = f"0b7c1d9e-58d4-4c5e-9d0f-2f3f7f0a1c0{number}"
    assert (found.identity, found.what, found.type) == (f"{video_id}@{ORGANIZATION}", what, event_type)
    assert found.key == f"{video_id}@{ORGANIZATION}:{what}"
    assert found.video_id == video_id
    assert found.warnings == warnings


def test_every_sample_is_read_by_a_test_above() -> None:
    assert len(cases("opennote")) == 9


def test_a_callback_about_practice_problems_is_kept_as_unknown() -> None:
    found = read_sample("foreign_problem_set")

    assert (found.identity, found.type) == (f"set_3f9a51@{ORGANIZATION}/problem-set", "video.unknown")
    assert found.what == "other:completed"
    assert found.content is None


def test_all_that_a_status_object_says_is_normalised() -> None:
    video = video_of(sample("opennote", "completed_s3").payload)

    assert video.title == "Photosynthesis in Plants"
    assert video.url is not None
    assert video.url.endswith("1c01.mp4")
    assert not video.inline
    assert (video.status, video.progress, video.cost, video.model) == ("completed", 100.0, 1.25, "picasso")
    assert video.transcript == "Plants turn light into sugar.\nThis is how — step by step."
    assert [source.url for source in video.sources] == ["https://example.org/photosynthesis"]
    assert video.completed_at == datetime(2025, 7, 14, 9, 31, 7, 412000, UTC)
    assert (video.error.code, video.error.message) == ("", "")


@pytest.mark.parametrize("case", cases("opennote"))
def test_news_say_of_the_video_what_its_normal_form_says(case: str) -> None:
    found, video = read_sample(case), video_of(sample("opennote", case).payload)

    assert (found.status, found.progress, found.title) == (video.status, video.progress, video.title)


def test_progress_is_read_under_both_of_its_names() -> None:
    assert read_sample("pending").progress == 40
    assert read_sample("pending_as_the_guide_shows_it").progress == 55


def test_the_reason_of_a_failure_is_kept() -> None:
    error = video_of(sample("opennote", "failed").payload).error

    assert (error.code, error.message) == ("", "The script could not be rendered")


@pytest.mark.parametrize(
    ("payload", "code", "message"),
    [
        ({"error": "rate_limited"}, "rate_limited", "rate_limited"),
        ({"error": "rate_limited", "message": "Slow down"}, "rate_limited", "Slow down"),
        ({"error": {"code": "c", "message": "m"}}, "c", "m"),
        ({"error": {"code": 5}}, "", ""),
        ({"response": {"error": "inner"}}, "inner", "inner"),
        ({"error": "", "response": {"error": "inner"}}, "inner", "inner"),
        ({"error": None}, "", ""),
        ({"error": ["x"]}, "", ""),
    ],
)
def test_an_error_is_a_text_or_an_object(payload: dict[str, Any], code: str, message: str) -> None:
    error = video_of(payload).error

    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize(
    ("status", "what", "event_type"),
    [
        ("completed", "completed", "video.completed"),
        *(
            (status, "failed", "video.failed")
            for status in ("failed", "cancelled", "canceled", "expired", "watch_expired")
        ),
        *(
            (status, "progress", "video.progress")
            for status in ("pending", "queued", "in_progress", "processing")
        ),
        ("status_error", "other:status_error", "video.unknown"),
        ("COMPLETED", "other:COMPLETED", "video.unknown"),
        ("", "other:", "video.unknown"),
        ("fertig ✓", "other:fertig ✓", "video.unknown"),
        (None, "other:", "video.unknown"),
        (5, "other:", "video.unknown"),
        ({}, "other:", "video.unknown"),
    ],
)
def test_what_happened_follows_from_the_status(status: Any, what: str, event_type: str) -> None:
    found = news({"video_id": "v", "status": status})

    assert (found.what, found.type) == (what, event_type)


def test_the_id_in_the_body_counts_and_a_rewritten_request_id_is_a_warning() -> None:
    found = news({"video_id": "v1", "status": "completed"}, request_id="proxy-77")

    assert (found.identity, found.warnings) == (f"v1@{ORGANIZATION}", ("request_id_rewritten",))


@pytest.mark.parametrize("request_id", [None, "", "v1"])
def test_a_request_id_that_is_equal_or_absent_is_no_warning(request_id: str | None) -> None:
    assert news({"video_id": "v1"}, request_id=request_id).warnings == ()


@pytest.mark.parametrize(
    ("ids", "admission"),
    [
        ((b"v1", b"v1"), Admission("v1")),
        ((b"v1", b"v2"), Admission(None, ("request_id_repeated",))),
        ((b"v1", b"v2", b"v2"), Admission(None, ("request_id_repeated",))),
    ],
)
def test_of_request_ids_that_differ_none_counts(ids: tuple[bytes, ...], admission: Admission) -> None:
    assert opennote().admit([*RIGHT.items(), *((b"x-request-id", each) for each in ids)]) == admission


def test_repeated_request_ids_are_a_warning_and_no_identity() -> None:
    admission = Admission(None, ("request_id_repeated",))
    found = opennote().read({"status": "completed"}, admission, b"the body", Digests(None))

    assert found.warnings == ("request_id_repeated", "no_id")
    assert found.video_id.startswith("sha256:")


@pytest.mark.parametrize(
    "absent", [{}, {"video_id": None}, {"video_id": ""}, {"video_id": []}, {"video_id": True}]
)
def test_without_an_id_in_the_body_the_request_id_is_the_identity(absent: dict[str, Any]) -> None:
    found = news({"status": "completed", **absent}, request_id="v1")

    assert (found.identity, found.video_id, found.warnings) == (f"v1@{ORGANIZATION}", "v1", ())


def test_without_any_id_the_body_names_itself() -> None:
    found = news({"status": "completed"})

    sha256 = hashlib.sha256(b"the body").hexdigest()
    assert (found.identity, found.warnings) == (f"sha256:{sha256}@{ORGANIZATION}", ("no_id",))


def test_a_large_body_without_any_id_is_named_by_the_digest_that_is_known() -> None:
    found = opennote().read({}, Admission(), None, Digests("ab" * 32))

    assert found.identity == f"sha256:{'ab' * 32}@{ORGANIZATION}"


def test_a_number_as_id_is_taken_as_text() -> None:
    found = news({"video_id": 42})

    assert (found.identity, found.video_id) == (f"42@{ORGANIZATION}", "42")


@pytest.mark.fault("D2")
def test_organisations_do_not_share_identities() -> None:
    theirs = opennote(organization_id="org_theirs")

    assert news({"video_id": "v"}).identity != news({"video_id": "v"}, source=theirs).identity


UNFIT = {
    "a control character": "a\x1b[2J",
    "a line feed": "a\nb",
    "a bidi override": "a\u202eb",
    "a line separator": "a\u2028b",
    "DEL": "a\x7f",
    "a private-use character": "\ue000",
    "10 KB": "x" * 10_240,
    "257 characters": "x" * 257,
}


@pytest.mark.fault("P11")
@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT)
@pytest.mark.parametrize("field", ["video_id", "set_id", "status", "request_id"])
def test_an_id_or_status_that_can_not_be_shown_is_refused_without_an_echo(field: str, unfit: str) -> None:
    payload = {} if field == "request_id" else {field: unfit}

    with pytest.raises(BadBody) as caught:
        news(payload, request_id=unfit if field == "request_id" else None)
    assert unfit not in caught.value.reason
    assert len(caught.value.reason) < 200


@pytest.mark.fault("P11")
def test_an_unfit_request_id_does_no_harm_when_the_body_has_an_id() -> None:
    assert news({"video_id": "v1"}, request_id="\x1b").warnings == ("request_id_rewritten",)


@pytest.mark.parametrize("fit", ["x" * 256, "../../etc/passwd", "-rf", "a:b@c", "видео", "a b"])
def test_any_id_that_can_be_shown_is_kept_as_it_is(fit: str) -> None:
    assert news({"video_id": fit}).video_id == fit


def completed(**response: Any) -> dict[str, Any]:
    return {"video_id": "v", "status": "completed", "response": response}


def content(payload: dict[str, Any], strings: dict[tuple[str | int, ...], str] | None = None) -> str | None:
    return opennote().read(payload, Admission(), b"x", Digests(None, strings or {})).content


def test_a_link_is_compared_without_its_query_and_fragment() -> None:
    links = (
        "https://s3/v.mp4",
        "https://s3/v.mp4?X-Amz-Date=1",
        "https://s3/v.mp4?X-Amz-Date=2#t=1",
        "https://s3/v.mp4#?",
    )

    assert {content(completed(s3_url=link)) for link in links} == {"url https://s3/v.mp4"}


def test_another_link_is_other_content() -> None:
    assert content(completed(s3_url="https://s3/v.mp4")) != content(completed(s3_url="https://s3/w.mp4"))


def test_an_inline_video_is_compared_by_its_text() -> None:
    first, same, other = (content(completed(b64_video=text)) for text in ("AAAA", "AAAA", "AAAB"))

    assert first is not None
    assert first.startswith("inline ")
    assert first == same != other


def test_a_long_inline_video_is_compared_by_its_checksum() -> None:
    long = {"$long_string": {"bytes": 70_000}}

    assert content(completed(b64_video=long), {INLINE_PATH: "70000-0a"}) == "inline 70000-0a"


@pytest.mark.parametrize(
    "payload", [completed(), {"status": "completed"}, {"status": "failed", "response": {"s3_url": "u"}}]
)
def test_news_without_a_result_has_no_content(payload: dict[str, Any]) -> None:
    assert content({"video_id": "v", **payload}) is None


@pytest.mark.fault("B10")
def test_the_inline_video_is_taken_before_the_link() -> None:
    source = opennote(s3_base_url="http://127.0.0.1:9")

    assert source.place(completed(b64_video="AA", s3_url="https://s3/v")) == InlineVideo(
        path=("response", "b64_video")
    )
    assert source.place(completed(s3_url="https://s3/v")) == LinkedVideo(
        url="https://s3/v", base="http://127.0.0.1:9"
    )
    assert source.place(completed()) is None


@pytest.mark.fault("P5", "B10")
@pytest.mark.parametrize(
    "response", [None, 5, [], "x", {"s3_url": 5}, {"s3_url": ""}, {"b64_video": ""}, {"b64_video": 7}]
)
def test_a_result_of_a_wrong_type_is_no_result(response: Any) -> None:
    assert place_of({"status": "completed", "response": response}) is None


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2025-01-02T03:04:05Z", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2025-01-02T03:04:05+01:00", datetime(2025, 1, 2, 2, 4, 5, tzinfo=UTC)),
        ("2025-01-02T03:04:05", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("soon", None),
        ("0001-01-01T00:00:00+23:59", None),
        (1e300, None),
        (float("nan"), None),
        (True, None),
        ([], None),
    ],
)
def test_a_time_that_can_not_be_read_counts_as_not_given(timestamp: Any, expected: datetime | None) -> None:
    assert video_of(completed(timestamp=timestamp)).completed_at == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("55", 55.0),
        ("55.5", 55.5),
        (0, 0.0),
        ("nan", None),
        ("inf", None),
        (True, None),
        ("x", None),
        (10**400, None),
        ([], None),
    ],
)
def test_a_number_that_is_none_counts_as_not_given(value: Any, expected: float | None) -> None:
    assert video_of({"progress": value}).progress == expected


def test_the_sender_of_samples_uses_headers_that_are_believed() -> None:
    sent = callback_headers(ORGANIZATION, API_KEY, video_id="v1")
    headers = [(name.lower().encode(), value.encode()) for name, value in sent.items()]

    assert opennote().admit(headers) == Admission(request_id="v1")


def test_credentials_become_fingerprints_that_tell_the_keys_apart() -> None:
    source = opennote(api_keys=[API_KEY, OLD_API_KEY])
    kept = [
        dict(
            orjson.loads(
                source.fingerprint(
                    [*with_header(b"x-api-key", key), (b"authorization", key), (b"x-other", key)]
                )
            )
        )
        for key in (API_KEY.encode(), OLD_API_KEY.encode())
    ]

    assert API_KEY not in str(kept)
    assert OLD_API_KEY not in str(kept)
    assert kept[0]["x-api-key"] != kept[1]["x-api-key"]
    assert kept[0]["x-organization-id"] == ORGANIZATION


def test_a_problem_set_with_the_id_of_a_video_is_told_apart_from_it() -> None:
    problem_set = news({"set_id": "v", "status": "completed", "total_problems": 3})

    assert problem_set.identity != news({"video_id": "v", "status": "completed"}).identity


@pytest.mark.parametrize(
    ("query", "expires_at"),
    [
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600", 1_767_229_200_000),
        ("a=b&X-Amz-Expires=60&X-Amz-Signature=x&X-Amz-Date=20260101T000000Z", 1_767_225_660_000),
        ("X-Amz-Expires=3600", None),
        ("X-Amz-Date=20260101T000000Z", None),
        ("X-Amz-Date=soon&X-Amz-Expires=3600", None),
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=soon", None),
        ("X-Amz-Date=99990101T000000Z&X-Amz-Expires=" + "9" * 30, None),
        ("X-Amz-Date=99991231T235959Z&X-Amz-Expires=1", None),
        ("", None),
    ],
)
def test_a_signed_link_says_when_it_stops_working(query: str, expires_at: int | None) -> None:
    url = f"https://videos.example.com/v1.mp4?{query}"
    payload: Payload = {"status": "completed", "video_id": "v1", "response": {"s3_url": url}}
    video = video_of(payload)

    assert opennote().read(payload, Admission(None), b"", Digests(None)).expires_at == expires_at
    assert (video.expires_at and round(video.expires_at.timestamp() * 1000)) == expires_at
