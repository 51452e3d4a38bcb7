"""A bound on how often: evenly, and never to be made up for."""

from __future__ import annotations

from itertools import pairwise

import pytest

from receiver.bucket import Bucket


def turns(bucket: Bucket, *, begin: float, end: float) -> list[float]:
    """When turns are taken by somebody who always wants one."""
    now, taken = begin, list[float]()
    while True:
        now += bucket.seconds_to_wait(now)
        if now >= end:
            return taken
        bucket.take(now)
        taken.append(now)


@pytest.mark.parametrize("per_second", [0.5, 5.0, 200.0])
def test_turns_are_spread_evenly(per_second: float) -> None:
    taken = turns(Bucket(per_second), begin=100.0, end=110.0)

    assert len(taken) == pytest.approx(10 * per_second, abs=1)
    gaps = [after - before for before, after in pairwise(taken)]
    assert min(gaps) == pytest.approx(max(gaps))


def test_the_first_turn_is_free_and_idleness_saves_none_up() -> None:
    bucket = Bucket(2.0)
    assert bucket.seconds_to_wait(5.0) == 0.0
    bucket.take(5.0)
    assert bucket.seconds_to_wait(5.1) == pytest.approx(0.4)

    assert len(turns(bucket, begin=1000.0, end=1001.0)) == 2
