"""The nouns of the project, frozen; and the life cycle of a job as one table."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue

EventType = Literal["video.completed", "video.failed", "video.progress", "video.unknown"]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)

INLINE_BODY_LIMIT = 64 * 1024
"""Bytes: a longer body is kept in a body file, a longer string is left out of the payload."""


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
    UNBLOCK = "unblock"
    ABANDON = "abandon"


# The life of a job. It is born `ready`, or `waiting` when its handler names another one with
# `after=`, or `cancelled` when that other one doesn't exist for this event. A worker claims it:
# the claim number grows by one and is the fencing token, so that every move out of `running` but
# LOSE must present it and a worker that was thought dead can't settle what somebody else owns by
# now. LOSE is for an attempt nobody will report on (a stop, a drain, a lease that ran out); it
# gives the job back and costs it nothing. When a job is done, those that wait for it are
# UNBLOCKed in the same transaction; when it ends otherwise, they are ABANDONed with the reason.
# Nothing leaves `done`, `dead` and `cancelled`: a replay makes new jobs.
TRANSITIONS: dict[tuple[JobState, Move], JobState] = {
    (JobState.READY, Move.CLAIM): JobState.RUNNING,
    (JobState.RUNNING, Move.FINISH): JobState.DONE,
    (JobState.RUNNING, Move.RETRY): JobState.READY,
    (JobState.RUNNING, Move.FAIL): JobState.DEAD,
    (JobState.RUNNING, Move.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, Move.LOSE): JobState.READY,
    (JobState.WAITING, Move.UNBLOCK): JobState.READY,
    (JobState.WAITING, Move.ABANDON): JobState.CANCELLED,
}

FINAL_STATES = frozenset({JobState.DONE, JobState.DEAD, JobState.CANCELLED})


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Frozen):
    """A page or document that the video was made from."""

    url: str | None = Field(None, description="Where it stands.")
    content: str | None = Field(None, description="What was read there.")


class VideoFailure(_Frozen):
    """Why a video failed, in the provider's words."""

    code: str = Field("", description="Machine-readable; empty when the provider gives none.")
    message: str = Field("", description="For people; empty when the provider gives none.")


class Video(_Frozen):
    """What any provider says about a video, under the same names for all of them."""

    id: str | None = Field(None, description="The provider's id of the video.")
    status: str | None = Field(None, description="The provider's own word for where it stands.")
    progress: float | None = Field(None, description="Percent, 0 to 100.")
    title: str | None = Field(None, description="Its title, as the provider gave it.")
    url: str | None = Field(None, description="A link to the file.")
    inline: bool = Field(False, description="Whether the body itself carries the file.")
    transcript: str | None = Field(None, description="What is spoken in it.")
    sources: tuple[Source, ...] = Field((), description="What it was made from.")
    cost: float | None = Field(None, description="What it cost, in the provider's unit.")
    model: str | None = Field(None, description="The model that made it.")
    error: VideoFailure = Field(VideoFailure(), description="Why it failed; empty texts when it did not.")
    created_at: datetime | None = Field(None, description="When it was asked for.")
    completed_at: datetime | None = Field(None, description="When it was finished.")
    expires_at: datetime | None = Field(None, description="When its link stops working.")


class LongString(_Frozen):
    """Where a string over 64 KiB lies in a body file."""

    path: tuple[str | int, ...] = Field(description="Keys and indexes that lead to it from the top.")
    offset: int = Field(description="Bytes before its first character (after the opening quote).")
    length: int = Field(description="Raw bytes between its quotes.")
    escaped: bool = Field(description="Whether it has backslash escapes.")


def utc(unix_milliseconds: int) -> datetime:
    """Turn the store's time into an aware UTC datetime."""
    return datetime.fromtimestamp(unix_milliseconds / 1000, UTC)


Payload = dict[str, JsonValue]
Json = Any
