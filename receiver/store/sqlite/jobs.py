"""The moves of a job, each one fenced statement; see the table in `receiver.life`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from receiver.life import TRANSITIONS, JobState, Move
from receiver.store.base import Row, Settlement
from receiver.store.sqlite.database import Database

OUTCOMES = {Move.FINISH: "done", Move.RETRY: "retry", Move.FAIL: "fail", Move.CANCEL: "cancel"}
LOST = "lost"
DIED = "the worker died"
"""The reason of a loss that the job itself may have caused."""

_FIRST_WAIT_MS = 1000
_LONGEST_WAIT_MS = 300_000
_GOLDEN = (5**0.5 - 1) / 2
_AS_JSON = ("warnings", "payload", "strings")


class Jobs:
    """Claims, settlements and losses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, worker: str, free: Mapping[str, int], *, count: int, now: int) -> list[Row]:
        """CLAIM due jobs for a worker, of each handler at most its free slots."""
        claimed: list[Row] = []
        for handler, slots in free.items():
            wanted = {"handler": handler, "now": now, "count": min(slots, count - len(claimed))}
            for (job,) in self._database.execute("ready_jobs", wanted).fetchall():
                self._database.execute("claim_job", {"job": job, "worker": worker, "now": now})
                claimed.append(self._claimed(job))
        return claimed

    def _claimed(self, job: int) -> Row:
        row = as_row(self._database.execute("claimed_job", {"job": job}).fetchone())
        finished = {}
        if row["waits_for"] is not None:
            for handler, result in self._database.execute("results_of_event", {"event": row["event_seq"]}):
                finished[handler] = orjson.loads(result) if result else None
        row["results"] = finished
        return row

    def next_due(self, handlers: Sequence[str]) -> int | None:
        """When the next job of these handlers is due."""
        names = orjson.dumps(list(handlers)).decode()
        due: int | None = self._database.execute("next_due", {"handlers": names}).fetchone()["due"]
        return due

    def settle(self, settlements: Sequence[Settlement], *, worker: str) -> list[bool]:
        """FINISH, RETRY, FAIL or CANCEL; False where the claim is somebody else's by now."""
        return [self._settle(settlement, worker=worker) for settlement in settlements]

    def _settle(self, settlement: Settlement, *, worker: str) -> bool:
        move = Move(settlement.move)
        state = TRANSITIONS[JobState.RUNNING, move]
        parameters = {**settlement._asdict(), "state": state.value}
        row = self._database.execute("settle_job", parameters).fetchone()
        if row is None:
            return False
        self._note_attempt(settlement.job, worker, OUTCOMES[move], settlement.ended_at, settlement.error)
        chain = {"event": row["event"], "replay": row["replay"], "now": settlement.ended_at}
        if move is Move.FINISH:
            self._database.execute("unblock_jobs", {**chain, "handler": row["handler"]})
        elif state is not JobState.READY:
            self._abandon(row["handler"], f"{row['handler']} is {state.value}", chain)
        return True

    def _abandon(self, handler: str, reason: str, chain: dict[str, Any]) -> None:
        """ABANDON what waits for a job that will not be done, and what waits for that in turn."""
        parameters = {**chain, "handler": handler, "reason": reason}
        for (dependent,) in self._database.execute("abandon_jobs", parameters).fetchall():
            self._abandon(dependent, f"{dependent} is {JobState.CANCELLED.value}: {reason}", chain)

    def _note_attempt(self, job: int, worker: str, outcome: str, ended_at: int, error: str | None) -> None:
        parameters = {"job": job, "worker": worker, "outcome": outcome, "ended_at": ended_at, "error": error}
        self._database.execute("insert_attempt", parameters)

    def held_by(self, worker: str) -> list[int]:
        """The jobs that a worker holds."""
        return [job for (job,) in self._database.execute("jobs_of_worker", {"worker": worker})]

    def release(self, worker: str, *, now: int, reason: str) -> int:
        """LOSE every job that a worker holds; return how many."""
        return self.lose(self.held_by(worker), worker=worker, now=now, reason=reason)

    def lose(self, jobs: Sequence[int], *, worker: str, now: int, reason: str) -> int:
        """LOSE some jobs of a worker, those that it still holds; return how many."""
        lost = 0
        for job in jobs:
            wait_ms = self._wait_after_death_ms(job) if reason == DIED else 0
            parameters = {"job": job, "worker": worker, "run_at": now + wait_ms if wait_ms else 0}
            if self._database.execute("lose_job", parameters).rowcount:
                self._note_attempt(job, worker, LOST, now, reason)
                lost += 1
        return lost

    def _wait_after_death_ms(self, job: int) -> int:
        """A job whose workers die may be what kills them: from the second death on it waits, doubling.

        Each job waits another time, so that it is not always the same ones that run beside it.
        """
        (deaths,) = self._database.execute("count_deaths", {"job": job, "reason": DIED}).fetchone()
        if not deaths:
            return 0
        longest = min(_LONGEST_WAIT_MS, _FIRST_WAIT_MS << min(deaths, 20))
        return int(longest * (0.5 + job * _GOLDEN % 0.5))

    def holders(self) -> list[str]:
        """The workers that hold jobs."""
        return [worker for (worker,) in self._database.execute("running_workers")]


def as_row(row: Any) -> Row:
    """Turn a database row into what travels; JSON columns are parsed."""
    values = dict(row)
    for name in _AS_JSON:
        if values.get(name):
            values[name] = orjson.loads(values[name])
    return values
