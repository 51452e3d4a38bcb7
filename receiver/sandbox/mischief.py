"""What can go wrong on purpose, how often, and the luck that decides: the same seed, the same mishaps."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from receiver.errors import UsageError

_LONGEST_SECONDS = 3600.0


def _chance(text: str) -> Any:
    return field(default=0.0, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Mischief:
    """How often each mishap happens, from 0 (never) to 1 (always). Raise UsageError for anything else.

    The mishaps up to `slow` strike a video's job or one of its callbacks, those up to `missing` its file,
    the last ones whatever is asked of an API.
    """

    duplicate: float = _chance("A callback that arrived is sent again.")
    late: float = _chance("A callback is late, by up to late_seconds.")
    drop: float = _chance("A callback is never sent.")
    reorder: float = _chance("A callback lets one of a later video go first.")
    wrong_credentials: float = _chance("A try of a callback has a wrong key or signature.")
    failed: float = _chance("A video fails.")
    stuck: float = _chance("A finish is never reported: no callback, and no other status.")
    unknown_status: float = _chance("An unknown status comes before the real one.")
    slow: float = _chance("The body of a callback or a download takes slow_seconds.")
    truncated: float = _chance("A download ends after half of what was announced.")
    expired: float = _chance("A link or a content has expired before its time.")
    missing: float = _chance("A completed video is not where it should be: 404.")
    throttled: float = _chance("An API request is refused: 429 with Retry-After.")
    broken: float = _chance("An API request meets a mistake of the provider's: 500.")
    late_seconds: float = field(default=3.0, metadata={"help": "How late a late callback is at most."})
    slow_seconds: float = field(default=2.0, metadata={"help": "How long a slow body takes."})
    seed: int = field(default=0, metadata={"help": "Another seed, other mishaps; the same one, the same."})

    def __post_init__(self) -> None:
        for name, most in LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise UsageError(f"{name} is a number from 0 to {most:g}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise UsageError("seed is a whole number")


LIMITS = {
    one.name: _LONGEST_SECONDS if one.name.endswith("_seconds") else 1.0
    for one in fields(Mischief)
    if one.name != "seed"
}
"""The largest value of each number but the seed."""
MISHAPS = tuple(name for name, most in LIMITS.items() if most == 1.0)


class Victim(Protocol):
    """What a mishap strikes: a job, or a request to an API, numbered in the order in which they come."""

    @property
    def number(self) -> int: ...
    @property
    def mischief(self) -> Mischief: ...


class Luck:
    """Decides what goes wrong and counts it.

    A draw depends on seed, mishap, the number of what is struck and the turn, and so on no clock and on
    no other job.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(dict.fromkeys(MISHAPS, 0))

    def strikes(self, what: str, job: Victim, *, turn: int = 0) -> bool:
        """Say whether this mishap happens now, and count it."""
        is_struck = self.foresees(what, job, turn=turn)
        self.counts[what] += is_struck
        return is_struck

    def foresees(self, what: str, job: Victim, *, turn: int = 0) -> bool:
        """Say the same without counting."""
        chance: float = getattr(job.mischief, what)
        return chance > 0 and self.share(what, job, turn=turn) < chance

    def share(self, what: str, job: Victim, *, turn: int = 0) -> float:
        """Draw a number from 0 up to 1."""
        return random.Random(f"{job.mischief.seed} {what} {job.number} {turn}").random()  # noqa: S311
