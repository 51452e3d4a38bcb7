"""What providers answer: one clear line each, and nothing of the key in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.orders.replies import Reply, declined, failure, said, taken

KEY = "sk-proj-canary4f1d9cABCDEFGH"


@pytest.mark.parametrize(
    ("payload", "reply"),
    [
        ({"success": True, "video_id": "v1"}, Reply("accepted", "v1")),
        ({"success": True, "message": "wait", "video_id": 17}, Reply("accepted", "17")),
        ({"id": "video_1", "object": "video", "status": "queued"}, Reply("accepted", "video_1")),
        ({"success": False, "message": "no"}, Reply("refused", reason="no")),
        ({"success": False}, Reply("refused", reason="the provider says that it did not work")),
        ({}, Reply("unknown", reason="the provider's answer names no video")),
        ({"id": None}, Reply("unknown", reason="the provider's answer names no video")),
        ({"id": ["v"]}, Reply("unknown", reason="the provider's answer names no video")),
        ({"id": "x" * 257}, Reply("unknown", reason="the provider's answer names a video that can't be one")),
        (
            {"id": "a\x1b[2J"},
            Reply("unknown", reason="the provider's answer names a video that can't be one"),
        ),
    ],
)
def test_an_order_is_taken_only_when_the_answer_names_its_video(
    payload: dict[str, Any], reply: Reply
) -> None:
    assert taken(payload, key=KEY) == reply


@pytest.mark.parametrize(
    ("status", "complaint", "wait", "line"),
    [
        (
            401,
            {"error": "Invalid API key or unauthorized access", "message": "API key is missing or invalid"},
            None,
            "401 Unauthorized: the provider does not accept this source's API key",
        ),
        (
            402,
            {"error": "Insufficient credits", "message": "you are at -3"},
            None,
            "402 Payment Required: Insufficient credits: you are at -3; add credits to the account",
        ),
        (402, {}, None, "402 Payment Required: the account has no credits left; add credits to the account"),
        (
            422,
            {"detail": [{"loc": ["body", "length"], "msg": "too long", "type": "x"}, {"msg": "and odd"}]},
            None,
            "422 Unprocessable Entity: length: too long; and odd",
        ),
        (422, {"detail": "that is no video"}, None, "422 Unprocessable Entity: that is no video"),
        (429, {}, 20.0, "429 Too Many Requests: the provider is asked too often; try again in 20s"),
        (
            429,
            {"error": {"message": "Rate limit", "type": "requests", "code": "rate_limit_exceeded"}},
            600.4,
            "429 Too Many Requests: Rate limit (rate_limit_exceeded); try again in 10m",
        ),
        (429, {}, None, "429 Too Many Requests: the provider is asked too often; try again later"),
        (503, {}, 0.2, "503 Service Unavailable: the provider is asked too often; try again in 1s"),
        (
            500,
            {"error": "Video generation failed", "message": "bad luck", "video_id": "abc123"},
            None,
            "500 Internal Server Error: Video generation failed: bad luck",
        ),
        (
            400,
            {
                "error": {
                    "message": "Invalid size",
                    "type": "invalid_request_error",
                    "param": "size",
                    "code": None,
                }
            },
            None,
            "400 Bad Request: Invalid size (param: size, invalid_request_error)",
        ),
        (404, {"error": "x", "message": "x"}, None, "404 Not Found: x"),
        (418, {}, None, "418 I'm a Teapot"),
        (599, {"error": ["odd"], "message": 5}, None, "599"),
    ],
)
def test_an_error_is_one_line_with_the_provider_s_words(
    status: int, complaint: dict[str, Any], wait: float | None, line: str
) -> None:
    assert failure(status, complaint, retry_after_seconds=wait, key=KEY) == line


@pytest.mark.parametrize("status", [400, 401, 402, 404, 413, 422, 429, 500, 501, 503])
def test_who_answers_for_itself_has_refused(status: int) -> None:
    assert declined(status, {}, retry_after_seconds=None, key=KEY).state == "refused"


@pytest.mark.parametrize("status", [408, 502, 504, 520, 522, 524])
def test_who_stands_in_between_does_not_know_what_became_of_an_order(status: int) -> None:
    assert declined(status, {}, retry_after_seconds=None, key=KEY).state == "unknown"


@pytest.mark.parametrize(
    "words",
    [
        f"Incorrect API key provided: {KEY}.",
        f"key={KEY}",
        f"'{KEY}' is wrong",
        f"you sent {KEY[:12]}****{KEY[-4:]}.",
        f"you sent {KEY[:8]}…",
        f"…{KEY[-4:]} is not known",
        f"a{KEY}b",
    ],
)
@pytest.mark.parametrize("status", [401, 403, 429])
def test_nothing_of_the_key_is_told_even_if_the_provider_does(words: str, status: int) -> None:
    line = failure(status, {"error": {"message": words, "code": None}}, retry_after_seconds=None, key=KEY)

    for start in range(len(KEY) - 3):
        assert KEY[start : start + 4] not in line


def test_a_short_key_is_hidden_without_spoiling_other_words() -> None:
    assert (
        said({"message": "test is no tested key. test."}, key="test")
        == "[redacted] is no tested key. [redacted]"
    )


def test_the_provider_s_words_drive_no_terminal_and_stay_one_line() -> None:
    line = said({"message": "a\nb\x1b[2J\u202e" + "x" * 1000}, key=KEY)

    assert line.startswith("a b?[2J?xxx")
    assert line.isprintable()
    assert len(line) <= 301


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["error", "message", "detail", "success", "video_id", "id", "x"])


@given(st.integers(100, 999), st.dictionaries(NAMES, ANY, max_size=4), st.none() | st.floats(0, 3600))
def test_whatever_is_answered_gives_one_printable_line(
    status: int, complaint: dict[str, Any], wait: float | None
) -> None:
    reply = declined(status, complaint, retry_after_seconds=wait, key=KEY)

    assert reply.reason.startswith(str(status))
    assert reply.reason.isprintable()
    assert taken(complaint, key=KEY).state in ("accepted", "refused", "unknown")
