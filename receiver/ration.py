"""Log lines of which there may be thousands a second: some are written, the others are summed up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

MOST_LINES = 20
"""Lines in one second; what is more is only counted. A line costs as much as a fifth of a callback."""


class Ration:
    """Allows so many lines a second, and tells once a second what was left out."""

    def __init__(self, sum_up: Callable[[Counter[str]], None], *, most: int = MOST_LINES) -> None:
        """`sum_up` is given what was not allowed, counted by its name."""
        self._sum_up = sum_up
        self._most = most
        self._lines = 0
        self._untold: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def allows(self, what: str) -> bool:
        """Say whether one more line may be written about `what`; else count it."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self._tell)
        self._lines += 1
        if self._lines <= self._most:
            return True
        self._untold[what] += 1
        return False

    def _tell(self) -> None:
        self._timer = None
        self._lines = 0
        if self._untold:
            self._sum_up(self._untold)
            self._untold = Counter()
