"""What a delivery does to what is known of its video."""

from __future__ import annotations

import pytest

from receiver.record import Decision, Known, Verdict, decide

URL, OTHER_URL = "url https://files/a.mp4", "url https://files/b.mp4"
INLINE, OTHER_INLINE = "inline aaaa", "inline bbbb"

PROGRESS, FAILED, STRANGE = Known(1, "evt_p", None), Known(2, "evt_f", None), Known(3, "evt_o", None)
EVENTS = {"progress": PROGRESS, "failed": FAILED, "other:odd": STRANGE}


def completed(content: str | None = URL) -> Known:
    return Known(9, "evt_c", content)


def known(*names: str, content: str | None = URL) -> dict[str, Known]:
    return {name: completed(content) if name == "completed" else EVENTS[name] for name in names}


@pytest.mark.parametrize("what", ["progress", "completed", "failed", "other:odd"])
def test_the_first_news_of_a_video_is_an_event(what: str) -> None:
    assert decide(what, None, {}) == Decision(Verdict.ACCEPTED)


@pytest.mark.parametrize("what", ["completed", "failed", "other:odd"])
def test_progress_hides_nothing_that_comes_after_it(what: str) -> None:
    assert decide(what, URL, known("progress")) == Decision(Verdict.ACCEPTED)


def test_more_progress_updates_the_first() -> None:
    assert decide("progress", None, known("progress")) == Decision(
        Verdict.DUPLICATE, of=PROGRESS, updates_progress=True
    )
    assert decide("progress", None, known("progress", "other:odd")).updates_progress


@pytest.mark.parametrize("end", ["failed", "completed"])
def test_progress_after_an_end_is_a_duplicate_that_changes_nothing(end: str) -> None:
    late = decide("progress", None, known("progress", end))
    assert late == Decision(Verdict.DUPLICATE, of=PROGRESS)


@pytest.mark.parametrize("end", ["failed", "completed"])
def test_progress_that_is_first_heard_of_after_an_end_is_a_duplicate_of_the_end(end: str) -> None:
    late = decide("progress", None, known(end))
    assert late == Decision(Verdict.DUPLICATE, of=known(end)[end])


def test_progress_after_a_failure_that_was_mended_is_a_duplicate_of_the_video() -> None:
    assert decide("progress", None, known("failed", "completed")).of == completed()


def test_completed_after_failed_is_news_with_a_warning() -> None:
    decision = decide("completed", URL, known("failed"))
    assert decision == Decision(Verdict.ACCEPTED, warnings=("after_failure",))
    assert decide("completed", URL, known("progress", "failed")) == decision


def test_the_same_failure_again_is_a_duplicate() -> None:
    assert decide("failed", None, known("failed")) == Decision(Verdict.DUPLICATE, of=FAILED)


@pytest.mark.parametrize("content", [URL, INLINE, None])
def test_the_same_completed_again_is_a_duplicate(content: str | None) -> None:
    again = decide("completed", content, known("completed", content=content))
    assert again == Decision(Verdict.DUPLICATE, of=completed(content))


@pytest.mark.parametrize(("content", "first"), [(OTHER_URL, URL), (OTHER_INLINE, INLINE)])
def test_another_video_under_a_completed_id_is_a_conflict(content: str, first: str) -> None:
    news = decide("completed", content, known("completed", content=first))
    assert news == Decision(Verdict.CONFLICT, of=completed(first))
    assert decide("completed", content, known("completed", "failed", content=first)) == news


@pytest.mark.parametrize(("content", "first"), [(URL, INLINE), (INLINE, URL), (None, URL), (URL, None)])
def test_a_link_and_a_file_do_not_contradict_each_other(content: str | None, first: str | None) -> None:
    news = decide("completed", content, known("completed", content=first))
    assert news == Decision(Verdict.DUPLICATE, of=completed(first))


def test_failed_after_completed_is_a_conflict() -> None:
    assert decide("failed", None, known("completed")) == Decision(Verdict.CONFLICT, of=completed())


def test_a_failure_that_was_known_before_the_video_was_completed_is_its_own_duplicate() -> None:
    assert decide("failed", None, known("failed", "completed")) == Decision(Verdict.DUPLICATE, of=FAILED)


def test_an_unknown_status_after_completed_makes_no_event() -> None:
    assert decide("other:odd", None, known("completed")) == Decision(Verdict.DUPLICATE, of=completed())
    assert decide("other:odd", None, known("completed", "other:odd")).of == STRANGE


def test_an_unknown_status_after_a_failure_is_news() -> None:
    assert decide("other:odd", None, known("failed")) == Decision(Verdict.ACCEPTED)


def test_only_progress_ever_updates_progress() -> None:
    for what in ("completed", "failed", "other:odd"):
        assert not decide(what, URL, known(what)).updates_progress
