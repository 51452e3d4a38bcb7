"""Submissions as rows, as part of the open transaction: an intent is durable before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from receiver import ids
from receiver.store.sqlite.database import Database
from receiver.store.submissions import Intent, Submission


class Submissions:
    """Belongs to the one connection that writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def intend(self, intent: Intent, *, again: bool) -> Submission | None:
        """Add one, or give the earlier one of the same order."""
        order = {"source": intent.source, "digest": intent.digest}
        earlier = None if again else self._database.execute("same_submission", order).fetchone()
        if earlier is not None:
            return Submission(*earlier)
        self._database.execute("insert_submission", intent)
        return None

    def settle(self, outcome: Mapping[str, object]) -> bool:
        """Note what came of one; False when that is known already, or it isn't there."""
        return bool(self._database.execute("settle_submission", outcome).fetchall())

    def forget(self, prefix: str) -> list[str]:
        """Remove the only one whose id begins so; return the ids that do."""
        if not prefix:
            return []
        wanted = {"prefix": ids.whole("sub", prefix)}
        found = [row["id"] for row in self._database.execute("submissions_named", wanted)]
        if len(found) == 1:
            self._database.execute("forget_submission", {"id": found[0]})
        return found

    def remove(self, submissions: Sequence[int], *, before: int) -> int:
        """Remove what was over before a time; return how many."""
        wanted = {"submissions": orjson.dumps(list(submissions)).decode(), "before": before}
        return len(self._database.execute("remove_submissions", wanted).fetchall())
