"""Saying what was recorded: a log line for each delivery, or one sum a second when there are many."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from receiver.record import Arrival
from receiver.store.base import Receipt

MOST_LINES = 20
"""Lines in one second; what is more is only counted. A line costs as much as a fifth of a callback."""

_LOGGED = {"accepted": "event.recorded", "duplicate": "delivery.repeated", "conflict": "delivery.conflicted"}


class Announcer:
    """Logs receipts, at most so many lines a second."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._lines = 0
        self._untold: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def announce(self, arrival: Arrival, receipt: Receipt) -> None:
        """Tell of one delivery that is durable."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self._sum_up)
        self._lines += 1
        if self._lines > MOST_LINES:
            self._untold[receipt.verdict] += 1
            return
        self._log.info(
            _LOGGED[receipt.verdict],
            event_id=receipt.event_id,
            source=arrival.source,
            type=arrival.type,
            video=arrival.video_id,
            bytes=arrival.size,
        )

    def _sum_up(self) -> None:
        self._timer = None
        self._lines = 0
        if self._untold:
            self._log.info("deliveries.summed", **self._untold)
            self._untold.clear()
