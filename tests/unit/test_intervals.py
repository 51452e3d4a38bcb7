"""When a video is asked about again: growing, drawn, bounded, and as its provider wishes."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from receiver.intervals import GROWTH, MOST_UNANSWERED, Intervals, is_over
from receiver.settings.tables import WatchSettings

NOW = 1_700_000_000_000
FAR = NOW + 10**12
INTERVALS = Intervals(first_ms=10_000, longest_ms=300_000)


def wait(asked: int = 0, *, random: float = 0.5, deadline_at: int = FAR, **said: Any) -> int:
    """Milliseconds until the next question."""
    at = INTERVALS.next_at(NOW, asked=asked, deadline_at=deadline_at, random=random, **said)
    return at - NOW


def test_intervals_grow_from_the_first_to_the_longest() -> None:
    waits = [wait(asked) for asked in range(20)]

    assert waits[:3] == [10_000, 15_000, 22_500]
    assert waits == sorted(waits)
    assert waits[9:] == [300_000] * 11
    assert all(after <= before * GROWTH + 1 for before, after in pairwise(waits))


@pytest.mark.parametrize("asked", [0, 3, 100, 10**9])
def test_each_is_drawn_from_a_range_around_it(asked: int) -> None:
    middle = wait(asked)

    assert wait(asked, random=0.0) == pytest.approx(0.75 * middle, abs=1)
    assert wait(asked, random=0.999999) == pytest.approx(1.25 * middle, abs=2)


def test_a_provider_that_says_when_is_taken_at_its_word() -> None:
    assert wait(50, random=0.0, poll_after_seconds=2.5) == 2500
    assert wait(0, random=0.0, poll_after_seconds=1800.0) == 1_800_000
    assert wait(0, random=0.999, poll_after_seconds=10.0) < 11_000
    assert 0 < wait(0, random=0.0, poll_after_seconds=0.0) < 1000


def test_no_interval_is_shorter_than_retry_after() -> None:
    assert wait(0, retry_after_seconds=60.0) == 60_000
    assert wait(9, retry_after_seconds=1.0) == 300_000
    assert wait(0, poll_after_seconds=1.0, retry_after_seconds=7.0) == 7000


def test_it_is_asked_at_the_deadline_and_not_just_after_it() -> None:
    assert wait(20, deadline_at=NOW + 1000) == 1000
    assert wait(20, deadline_at=NOW + 300_001) == 300_000


def test_after_its_deadline_it_is_asked_in_the_usual_intervals() -> None:
    assert wait(20, deadline_at=NOW) == 300_000
    assert wait(0, deadline_at=NOW - 10**9) == 10_000


def test_a_longest_interval_below_the_first_is_the_first() -> None:
    odd = WatchSettings(first_interval=timedelta(seconds=9), longest_interval=timedelta(seconds=2))

    assert Intervals.of(odd) == Intervals(9000, 9000)


@pytest.mark.parametrize(
    ("past_ms", "unanswered", "ended"),
    [
        (-1, 0, False),
        (0, 0, True),
        (10**9, 0, True),
        (10**9, 1, False),
        (10**9, MOST_UNANSWERED - 1, False),
        (10**9, MOST_UNANSWERED, True),
        (-1, MOST_UNANSWERED + 50, False),
    ],
)
def test_a_video_is_given_up_at_its_deadline_but_not_for_want_of_an_answer(
    past_ms: int, unanswered: int, ended: bool
) -> None:
    assert is_over(NOW + past_ms, deadline_at=NOW, unanswered=unanswered) is ended
