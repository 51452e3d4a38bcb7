from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from receiver.life import Move
from receiver.outcome import Retry
from receiver.retry import ERROR_LIMIT, LONGEST_SECONDS, backoff_seconds, decide, error_text, luck_of

LUCK = st.floats(0, 1, exclude_max=True, allow_nan=False)
HOUR_MS = 3_600_000


def end_of_an_outage(luck: float, *, lasting_ms: int) -> Move:
    """Run a job whose every attempt fails at once while the outage lasts; the move that follows it."""
    now = 0
    for attempt in range(1, 21):
        decision = decide(Retry(reason="down"), attempt=attempt, attempts=20, now_ms=now, random=luck)
        if decision.move is not Move.RETRY or decision.run_at_ms is None:
            return decision.move
        now = decision.run_at_ms
        if now > lasting_ms:
            return Move.FINISH
    raise AssertionError("twenty attempts and no end")


@given(LUCK)
def test_an_hour_of_outage_kills_no_job_whatever_its_luck(luck: float) -> None:
    assert end_of_an_outage(luck, lasting_ms=HOUR_MS) is Move.FINISH


@given(st.text())
def test_an_outage_of_two_hours_kills_no_job_by_its_name(job: str) -> None:
    assert end_of_an_outage(luck_of(job), lasting_ms=2 * HOUR_MS) is Move.FINISH


@given(LUCK)
def test_an_outage_of_a_day_does_kill_a_job(luck: float) -> None:
    assert end_of_an_outage(luck, lasting_ms=24 * HOUR_MS) is Move.FAIL


def test_with_luck_drawn_anew_for_each_attempt_an_hour_kills_few_jobs() -> None:
    draw = random.Random(20240607)
    jobs = 20_000
    totals = [sum(backoff_seconds(n, random=draw.random()) for n in range(1, 20)) for _ in range(jobs)]
    assert sum(total < 3600 for total in totals) / jobs < 0.0006  # 0.00012 is expected
    assert abs(sum(totals) / jobs - 9123) < 50


@given(st.integers(1, 40))
def test_each_wait_is_spread_evenly_over_its_whole_range(attempt: int) -> None:
    limit = min(LONGEST_SECONDS, 2.0**attempt)
    waits = sorted(backoff_seconds(attempt, random=k / 1000) for k in range(1000))
    assert all(abs(wait - limit * (k + 0.5) / 1000) <= limit / 1000 for k, wait in enumerate(waits))


@given(st.integers(1, 10**6), LUCK)
def test_a_wait_is_never_negative_and_never_over_its_limit(attempt: int, luck: float) -> None:
    assert 0 <= backoff_seconds(attempt, random=luck) <= min(LONGEST_SECONDS, 2.0 ** min(attempt, 20))


@given(st.text(st.characters(exclude_categories=())))
def test_any_error_text_is_bounded_printable_and_encodable(text: str) -> None:
    kept = error_text(text * 40)
    assert len(kept.encode()) <= ERROR_LIMIT
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in kept)


@given(st.text(), st.integers(1, 10**9))
def test_the_ending_survives_whatever_comes_before_it(text: str, number: int) -> None:
    assert error_text(text * 100, ending=f" (after {number} attempts)").endswith(
        f" (after {number} attempts)"
    )
