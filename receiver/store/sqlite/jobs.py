"""The moves of a job, many at a time, each one fenced; see the table in `receiver.life`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import orjson

from receiver.life import TRANSITIONS, JobState, Move
from receiver.store.sqlite.database import Database
from receiver.store.values import Lost, Row, Settlement

OUTCOMES = {Move.FINISH: "done", Move.RETRY: "retry", Move.FAIL: "fail", Move.CANCEL: "cancel"}
LOST = "lost"
MOST_CRASHES = 3
"""So many times may a job be what ran when its process died; then it is dead."""
_FIRST_WAIT_MS = 1000
_MOST_DOUBLINGS = 6
_AS_JSON = ("warnings", "payload", "strings", "object")


class Jobs:
    """Claims, settlements and losses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Claiming.

    def claim(self, worker: str, free: Mapping[str, int], *, count: int, now: int, alone: bool) -> list[Row]:
        """CLAIM due jobs for a worker, of each handler at most its free slots.

        First what expires first, then of each handler in turn what has waited longest. A worker that runs
        its jobs `alone` gets those whose process died, and no others.
        """
        jobs = self._suspects(free, count, now) if alone else self._due(free, count, now)
        if not jobs:
            return []
        claimed = {"jobs": _json(jobs)}
        self._database.execute("claim_jobs", {**claimed, "worker": worker, "now": now})
        return [self._with_results(row) for row in self._database.execute("claimed_jobs", claimed)]

    def _suspects(self, handlers: Iterable[str], count: int, now: int) -> list[int]:
        wanted = {"handlers": _json(list(handlers)), "now": now, "count": count}
        return [job for (job,) in self._database.execute("suspect_jobs", wanted)]

    def _due(self, free: Mapping[str, int], count: int, now: int) -> list[int]:
        expiring: list[list[int]] = []
        ready: list[list[int]] = []
        for handler, slots in free.items():
            most = min(slots, count)
            wanted = {"handler": handler, "now": now, "count": most}
            first = [job for (job,) in self._database.execute("expiring_jobs", wanted)]
            others = [job for (job,) in self._database.execute("ready_jobs", wanted) if job not in set(first)]
            expiring.append(first)
            ready.append(others[: most - len(first)])
        return [*_in_turn(expiring), *_in_turn(ready)][:count]

    def _with_results(self, found: Any) -> Row:
        row = as_row(found)
        finished: dict[str, Any] = {}
        if row["waits_for"] is not None:
            for handler, result in self._database.execute("results_for_job", {"job": row["job"]}):
                finished.pop(handler, None)
                if result is not None:
                    finished[handler] = orjson.loads(result)
        row["results"] = finished
        return row

    def next_due(self, handlers: Sequence[str], *, alone: bool) -> int | None:
        """When the next job of these handlers is due."""
        query = "next_suspect_due" if alone else "next_due"
        due: int | None = self._database.execute(query, {"handlers": _json(list(handlers))}).fetchone()["due"]
        return due

    def suspects(self) -> dict[str, int]:
        """How many jobs of which handler have to run alone."""
        return dict(self._database.execute("count_suspects").fetchall())

    # Settling.

    def settle(self, settlements: Sequence[Settlement], *, worker: str) -> list[bool]:
        """FINISH, RETRY, FAIL or CANCEL; False where the claim is somebody else's by now."""
        running = self._running([settlement.job for settlement in settlements])
        owned, ended = [], []
        for settlement in settlements:
            job = running.get(settlement.job)
            is_owned = job is not None and job["claim"] == settlement.claim
            owned.append(is_owned)
            if job is not None and is_owned:
                del running[settlement.job]
                ended.append((job, settlement))
        self._end([(job, one, OUTCOMES[Move(one.move)], worker, 0) for job, one in ended])
        return owned

    def _running(self, jobs: Sequence[int]) -> dict[int, Row]:
        rows = self._database.execute("running_jobs", {"jobs": _json(jobs)})
        return {row["seq"]: dict(row) for row in rows}

    def _end(self, ended: Sequence[tuple[Row, Settlement, str, str, int]]) -> None:
        """End attempts: each a job, how it ended, the outcome, the worker, how often its process died."""
        jobs, attempts = [], []
        for job, one, outcome, worker, crashes in ended:
            state = TRANSITIONS[JobState.RUNNING, Move(one.move)]
            number, claim = job["attempts"] + 1, job["claim"]
            jobs.append(
                (state, number, one.run_at, one.ended_at, one.error, one.result, crashes, one.job, claim)
            )
            attempts.append(
                (
                    *(one.job, claim, number, worker, job["started_at"], one.ended_at),
                    *(outcome, one.error, one.error_class),
                )
            )
        self._database.executemany("settle_job", jobs)
        self._database.executemany("insert_attempt", attempts)
        self._go_on([(job, one) for job, one, *_ in ended])

    def _go_on(self, ended: Sequence[tuple[Row, Settlement]]) -> None:
        """UNBLOCK or ABANDON what waits for jobs that have ended."""
        events = sorted({job["event"] for job, _ in ended})
        awaited = {tuple(row) for row in self._database.execute("waited_for", {"events": _json(events)})}
        for job, one in ended:
            if (job["event"], job["handler"], job["replay"]) not in awaited:
                continue
            move = Move(one.move)
            where = {"event": job["event"], "replay": job["replay"], "now": one.ended_at}
            if move is Move.FINISH:
                self._database.execute("unblock_jobs", {**where, "handler": job["handler"]})
            elif move is not Move.RETRY:
                state = TRANSITIONS[JobState.RUNNING, move]
                self._abandon(job["handler"], f"{job['handler']} is {state.value}", where)

    def _abandon(self, handler: str, reason: str, where: dict[str, Any]) -> None:
        """ABANDON what waits for a job that will not be done, and what waits for that in turn."""
        parameters = {**where, "handler": handler, "reason": reason}
        for (dependent,) in self._database.execute("abandon_jobs", parameters).fetchall():
            self._abandon(dependent, f"{dependent} is {JobState.CANCELLED.value}: {reason}", where)

    # Losing.

    def held_by(self, worker: str) -> list[int]:
        """The jobs that a worker holds."""
        return [job for (job,) in self._database.execute("jobs_of_worker", {"worker": worker})]

    def release(self, worker: str, *, now: int, reason: str, died: bool = False) -> list[Lost]:
        """LOSE every job that a worker holds; when it died, each of them may be why."""
        held = self.held_by(worker)
        if not died:
            return self.lose(held, worker=worker, now=now, reason=reason)
        running = self._running(held)
        return [self._crash(job, now=now, reason=reason, is_alone=len(held) == 1) for job in running.values()]

    def _crash(self, job: Row, *, now: int, reason: str, is_alone: bool) -> Lost:
        """CRASH a job that ran alone for too often; LOSE any other, which then runs alone."""
        crashes = job["crashes"] + 1
        if is_alone and crashes >= MOST_CRASHES:
            error = f"its process died {crashes} times, at last because {reason}"
            settlement = Settlement(job["seq"], job["claim"], Move.CRASH, now, None, error, None)
            self._end([(job, settlement, OUTCOMES[Move.FAIL], job["worker"], crashes)])
            return Lost(job["seq"], job["handler"], crashes, is_dead=True)
        wait_ms = _FIRST_WAIT_MS << min(crashes, _MOST_DOUBLINGS) if crashes > 1 else 0
        return self._lose(job, now=now, reason=reason, crashes=crashes, run_at=now + wait_ms)

    def lose(self, jobs: Sequence[int], *, worker: str, now: int, reason: str) -> list[Lost]:
        """LOSE some jobs of a worker, those that it still holds."""
        return [
            self._lose(job, now=now, reason=reason, crashes=job["crashes"], run_at=0)
            for job in self._running(jobs).values()
            if job["worker"] == worker
        ]

    def _lose(self, job: Row, *, now: int, reason: str, crashes: int, run_at: int) -> Lost:
        where = {"job": job["seq"], "worker": job["worker"], "crashes": crashes, "run_at": run_at}
        self._database.execute("lose_job", where)
        number = job["attempts"] + 1
        attempt = (
            job["seq"],
            job["claim"],
            number,
            job["worker"],
            job["started_at"],
            now,
            LOST,
            reason,
            None,
        )
        self._database.executemany("insert_attempt", [attempt])
        return Lost(job["seq"], job["handler"], crashes, is_dead=False)

    def holders(self) -> list[str]:
        """The workers that hold jobs."""
        return [worker for (worker,) in self._database.execute("running_workers")]


def first_times(state: str, now: int) -> tuple[int | None, int | None]:
    """When a new job runs, and when it ended, if either."""
    return (now if state == JobState.READY else None, now if state == JobState.CANCELLED else None)


def _in_turn(lists: Iterable[list[int]]) -> list[int]:
    """One of each, then the next of each, and so on."""
    return [job for job in chain.from_iterable(zip_longest(*lists)) if job is not None]


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def as_row(row: Any) -> Row:
    """Turn a database row into what travels; JSON columns are parsed."""
    values = dict(row)
    for name in _AS_JSON:
        if values.get(name):
            values[name] = orjson.loads(values[name])
    return values
