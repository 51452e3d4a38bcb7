"""Findings as rows: a provider's object beside an event, or an event that a provider denies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from receiver.store.findings import Learned
from receiver.store.sqlite.database import Database
from receiver.store.sqlite.intake import Intake
from receiver.store.values import Rejection


class Write(Protocol):
    """Run an operation within the next commit."""

    def __call__(self, operation: Callable[[], bool]) -> asyncio.Future[bool]:
        """Give its result when that is durable."""
        ...


class Findings:
    """The verbs over the connection that writes."""

    def __init__(self, database: Database, intake: Intake, *, write: Write) -> None:
        self._database = database
        self._intake = intake
        self._write = write

    async def learn(self, learned: Learned) -> bool:
        """See `findings.Findings`."""
        return await self._write(lambda: self._learn(learned))

    async def refute(self, event: str, rejection: Rejection) -> bool:
        """See `findings.Findings`."""
        return await self._write(lambda: self._refute(event, rejection))

    def _learn(self, learned: Learned) -> bool:
        found = self._database.execute("learn_object", learned._asdict()).rowcount
        self._database.execute("learn_expiry", learned._asdict())
        return found > 0

    def _refute(self, event: str, rejection: Rejection) -> bool:
        refuted = self._database.execute("refute_event", {"event": event, "at": rejection.at}).fetchall()
        for row in refuted:
            self._intake.disown(row)
            self._intake.reject([rejection])
        return bool(refuted)
