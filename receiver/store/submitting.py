"""The verbs of submissions over SQLite, in the group commit."""

from __future__ import annotations

from functools import partial

from receiver.store.commits import GroupCommit
from receiver.store.sqlite.reads import Reads
from receiver.store.sqlite.submissions import Submissions
from receiver.store.submissions import Intent, Submission


class Submitting:
    """The submissions of a store, in the process that owns it."""

    def __init__(self, rows: Submissions, reads: Reads, commits: GroupCommit) -> None:
        self._rows = rows
        self._reads = reads
        self._commits = commits

    async def intend(self, intent: Intent, *, again: bool) -> Submission | None:
        """See `submissions.Submissions`."""
        return await self._commits.write(lambda: self._rows.intend(intent, again=again))

    async def settle(
        self, submission: str, outcome: str, *, at: int, video_id: str | None = None, error: str | None = None
    ) -> bool:
        """See `submissions.Submissions`."""
        row = {"id": submission, "outcome": outcome, "at": at, "video_id": video_id, "error": error}
        return await self._commits.write(partial(self._rows.settle, row))

    async def forget(self, prefix: str) -> list[str]:
        """See `submissions.Submissions`."""
        return await self._commits.write(partial(self._rows.forget, prefix))

    async def page(self, *, source: str | None = None, limit: int = 1000) -> list[Submission]:
        """See `submissions.Submissions`."""
        return await self._reads.submissions("listed_submissions", {"source": source, "limit": limit})

    async def unclear(self, *, before: int, limit: int = 1000) -> list[Submission]:
        """See `submissions.Submissions`."""
        return await self._reads.submissions("unclear_submissions", {"before": before, "limit": limit})
