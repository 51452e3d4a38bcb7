from __future__ import annotations

from datetime import timedelta

import pytest

from receiver.life import Move
from receiver.outcome import Cancel, Done, Fail, Outcome, Retry
from receiver.retry import ERROR_LIMIT, Decision, backoff_seconds, decide, error_text, luck_of

NOW = 1_700_000_000_000


def decided(outcome: Outcome, *, attempt: int = 1, attempts: int = 20, random: float = 0.5) -> Decision:
    return decide(outcome, attempt=attempt, attempts=attempts, now_ms=NOW, random=random)


def test_done_finishes_the_job_with_its_result() -> None:
    assert decided(Done({"path": "a.mp4"})) == Decision(Move.FINISH, result={"path": "a.mp4"})


def test_done_on_the_last_attempt_still_finishes() -> None:
    assert decided(Done(), attempt=20).move is Move.FINISH


def test_cancel_and_fail_keep_their_reason() -> None:
    assert decided(Cancel("not ours")) == Decision(Move.CANCEL, error="not ours")
    assert decided(Fail("link expired")) == Decision(Move.FAIL, error="link expired")


def test_a_retry_runs_again_after_the_time_it_asked_for() -> None:
    decision = decided(Retry(after="30s", reason="busy"), attempt=7)
    assert decision == Decision(Move.RETRY, run_at_ms=NOW + 30_000, error="busy")


def test_a_retry_after_nothing_runs_again_at_once() -> None:
    assert decided(Retry(after=timedelta(0))).run_at_ms == NOW


def test_a_retry_without_a_time_takes_the_backoff() -> None:
    assert decided(Retry(reason="down"), attempt=1, random=0.5).run_at_ms == NOW + 1000


@pytest.mark.parametrize(
    ("left_seconds", "asked", "waits_ms"),
    [
        (600, "1h", 300_000),
        (600, "10s", 10_000),
        (1.5, "1h", 1000),
        (600, "0s", 0),
        (-1, "1h", 3_600_000),
        (0, "1h", 3_600_000),
    ],
)
def test_a_job_waits_for_half_of_what_its_link_has_left_at_most(
    left_seconds: float, asked: str, waits_ms: int
) -> None:
    decision = decide(
        Retry(after=asked, reason="busy"),
        attempt=1,
        attempts=20,
        now_ms=NOW,
        random=0.5,
        expires_at_ms=NOW + round(left_seconds * 1000),
    )
    assert decision.run_at_ms == NOW + waits_ms


def test_the_tries_before_a_link_expires_come_closer_and_never_pass_it() -> None:
    now, expires_at, tries = NOW, NOW + 900_000, []
    for attempt in range(1, 20):
        decision = decide(
            Retry(after="30m", reason="down"),
            attempt=attempt,
            attempts=20,
            now_ms=now,
            random=0.9,
            expires_at_ms=expires_at,
        )
        assert decision.run_at_ms is not None
        now = decision.run_at_ms
        tries.append(now)
    assert sum(at < expires_at for at in tries) >= 9
    assert any(expires_at - 2000 <= at < expires_at for at in tries), "one of them as late as may be"


@pytest.mark.fault("R7")
def test_what_failed_together_is_tried_again_spread_over_the_whole_wait() -> None:
    waits = [backoff_seconds(6, random=luck_of(str(job))) for job in range(10_000)]
    a_second = [sum(second <= wait < second + 1 for wait in waits) for second in range(64)]
    assert sum(a_second) == 10_000
    assert max(a_second) < 10_000 / 64 * 1.4


@pytest.mark.parametrize(("attempts", "ending"), [(1, "after 1 attempt)"), (3, "after 3 attempts)")])
def test_the_last_attempt_fails_the_job_and_says_how_many_there_were(attempts: int, ending: str) -> None:
    decision = decided(Retry(after="1s", reason="down"), attempt=attempts, attempts=attempts)
    assert decision == Decision(Move.FAIL, error=f"down ({ending}")


def test_the_attempt_before_the_last_is_retried() -> None:
    assert decided(Retry(), attempt=2, attempts=3).move is Move.RETRY


def test_more_attempts_than_are_allowed_now_end_too() -> None:
    assert decided(Retry(), attempt=9, attempts=3).move is Move.FAIL


def test_the_first_wait_is_spread_over_two_seconds() -> None:
    assert [backoff_seconds(1, random=luck) for luck in (0.0, 0.25, 0.75)] == [0.0, 0.5, 1.5]


def test_an_absurd_attempt_number_waits_no_longer_than_half_an_hour() -> None:
    assert 0 <= backoff_seconds(10**9, random=0.999) < 1800


def test_the_numbers_in_the_docstring_are_true() -> None:
    totals = [sum(backoff_seconds(n, random=k / 20_000) for n in range(1, 20)) for k in range(20_000)]
    assert round(min(totals)) >= 7616
    assert round(max(totals)) <= 10_581
    assert sum(totals) / len(totals) == pytest.approx(9123, abs=2)


def test_the_luck_of_a_job_is_its_own_and_stays_the_same() -> None:
    lucks = [luck_of(str(job)) for job in range(1000)]
    assert lucks == [luck_of(str(job)) for job in range(1000)]
    assert len(set(lucks)) == 1000
    assert sum(lucks) / 1000 == pytest.approx(0.5, abs=0.05)
    assert all(0 <= luck < 1 for luck in lucks)


def test_control_characters_and_lone_surrogates_are_escaped() -> None:
    text = error_text("a\x00b\x1b[31mc\nd\x9be\ud800f\u202eg\u2028h")
    assert text == r"a\x00b\x1b[31mc\nd\x9be\ud800f\u202eg\u2028h"


@pytest.mark.fault("W4")
def test_an_error_says_which_link_it_was_and_not_how_it_was_signed() -> None:
    text = error_text("403 for https://h/v.mp4?X-Amz-Signature=" + "c" * 5000)
    assert text == "403 for https://h/v.mp4?redacted"


def test_ordinary_text_stays_as_it_is() -> None:
    assert error_text("Fehler: größer als 1 GiB 🎬 “so”") == "Fehler: größer als 1 GiB 🎬 “so”"


@pytest.mark.parametrize("character", ["a", "é", "🎬", "\x00", "\ud800"])
def test_a_long_error_is_cut_to_the_limit_and_says_so(character: str) -> None:
    text = error_text(character * 10_000)
    assert ERROR_LIMIT - 4 <= len(text.encode()) <= ERROR_LIMIT
    assert text.endswith("…")


def test_an_error_of_exactly_the_limit_is_not_cut() -> None:
    assert error_text("a" * ERROR_LIMIT) == "a" * ERROR_LIMIT


def test_the_number_of_attempts_is_not_cut_off_a_long_error() -> None:
    error = decided(Retry(reason="🎬" * 5000), attempt=20).error
    assert error is not None
    assert error.endswith("… (after 20 attempts)")
    assert len(error.encode()) <= ERROR_LIMIT
