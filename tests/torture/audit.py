"""Compare a stopped receiver's disk with the ledger: nothing lost, nothing twice, nothing by halves."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from receiver.store.sqlite.database import read_only
from tests.torture.ledger import Ledger

_ENDED = ("done", "dead", "cancelled")
_STATES = (*_ENDED, "waiting", "ready", "running")
_EVENTS = """
SELECT e.id, e.video_id, d.body, d.body_sha256,
       (SELECT group_concat(j.state) FROM jobs AS j WHERE j.event = e.seq) AS states,
       (SELECT max(times) FROM (SELECT count(*) AS times FROM attempts AS a
        JOIN jobs AS j ON j.seq = a.job
        WHERE j.event = e.seq AND a.outcome = 'done' GROUP BY a.job)) AS finished
FROM events AS e LEFT JOIN deliveries AS d ON d.seq = e.delivery
"""
_TOTALS = """
SELECT (SELECT count(*) FROM deliveries),
       (SELECT coalesce(sum(repeated), 0) FROM rejections WHERE status IN (401, 429))
"""


@dataclass
class Audit:
    """What is wrong, as one line each, and what was seen."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    halves: list[str] = field(default_factory=list)
    kept_after_refusal: list[str] = field(default_factory=list)
    """Refused, never acknowledged, and there all the same: only a store that died may have done that."""
    orphans: int = 0
    """Body files without a row: a sweep after the next start removes them."""
    temporary: int = 0
    """Body files that never became whole."""
    jobs: Counter[str] = field(default_factory=Counter)
    events: int = 0
    deliveries: int = 0
    rejections: int = 0
    """For bad credentials, as far as they were written: a crash takes those of the last second along."""

    @property
    def pending(self) -> int:
        """Jobs that have not ended."""
        return sum(count for state, count in self.jobs.items() if state not in _ENDED)


def audit(data: Path, ledger: Ledger) -> Audit:
    """Look at everything below the data folder of a receiver that does not run."""
    result = Audit(doubled=[f"{video}: acknowledged as two events" for video in sorted(ledger.doubled)])
    try:
        rows, totals, problems = _read(data / "receiver.db")
    except sqlite3.Error as error:
        rows, totals, problems = [], (0, 0), [f"the database can't be read: {error}"]
    result.halves += problems
    result.events = len(rows)
    result.deliveries, result.rejections = totals
    by_video: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_video[row["video_id"]].append(row)
        _judge(row, data / "bodies", ledger, result)
    for video, event in ledger.acknowledged.items():
        if event not in {row["id"] for row in by_video[video]}:
            result.lost.append(f"{video}: {event} was acknowledged and is not there")
    result.doubled += [f"{video}: {len(same)} events" for video, same in by_video.items() if len(same) > 1]
    maybe = ledger.refused - ledger.unanswered - set(ledger.acknowledged)
    result.kept_after_refusal = sorted(maybe & {video for video, same in by_video.items() if same})
    _look_for_files(data / "bodies", {row["body_sha256"] for row in rows}, result)
    return result


def _read(database: Path) -> tuple[list[dict[str, Any]], tuple[int, int], list[str]]:
    with closing(sqlite3.connect(read_only(database), uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute(_EVENTS)]
        totals = tuple(connection.execute(_TOTALS).fetchone())
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        broken = connection.execute("PRAGMA foreign_key_check").fetchall()
    return rows, totals, problems + [f"{row[0]} {row[1]} refers to nothing" for row in broken]


def _judge(row: dict[str, Any], bodies: Path, ledger: Ledger, result: Audit) -> None:
    """One event: was it sent, has it the body that was sent, and all of its jobs?"""
    video, sent = row["video_id"], ledger.sent.get(row["video_id"])
    if sent is None:
        result.halves.append(f"{video}: is there without having been sent, whole, by somebody to believe")
        return
    states = (row["states"] or "").split(",") if row["states"] else []
    result.jobs.update(states)
    if len(states) != sent.jobs or not set(states) <= set(_STATES):
        result.halves.append(f"{video}: has the jobs {states}, should have {sent.jobs}")
    if (row["finished"] or 0) > 1:
        result.doubled.append(f"{video}: a job of it was done {row['finished']} times")
    if row["body_sha256"] is None:
        found = hashlib.sha256((row["body"] or "").encode()).hexdigest()
    else:
        file = bodies / row["body_sha256"][:2] / row["body_sha256"]
        found = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no file"
    if found != sent.sha256:
        kind = result.lost if video in ledger.acknowledged else result.halves
        kind.append(f"{video}: its body is not what was sent ({found})")


def _look_for_files(bodies: Path, known: set[str | None], result: Audit) -> None:
    files = [file for file in bodies.rglob("*") if file.is_file()] if bodies.is_dir() else []
    result.temporary = sum(file.suffix == ".part" for file in files)
    result.orphans = sum(file.suffix != ".part" and file.name not in known for file in files)
