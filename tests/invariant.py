"""What must hold after every fault: what senders were told, and what is stored, add up.

Reads the database beside a running store, or after it has ended, by a connection that can't write.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

_TERMINAL = {"done": "done", "dead": "fail", "cancelled": "cancel"}
_LIST_OF_REJECTIONS = 1000


@dataclass
class Ledger:
    """What every sender was told. Threads may share one."""

    answers: list[tuple[int, str | None]] = field(default_factory=list)
    """Status, and the event's id of a 200."""
    unanswered: int = 0
    """Sent, but nobody knows what became of them."""

    def told(self, status: int, body: bytes) -> int:
        """Note an answer, and give its status."""
        self.answers.append((status, json.loads(body)["event"] if status == 200 else None))
        return status

    @property
    def acknowledged(self) -> list[str]:
        """The event of every 200."""
        return [event for _, event in self.answers if event is not None]

    @property
    def by_status(self) -> Counter[int]:
        return Counter(status for status, _ in self.answers)


def assert_balanced(database: Path, ledger: Ledger, *, bodies: Path | None = None) -> None:
    """Compare a ledger that holds every request since the database was made with what is stored."""
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("BEGIN")
        books = _Books(connection)
        books.assert_sound()
        books.assert_every_job_is_accounted_for()
        books.assert_acknowledged(ledger)
        books.assert_rejected(ledger)
        digests = books.column(
            "SELECT DISTINCT body_sha256 FROM deliveries"
            " WHERE body_sha256 IS NOT NULL AND body_removed_at IS NULL"
        )
    _assert_whole(bodies or database.parent / "bodies", digests)


def _assert_whole(folder: Path, digests: Iterable[str]) -> None:
    for digest in digests:
        with (folder / digest[:2] / digest).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == digest


class _Books:
    """The stored side of the account."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def column(self, query: str) -> list[str]:
        return [row[0] for row in self._connection.execute(query)]

    def number(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0] or 0)

    def assert_sound(self) -> None:
        """An event is its first delivery, once; every other delivery repeats it."""
        assert self.column("PRAGMA integrity_check") == ["ok"]
        assert self.column("PRAGMA foreign_key_check") == []
        keys = self.number(
            "SELECT count(DISTINCT source || ' ' || identity || ' ' || what) FROM events"
            " WHERE refuted_at IS NULL"
        )
        assert keys == self.number("SELECT count(*) FROM events WHERE refuted_at IS NULL")
        wrong = """
            SELECT id FROM events JOIN (
                SELECT event, sum(verdict = 'accepted') AS first, sum(verdict <> 'accepted') AS others,
                       max(CASE verdict WHEN 'accepted' THEN seq END) AS accepted
                FROM deliveries GROUP BY event
            ) ON event = seq WHERE first <> 1 OR others <> duplicates OR accepted <> delivery
            UNION ALL SELECT id FROM events WHERE seq NOT IN (SELECT event FROM deliveries)
        """
        assert self.column(wrong) == []

    def assert_every_job_is_accounted_for(self) -> None:
        """What has ended did so by exactly one attempt or by its predecessor; the rest is pending."""
        rows = self._connection.execute(
            "SELECT jobs.seq, state, jobs.claim, group_concat(outcome || ' ' || attempts.claim)"
            " FROM jobs LEFT JOIN attempts ON job = jobs.seq AND outcome NOT IN ('retry', 'lost')"
            " GROUP BY jobs.seq"
        )
        for job, state, claim, ended in rows:
            if state in _TERMINAL:
                is_abandoned = state == "cancelled" and ended is None and claim == 0
                assert is_abandoned or ended == f"{_TERMINAL[state]} {claim}", (job, state, ended)
            else:
                assert ended is None, (job, state, ended)
        assert self.number("SELECT count(*) FROM jobs WHERE (state = 'running') <> (worker IS NOT NULL)") == 0
        twice = "SELECT event FROM jobs WHERE replay IS NULL GROUP BY event, handler HAVING count(*) > 1"
        assert self.column(twice) == []

    def assert_acknowledged(self, ledger: Ledger) -> None:
        """Each acknowledged event is there, and each delivery was acknowledged or is a doubtful one."""
        stored = Counter(self.column("SELECT id FROM events"))
        lost = set(ledger.acknowledged) - set(stored)
        assert not lost, f"acknowledged and lost: {sorted(lost)[:10]}"
        assert not stored or max(stored.values()) == 1
        deliveries = self.number("SELECT count(*) FROM deliveries WHERE via = 'callback'")
        acknowledged = len(ledger.acknowledged)
        refused = ledger.by_status[503]
        assert acknowledged <= deliveries <= acknowledged + ledger.unanswered + refused, (
            f"{acknowledged} acknowledged, {ledger.unanswered} unanswered, {refused} refused,"
            f" {deliveries} stored"
        )

    def assert_rejected(self, ledger: Ledger) -> None:
        """The list of rejections holds no more than was rejected; whoever waits for it sees all of them."""
        rejected = sum(count for status, count in ledger.by_status.items() if 400 <= status < 500)
        told = "SELECT sum(repeated) FROM rejections WHERE status <> 200"  # those are refuted events
        assert self.number(told) <= rejected + ledger.unanswered
        assert self.number("SELECT count(*) FROM rejections") <= _LIST_OF_REJECTIONS
