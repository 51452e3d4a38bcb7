"""What goes wrong on purpose: how often, and the same again with the same seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from receiver.errors import UsageError
from receiver.sandbox.mischief import MISHAPS, Luck, Mischief


@dataclass
class Job:
    number: int
    mischief: Mischief


def struck(what: str, mischief: Mischief, *, jobs: int = 1000) -> list[int]:
    luck = Luck()
    return [number for number in range(jobs) if luck.strikes(what, Job(number, mischief))]


@pytest.mark.parametrize("what", MISHAPS)
def test_a_mishap_happens_never_always_or_about_as_often_as_asked(what: str) -> None:
    assert struck(what, Mischief()) == []
    always: dict[str, Any] = {what: 1}
    assert len(struck(what, Mischief(**always))) == 1000
    sometimes: dict[str, Any] = {what: 0.3}
    assert 240 < len(struck(what, Mischief(**sometimes))) < 360


def test_a_seed_repeats_itself_and_another_one_does_not() -> None:
    some = Mischief(drop=0.5, failed=0.5, seed=1)
    assert struck("drop", some) == struck("drop", some)
    assert struck("drop", some) != struck("drop", replace(some, seed=2))
    assert struck("drop", some) != struck("failed", some)


def test_each_turn_of_a_job_has_luck_of_its_own() -> None:
    luck, job = Luck(), Job(0, Mischief(truncated=0.5))
    turns = [luck.strikes("truncated", job, turn=turn) for turn in range(100)]
    assert 25 < sum(turns) < 75
    assert turns == [luck.strikes("truncated", job, turn=turn) for turn in range(100)]


def test_what_happened_is_counted_and_what_was_only_foreseen_is_not() -> None:
    luck, job = Luck(), Job(0, Mischief(reorder=1, drop=1))
    assert luck.foresees("reorder", job)
    assert luck.strikes("drop", job)
    assert luck.counts == {**dict.fromkeys(MISHAPS, 0), "drop": 1}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"drop": 1.1}, "drop is a number from 0 to 1"),
        ({"late": -0.1}, "late is a number from 0 to 1"),
        ({"slow": True}, "slow is a number"),
        ({"slow": float("nan")}, "slow is a number"),
        ({"failed": "0.5"}, "failed is a number"),
        ({"late_seconds": 3601}, "late_seconds is a number from 0 to 3600"),
        ({"seed": 1.5}, "seed is a whole number"),
        ({"seed": True}, "seed is a whole number"),
    ],
)
def test_an_impossible_value_is_a_usage_error(value: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Mischief(**value)
