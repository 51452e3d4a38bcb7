"""What is shown of the record, as pydantic models: the same JSON from commands and from the API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from receiver import sources
from receiver.life import JobState
from receiver.links import unsigned
from receiver.model import EventType, Payload, Video, iso

Row = Mapping[str, Any]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""ISO 8601, UTC, to the millisecond."""

# Keys of a payload whose texts nobody should have put there.
_SECRET = re.compile(r"(?i)api[_-]?key|authorization|cookie|credential|passw|secret|signature|token")
_REDACTED = "redacted"


class View(BaseModel):
    """Something that is shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobView(View):
    """One event for one handler."""

    id: int = Field(description="Its number.")
    handler: str = Field(description="The handler's name.")
    state: JobState = Field(description="Where it stands.")
    attempts: int = Field(description="How often it was tried.")
    run_at: Time | None = Field(description="When it is due, or was.")
    last_error: str | None = Field(description="What went wrong last, or why it was cancelled.")


class EventView(View):
    """An event, as it is listed and streamed; these fields are fixed."""

    id: str = Field(description="The receiver's own id of the event.")
    source: str = Field(description="The configured sender.")
    type: EventType = Field(description="What sort of news it is.")
    event_key: str = Field(description="Whose video, and what happened to it; unique within the source.")
    video_id: str = Field(description="The provider's id of the video.")
    status: str | None = Field(description="The provider's own word for where the video stands.")
    title: str | None = Field(description="Its title.")
    received_at: Time = Field(description="When the first delivery arrived.")
    duplicates: int = Field(description="How many more deliveries said the same.")
    conflict: bool = Field(description="Whether a later delivery contradicted it.")
    warnings: list[str] = Field(description="What was odd about it.")
    bytes: int = Field(description="Size of the original body.")
    jobs: list[JobView] = Field(description="What handlers have to do with it.")


class JobStory(JobView):
    """A job, with all that is known of it."""

    waits_for: str | None = Field(description="The handler that has to be done first.")
    started_at: Time | None = Field(description="When its last attempt began.")
    ended_at: Time | None = Field(description="When it was over.")
    result: str | None = Field(description="What the handler returned, as JSON text.")
    worker: str | None = Field(description="Who runs it at the moment.")
    replay: str | None = Field(description="The replay that made it, if one did.")
    crashes: int = Field(description="How often its process died while it ran.")
    expires_at: Time | None = Field(description="When the link that it needs stops working.")


class AttemptView(View):
    """One run of a job that has ended."""

    job: int = Field(description="The number of the job.")
    claim: int = Field(description="The claim number: grows with every claim of the job.")
    number: int = Field(description="Which attempt it was, from 1.")
    worker: str = Field(description="Who ran it.")
    started_at: Time = Field(description="When it began.")
    ended_at: Time = Field(description="When it ended.")
    outcome: str = Field(description="done, retry, fail, cancel or lost.")
    error: str | None = Field(description="What went wrong.")
    error_class: str | None = Field(description="The class of the exception, if there was one.")


class DeliveryView(View):
    """One arrival of news."""

    verdict: str = Field(description="accepted, duplicate or conflict.")
    via: str = Field(description="callback, poll or import.")
    received_at: Time = Field(description="When it arrived.")
    method: str = Field(description="The HTTP method.")
    path: str = Field(description="The path that it was sent to.")
    headers: list[tuple[str, str]] = Field(description="Names and values; credentials as fingerprints.")
    bytes: int = Field(description="Size of its body.")
    body_sha256: str | None = Field(description="The checksum of a body over 64 KiB.")
    body_removed_at: Time | None = Field(description="When retention removed that body.")


class WatchView(View):
    """How a video is asked about until its end is known."""

    source: str = Field(description="Whose API is asked.")
    kind: str = Field(description="The kind of that source.")
    identity: str = Field(description="Whose video it is, unique within the source.")
    video_id: str = Field(description="The provider's id of the video.")
    opened_at: Time = Field(description="Since when.")
    next_at: Time = Field(description="When it is asked next.")
    deadline_at: Time = Field(description="When it is given up.")
    asked: int = Field(description="How many times it was asked.")
    status: str | None = Field(description="What was seen last, in the provider's own word.")
    progress: float | None = Field(description="Percent.")
    seen_at: Time | None = Field(description="When that was.")
    last_error: str | None = Field(description="What was wrong when it was asked last.")
    ended_at: Time | None = Field(description="When it ended.")
    ending: str | None = Field(description="How it ended.")


class EventStory(EventView):
    """Everything about one event."""

    jobs: list[JobStory] = Field(description="What handlers have to do with it.")  # type: ignore[assignment]
    video: Video = Field(description="What is said about the video, the same for every provider.")
    payload: dict[str, Any] = Field(description="The body as parsed; strings over 64 KiB are left out.")
    object: dict[str, Any] | None = Field(description="What the provider said of the video since then.")
    body_sha256: str | None = Field(description="The checksum of a body over 64 KiB.")
    attempts: list[AttemptView] = Field(description="Every attempt, in order.")
    deliveries: list[DeliveryView] = Field(
        description="The arrivals, in order: of more than 100 the first one and the newest."
    )
    deliveries_left_out: int = Field(
        description="How many are left out behind the first one; /events/{id}/deliveries has all of them."
    )
    watch: WatchView | None = Field(description="How its video is asked about, if it is or was.")


class RejectionView(View):
    """A request that was not believed; equal ones are counted together."""

    at: Time = Field(description="When the first of them came.")
    source: str = Field(description="Where it was sent to.")
    status: int = Field(description="What it was answered with.")
    reason: str = Field(description="Which check failed; never a value.")
    peer: str = Field(description="The address that it came from.")
    repeated: int = Field(description="How many equal ones there were.")


def to_json(view: View) -> bytes:
    """One line of JSON."""
    return orjson.dumps(view.model_dump(mode="json"))


def event_view(row: Row) -> EventView:
    """An event, from a row of `Reads.events` or `Reads.following`."""
    return EventView(**_event(row), jobs=[JobView(**_job(job)) for job in row["jobs"]])


def event_story(row: Row, *, reveals: bool) -> EventStory:
    """Everything about an event, from the row of `Reads.event`.

    Unless it `reveals` them, the query strings of links (that is where they are signed) and texts that
    call themselves secrets are redacted; the original body has them.
    """
    payload = orjson.loads(row["body"]) if row["body"] is not None else row["payload"]
    video = sources.video_of(row["kind"], row["object"] or payload)
    found = row["object"]
    return EventStory(
        **_event(row),
        jobs=[JobStory(**(_job(job) | _rest_of_job(job, reveals=reveals))) for job in row["jobs"]],
        video=video if reveals else Video.model_validate(redacted(video.model_dump())),
        payload=payload if reveals else redacted(payload),
        object=found if reveals or found is None else redacted(found),
        body_sha256=row["body_sha256"],
        attempts=[AttemptView(**_with_times(attempt)) for attempt in row["attempts"]],
        deliveries=[DeliveryView(**_with_times(delivery)) for delivery in row["deliveries"]],
        deliveries_left_out=row["arrivals"] - len(row["deliveries"]),
        watch=None if row["watch"] is None else watch_view(row["watch"]),
    )


def watch_view(row: Row) -> WatchView:
    """A watch, from the fields of a `store.watches.Watch`."""
    return WatchView(**_with_times({name: row[name] for name in WatchView.model_fields}))


def rejection_view(row: Row) -> RejectionView:
    """A rejection, from a row of `Reads.rejections`."""
    return RejectionView(**_with_times(row))


def redacted(value: Payload) -> Payload:
    """A payload without the query strings of its links, and without texts that call themselves secrets."""
    return {key: _REDACTED if _is_secret(key, item) else _redacted(item) for key, item in value.items()}


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return unsigned(value)
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    return redacted(value) if isinstance(value, dict) else value


def _is_secret(key: str, value: Any) -> bool:
    return isinstance(value, str) and _SECRET.search(key) is not None


def _event(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "source": row["source"],
        "type": row["type"],
        "event_key": f"{row['identity']}:{row['what']}",
        "video_id": row["video_id"],
        "status": row["status"],
        "title": row["title"],
        "received_at": iso(row["received_at"]),
        "duplicates": row["duplicates"],
        "conflict": bool(row["conflict"]),
        "warnings": row["warnings"],
        "bytes": row["bytes"],
    }


def _job(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in JobView.model_fields} | {"run_at": iso(row["run_at"])}


def _rest_of_job(row: Row, *, reveals: bool) -> dict[str, Any]:
    names = JobStory.model_fields.keys() - JobView.model_fields.keys()
    rest = _with_times({name: row[name] for name in names})
    return rest if reveals else rest | {"result": _redacted(rest["result"])}


def _with_times(row: Row) -> dict[str, Any]:
    """A row with its times written out, without its number in the record."""
    return {
        name: iso(value) if name == "at" or name.endswith("_at") else value
        for name, value in row.items()
        if name != "seq"
    }
