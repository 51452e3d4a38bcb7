"""What the stand-in for Opennote makes of a request's body."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from receiver.sandbox.opennote import CreateVideo


@pytest.mark.parametrize(
    "body",
    [
        {"script": "x" * 6000},
        {"script": "x", "length": 1, "source_count": 1},
        {"script": "x", "length": 5, "source_count": 5, "search_for": "y" * 100},
        {"script": "x", "model": "picasso", "webhook_url": "http://127.0.0.1:9/"},
        {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]},
        {"messages": [{"role": "assistant", "content": "a"}], "script": None, "webhook_url": None},
        {"script": "x", "something": "unknown"},
    ],
)
def test_a_body_within_the_documented_limits_is_accepted(body: dict[str, object]) -> None:
    CreateVideo.model_validate(body)


def test_a_link_comes_only_when_it_is_asked_for() -> None:
    assert CreateVideo.model_validate({"script": "x"}).order().inline
    assert not CreateVideo.model_validate({"script": "x", "upload_to_s3": True}).order().inline


def test_a_script_is_spoken_as_it_is_section_by_section() -> None:
    order = CreateVideo.model_validate({"script": " One.\n-----\nTwo. ", "length": 5}).order()
    assert order.transcript == "One.\n\nTwo."


def test_without_a_script_the_length_counts_the_paragraphs() -> None:
    messages = [{"role": "user", "content": "old"}, {"role": "user", "content": "rain"}]
    order = CreateVideo.model_validate({"messages": messages, "length": 2}).order()
    assert order.transcript == "Part 1: rain\n\nPart 2: rain"


def test_a_missing_title_is_made_from_the_text() -> None:
    assert CreateVideo.model_validate({"script": "word " * 50}).order().title.startswith("word word")
    assert CreateVideo.model_validate({"script": "x", "title": "Mine"}).order().title == "Mine"


def test_sources_are_named_only_when_they_are_wanted() -> None:
    assert CreateVideo.model_validate({"script": "x", "source_count": 5}).order().source_count == 0
    wanted = {"script": "x", "source_count": 5, "include_sources": True}
    assert CreateVideo.model_validate(wanted).order().source_count == 5


def test_a_refused_url_is_told_apart() -> None:
    with pytest.raises(ValidationError, match="calls back nowhere else"):
        CreateVideo.model_validate({"script": "x", "webhook_url": "http://example.com/"})
