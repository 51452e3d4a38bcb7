"""Whether the time of a denial tells how much of a guessed key is right: `make timing`.

Two classes of guesses, in random order: wrong from the first letter on, and wrong in the last one only.
Welch's t of their times stays below 4.5 when they can't be told apart (Reparaz, Balasch and Verbauwhede:
"Dude, is my code constant time?").
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from math import sqrt

from receiver.sources.base import Denied, Headers
from tests.samples.reading import API_KEY, opennote, sample

SAMPLES, BOUND, ROUNDS = 20_000, 4.5, 5
_KEPT = 0.9
"""Of the times of both classes; the slowest are other programs' doing."""
_SPELLINGS = 64
Admit = Callable[[Headers], object]


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """How sure it is that two samples differ in their mean."""
    spread = statistics.variance(first) / len(first) + statistics.variance(second) / len(second)
    return (statistics.fmean(first) - statistics.fmean(second)) / sqrt(spread)


def guesses(key: bytes) -> tuple[list[bytes], list[bytes]]:
    """Keys of the right length that are wrong from the beginning, and at the end only."""
    letters = [bytes([code]) for code in range(33, 127) if code not in (key[0], key[-1])][:_SPELLINGS]
    return [letter * len(key) for letter in letters], [key[:-1] + letter for letter in letters]


def t_of(admit: Admit, *, samples: int, seed: int) -> float:
    """Time so many denials of each class."""
    chance = random.Random(seed)
    named = [(name, value) for name, value in sample("opennote", "completed_s3").headers]
    classes = [[_with_key(named, key) for key in keys] for keys in guesses(API_KEY.encode())]
    order = [0, 1] * samples
    chance.shuffle(order)
    requests = [(number, chance.choice(classes[number])) for number in order]
    times: tuple[list[float], list[float]] = ([], [])
    gc.collect()
    gc.disable()
    try:
        for number, headers in requests:
            begin = time.perf_counter_ns()
            admit(headers)
            times[number].append(time.perf_counter_ns() - begin)
    finally:
        gc.enable()
    limit = sorted([*times[0], *times[1]])[int(2 * samples * _KEPT)]
    first, second = ([taken for taken in each if taken <= limit] for each in times)
    return welch(first, second)


def _with_key(headers: Sequence[tuple[bytes, bytes]], key: bytes) -> Headers:
    return [(name, key if name == b"x-api-key" else value) for name, value in headers]


def careless(headers: Headers) -> bool:
    """What must be seen: a comparison that ends with the first letter that differs."""
    key = dict(headers)[b"x-api-key"]
    return all(ours == theirs for ours, theirs in zip(API_KEY.encode(), key, strict=True))


if __name__ == "__main__":
    source = opennote()
    assert isinstance(source.admit(_with_key([], b"")), Denied)
    print(f"a careless comparison: t = {t_of(careless, samples=SAMPLES, seed=0):.1f}")
    found = [t_of(source.admit, samples=SAMPLES, seed=seed) for seed in range(ROUNDS)]
    print(f"the check of the headers, {SAMPLES} denials of each class: t =", *(f"{t:.2f}" for t in found))
    sys.exit(abs(statistics.median(found)) >= BOUND)
