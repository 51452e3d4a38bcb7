"""Saying what was recorded: a log line for each delivery, or one sum a second when there are many."""

from __future__ import annotations

from typing import Any

from receiver.ration import Ration
from receiver.record import Arrival
from receiver.store.values import Receipt

_LOGGED = {"accepted": "event.recorded", "duplicate": "delivery.repeated", "conflict": "delivery.conflicted"}


class Announcer:
    """Logs receipts, at most so many lines a second."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self._ration = Ration(lambda untold: log.info("deliveries.summed", **untold))

    def announce(self, arrival: Arrival, receipt: Receipt) -> None:
        """Tell of one delivery that is durable."""
        if self._ration.allows(receipt.verdict):
            self._log.info(
                _LOGGED[receipt.verdict],
                event_id=receipt.event_id,
                source=arrival.source,
                type=arrival.type,
                video=arrival.video_id,
                bytes=arrival.size,
            )
