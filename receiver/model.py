"""What is said about a video, for all senders alike: the nouns of the project, frozen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, get_args, overload

from pydantic import BaseModel, ConfigDict, Field, JsonValue

EventType = Literal["video.completed", "video.failed", "video.progress", "video.unknown"]
EVENT_TYPES: tuple[str, ...] = get_args(EventType)

INLINE_BODY_LIMIT = 64 * 1024
"""Bytes: a longer body is kept in a body file, a longer string is left out of the payload."""


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


@overload
def iso(unix_milliseconds: int) -> str: ...
@overload
def iso(unix_milliseconds: int | None) -> str | None: ...
def iso(unix_milliseconds: int | None) -> str | None:
    """Write the store's time as ISO 8601 in UTC, to the millisecond."""
    return None if unix_milliseconds is None else utc(unix_milliseconds).isoformat(timespec="milliseconds")


Payload = dict[str, JsonValue]
Json = Any
