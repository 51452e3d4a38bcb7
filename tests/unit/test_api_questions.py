"""What may be asked of the API: what it allows is understood, and what is wrong is said in words."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.api import questions
from receiver.api.questions import Filters, PageQuestion
from receiver.api.replays import ReplayOrder
from receiver.errors import BadQuestion
from receiver.units import moment

NOW = 1_790_000_000_000
(ALLOWED,) = [
    way["pattern"] for way in Filters.model_json_schema()["properties"]["since"]["anyOf"] if "pattern" in way
]


@given(st.from_regex(ALLOWED, fullmatch=True))
def test_every_moment_that_the_document_allows_is_understood(text: str) -> None:
    question = questions.read(urlencode({"since": text}).encode(), PageQuestion)
    assert isinstance(question.wanted(now_ms=NOW).since, int)


@pytest.mark.parametrize(
    "text",
    [
        *("90s", "1.5h", "2w", "500ms", "2026-01-31", "2026-01-31T12:00", "2026-01-31T12:00:00.123Z"),
        *("2026-11-26T21:48:20.010+00:00", "2026-01-31T12:00:00-03:30", "2024-02-29T00:00Z"),
    ],
)
def test_a_moment_is_written_as_for_the_commands_and_as_times_are_told(text: str) -> None:
    wanted = questions.read(urlencode({"until": text}).encode(), PageQuestion).wanted(now_ms=NOW)
    assert wanted.until == moment(text, now_ms=NOW, zone=UTC)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"since": "yesterday"},
            "since: must be an age such as 1h, or a date and time such as 2026-01-31T12",
        ),
        ({"until": "2026-02-30T00:00:00Z"}, "until: must be an age such as"),
        ({"source": "../x"}, "source: must be the name of a source"),
        ({"video": "a\nb"}, "video: must be an id without control characters"),
        ({"cursor": "x"}, "cursor: must be a cursor that was given here"),
    ],
)
def test_a_parameter_that_is_wrong_is_told_what_it_should_be(asked: dict[str, str], said: str) -> None:
    with pytest.raises(BadQuestion, match=f"^{said}"):
        questions.read(urlencode(asked).encode(), PageQuestion)


@pytest.mark.parametrize(
    "order",
    [
        *({"all": 1}, {"all": 1.0}, {"all": False}, {"all": "true"}),
        *({"all": True, name: "http://127.0.0.1/"} for name in ("url", "to", "target")),
        *({"filter": {"url": "http://127.0.0.1/"}}, {"all": True, "handlers": ["http://127.0.0.1/"]}),
    ],
)
@pytest.mark.fault("S13")
def test_a_replay_is_of_what_is_meant_and_names_no_url(order: dict[str, Any]) -> None:
    with pytest.raises(BadQuestion):
        questions.checked(ReplayOrder, order)
