"""The time by which jobs are due: the wall clock's, but never back."""

from __future__ import annotations

from collections.abc import Callable

_STEP_MS = 1000
"""What the two clocks may differ by before it counts as a step; less is the wall clock being trimmed."""


class DueClock:
    """Unix milliseconds that go on where they were when the wall clock is set back.

    Else jobs that were recorded before that would be due only when it has caught up.
    """

    def __init__(self, wall: Callable[[], int], monotonic: Callable[[], float]) -> None:
        """`wall` gives unix milliseconds, `monotonic` seconds."""
        self._wall = wall
        self._monotonic = monotonic
        self._seen = (wall(), monotonic())
        self.ahead_ms = 0
        """How far these times are ahead of the wall clock."""

    def __call__(self) -> int:
        """Now."""
        wall, monotonic = self._wall(), self._monotonic()
        before, then = self._seen
        self._seen = (wall, monotonic)
        set_back_by = before + round((monotonic - then) * 1000) - wall
        if abs(set_back_by) > _STEP_MS:
            self.ahead_ms = max(0, self.ahead_ms + set_back_by)
        return wall + self.ahead_ms
