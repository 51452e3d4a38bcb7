"""Silent connections and floods of bad requests: who sends good callbacks hardly notices."""

from __future__ import annotations

import pytest

from tests.bench.attack import BAD_PER_SECOND, LEAST_MS, MOST_MEMORY, TIMES_QUIET, compare

RATE = 600
SECONDS = 4


@pytest.mark.slow
@pytest.mark.fault("B5")
def test_500_silent_connections_and_1000_bad_requests_a_second_leave_good_callbacks_alone() -> None:
    # It fails by itself unless every good callback is answered with 200 and recorded.
    seen = compare(rate=RATE, seconds=SECONDS)
    statuses = set(seen.attack.statuses)
    assert {"400", "401", "404"} <= statuses <= {"400", "401", "404", "429"}, "all of them are answered"
    assert seen.attack.per_second > BAD_PER_SECOND / 2, "the attack was one"
    assert seen.attacked.per_second > RATE * 0.9
    assert seen.attacked.p99_ms < max(TIMES_QUIET * seen.quiet.p99_ms, 4 * LEAST_MS), "on a busy machine, too"
    assert seen.memory < MOST_MEMORY
