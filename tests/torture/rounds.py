"""Many runs: a few receivers side by side, each for a limited number; then new ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.acceptance.conftest import together
from tests.torture.report import Counts

_LONGEST = 30
"""Runs of one receiver: then it is judged, and its disk is free again."""

Round = Callable[[Path, int, random.Random], Counts]
"""Torture a receiver in a new folder so many times, and judge it."""


def in_rounds(
    round_: Round,
    folder: Path,
    *,
    name: str,
    wanted: int,
    lanes: int,
    chance: random.Random,
    tell: Callable[[str], None],
) -> Counts:
    """Do `wanted` runs in `lanes` at a time; give the sum."""
    total = Counts(name)
    while total.runs < wanted:
        left = min(lanes * _LONGEST, wanted - total.runs)
        shares = [left // lanes + (lane < left % lanes) for lane in range(lanes)]
        running = [
            partial(round_, folder / f"{name}{total.runs}-{lane}", share, random.Random(chance.random()))
            for lane, share in enumerate(shares)
            if share
        ]
        for counts in together(running):
            total.add(counts)
        tell(f"{name}: {total.runs} of {wanted}, {len(total.problems)} problems")
    return total
