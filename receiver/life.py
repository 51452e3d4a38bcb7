"""The life of a job: its states, and the moves between them as one table."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands. The names are a CHECK in the database."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Move(StrEnum):
    """Why a job changes its state."""

    CLAIM = "claim"
    FINISH = "finish"
    RETRY = "retry"
    FAIL = "fail"
    CANCEL = "cancel"
    LOSE = "lose"
    CRASH = "crash"
    UNBLOCK = "unblock"
    ABANDON = "abandon"


# The life of a job. It is born `ready`, or `waiting` when its handler names another one with
# `after=`, or `cancelled` when that other one doesn't exist for this event. A worker claims it:
# the claim number grows by one and is the fencing token, so that every move out of `running` but
# LOSE must present it and a worker that was thought dead can't settle what somebody else owns by
# now. LOSE is for an attempt nobody will report on (a stop, a drain, a lease that ran out); it
# gives the job back and costs it nothing. CRASH is for a job that ran alone when its process died,
# for the third time: the store itself settles it, with the claim that it finds. When a job is done,
# those that wait for it are UNBLOCKed in the same transaction; when it ends otherwise, they are
# ABANDONed with the reason.
# Nothing leaves `done`, `dead` and `cancelled`: a replay makes new jobs.
TRANSITIONS: dict[tuple[JobState, Move], JobState] = {
    (JobState.READY, Move.CLAIM): JobState.RUNNING,
    (JobState.RUNNING, Move.FINISH): JobState.DONE,
    (JobState.RUNNING, Move.RETRY): JobState.READY,
    (JobState.RUNNING, Move.FAIL): JobState.DEAD,
    (JobState.RUNNING, Move.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, Move.LOSE): JobState.READY,
    (JobState.RUNNING, Move.CRASH): JobState.DEAD,
    (JobState.WAITING, Move.UNBLOCK): JobState.READY,
    (JobState.WAITING, Move.ABANDON): JobState.CANCELLED,
}

FINAL_STATES = frozenset({JobState.DONE, JobState.DEAD, JobState.CANCELLED})
