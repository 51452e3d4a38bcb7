"""Submissions, what was asked of providers and what came of it: their verbs, their values, and the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

Ask = Callable[..., Awaitable[Any]]
"""Ask the store's process: a verb and its arguments."""


class Answered(StrEnum):
    """What came of a submission."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """Nothing was made, and nothing paid."""
    UNKNOWN = "unknown"
    """No answer came, or one that does not say: it may be paid for."""


class Intent(NamedTuple):
    """A submission before it is sent."""

    id: str
    source: str
    kind: str
    digest: str
    """Of the order, without what changes each time."""
    request: str
    """JSON: what is asked for, as it may be shown."""
    intended_at: int
    """Unix milliseconds, as all times."""


class Submission(NamedTuple):
    """A submission as it is stored."""

    id: str
    source: str
    kind: str
    digest: str
    request: str
    intended_at: int
    settled_at: int | None = None
    outcome: str | None = None
    """See `Answered`; None while an answer is waited for, or after a crash in between."""
    video_id: str | None = None
    error: str | None = None
    """Why it is not accepted."""


class Submissions(Protocol):
    """What is done with submissions."""

    async def intend(self, intent: Intent, *, again: bool) -> Submission | None:
        """Record that something is about to be paid for: None when it was recorded.

        Unless `again` says that paying twice is meant, an earlier one of the same order that was not
        refused is returned instead, and nothing is recorded.
        """
        ...

    async def settle(
        self, submission: str, outcome: str, *, at: int, video_id: str | None = None, error: str | None = None
    ) -> bool:
        """Say what came of one (see `Answered`); False when that is known already, or it isn't there.

        Only an accepted one has a `video_id`, and it must have one.
        """
        ...

    async def forget(self, prefix: str) -> list[str]:
        """Remove the one whose id begins so; return the ids that do. Nothing is removed when they are two."""
        ...

    async def page(self, *, source: str | None = None, limit: int = 1000) -> list[Submission]:
        """List them, the newest first."""
        ...

    async def unclear(self, *, before: int, limit: int = 1000) -> list[Submission]:
        """List those of which nobody knows whether they were paid for.

        One without an answer is among them when it was intended `before` a time: it may be under way.
        """
        ...


class RemoteSubmissions:
    """The verbs from another process."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def intend(self, intent: Intent, *, again: bool) -> Submission | None:
        """See `Submissions`."""
        row = await self._ask("submissions.intend", [tuple(intent), again])
        return None if row is None else Submission(*row)

    async def settle(
        self, submission: str, outcome: str, *, at: int, video_id: str | None = None, error: str | None = None
    ) -> bool:
        """See `Submissions`."""
        return bool(await self._ask("submissions.settle", [submission, outcome, at, video_id, error]))

    async def forget(self, prefix: str) -> list[str]:
        """See `Submissions`."""
        found: list[str] = await self._ask("submissions.forget", prefix)
        return found

    async def page(self, *, source: str | None = None, limit: int = 1000) -> list[Submission]:
        """See `Submissions`."""
        return [Submission(*row) for row in await self._ask("submissions.page", [source, limit])]

    async def unclear(self, *, before: int, limit: int = 1000) -> list[Submission]:
        """See `Submissions`."""
        return [Submission(*row) for row in await self._ask("submissions.unclear", [before, limit])]
