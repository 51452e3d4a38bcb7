"""A bound on how often something is done: pure, with the time passed in."""

from __future__ import annotations


class Bucket:
    """So many turns a second, evenly spread: what was not used is not made up for."""

    def __init__(self, per_second: float) -> None:
        self._seconds = 1 / per_second
        self._next_at = float("-inf")

    def seconds_to_wait(self, now: float) -> float:
        """How long until the next turn; `now` is in seconds on a monotonic clock."""
        return max(0.0, self._next_at - now)

    def take(self, now: float) -> None:
        """Take a turn."""
        self._next_at = max(now, self._next_at) + self._seconds
