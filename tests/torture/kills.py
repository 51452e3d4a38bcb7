"""kill -9 at a random moment under load: of serve, of all its processes, of the store, of a worker."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.torture.report import Counts
from tests.torture.rounds import in_rounds
from tests.torture.stand import OPTIONS, Stand, standing

SOONEST, LATEST = 0.005, 0.5
_LANES = 2
"""Receivers side by side: a kill waits for a start most of the time."""
_CHILDREN = {"store": "receiver.store.process", "worker": "receiver.worker"}
_MOST_OF_A_CHILD = 2
"""Between two starts: a child that dies again and again is started again ever later."""


def kill(
    folder: Path, *, kills: int, chance: random.Random, tell: Callable[[str], None] = lambda _: None
) -> Counts:
    """Kill so many times; whatever was acknowledged has to be there, once, and done."""
    return in_rounds(_round, folder, name="kill", wanted=kills, lanes=_LANES, chance=chance, tell=tell)


def _round(folder: Path, kills: int, chance: random.Random) -> Counts:
    counts = Counts("kill")
    with standing(folder) as stand:
        stand.start()
        left = dict.fromkeys(_CHILDREN, _MOST_OF_A_CHILD)
        for _ in range(kills):
            victim = chance.choice(["serve", "all", "start", *(name for name in left if left[name])])
            _strike(stand, victim, chance.uniform(SOONEST, LATEST))
            counts.runs += 1
            counts.notes[f"kill -9 of {victim}"] += 1
            if victim in left:
                left[victim] -= 1
            else:
                left = dict.fromkeys(_CHILDREN, _MOST_OF_A_CHILD)
        stand.finish(counts)
    return counts


def _strike(stand: Stand, victim: str, seconds: float) -> None:
    if victim in _CHILDREN:
        child = stand.receiver.child(_CHILDREN[victim])
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        return
    time.sleep(seconds)
    stand.kill(with_children=victim == "all")
    if victim == "start":  # and once more, while the next one is still coming up
        stand.receiver.begin(*OPTIONS)
        time.sleep(seconds)
        stand.kill(with_children=False)
    stand.start()
