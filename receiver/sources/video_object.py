"""What OpenAI's videos API says, and what speaks it: thin events and video objects, read without any I/O.

Facts: the provider's API reference, its published SDK (`openai`), and the answers of gateways, which know
more statuses than the original and leave fields out.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from receiver.model import EventType, Payload, Video
from receiver.sources import fields
from receiver.sources.base import WATCH_EXPIRED, Admission, Digests, News

VIDEO, THUMBNAIL, SPRITESHEET = VARIANTS = ("video", "thumbnail", "spritesheet")
"""What the content of a finished video can be had as."""

_TYPES: dict[str, EventType] = {
    "completed": "video.completed",
    "failed": "video.failed",
    "progress": "video.progress",
}
_ENDS = {"video.completed": "completed", "video.failed": "failed"}
"""The events that end a video."""
# In lower case, with underscores. What is none of these is unknown, and says nothing about an end.
_STATUSES = {
    "completed": frozenset({"completed", "succeeded", "success", "done", "finished"}),
    "failed": frozenset({"failed", "failure", "cancelled", "canceled", "expired", "rejected", WATCH_EXPIRED}),
    "progress": frozenset(
        {
            *("queued", "in_progress", "processing", "pending", "running", "started", "starting"),
            *("not_start", "not_started", "submitted", "waiting", "preparing", "generating", "in_queue"),
        }
    ),
}


_USUAL_LIFETIME_MS = 3600_000


def is_event(payload: Payload) -> bool:
    """Whether it is one of the provider's events, which name a video and say no more."""
    return payload.get("object") == "event" or (
        isinstance(payload.get("type"), str) and isinstance(payload.get("data"), dict)
    )


def news_of(payload: Payload, admission: Admission, body: bytes | None, digests: Digests) -> News:
    """Say whose video it is and what happened to it; what is neither event nor video is kept as unknown.

    Raise BadBody for an id or a status that can't be kept.
    """
    if is_event(payload):
        return _news_of_event(payload, admission, body, digests)
    asked = admission.request_id or None
    own = fields.identifier(payload.get("id"), "id") if _is_video(payload) else None
    is_other = own is not None and asked is not None and own != asked
    video_id = own or fields.identifier(asked, "the id") or _checksum(body, digests)
    what, video = _what(payload), _video_of_object(payload)
    fields.word(video.status or "", "status")
    return News(
        identity=video_id,
        what=what,
        type=_TYPES.get(what, "video.unknown"),
        video_id=video_id,
        status=video.status,
        progress=video.progress,
        title=video.title,
        warnings=(*admission.warnings, *(("other_id",) if is_other else ())),
        content=_content(video) if what == "completed" else None,
        expires_at=_milliseconds(video.expires_at) if what == "completed" else None,
    )


def video_of(payload: Payload) -> Video:
    """Normalise an event or a video object; a field of a wrong type counts as not given."""
    if not is_event(payload):
        return _video_of_object(payload)
    kind, data = fields.text(payload.get("type")), _data(payload)
    if kind not in _ENDS:
        return Video(status=kind)
    return Video(id=fields.identity(data.get("id")), status=_status_of_event(payload))


def content_id(payload: Payload) -> str | None:
    """The id under which the content of a finished video is asked for; None when it is not finished."""
    if is_event(payload):
        is_finished = payload.get("type") == "video.completed"
        return fields.identity(_data(payload).get("id")) if is_finished else None
    return fields.identity(payload.get("id")) if _what(payload) == "completed" else None


def watch_expired(video_id: str, reason: str) -> Payload:
    """A video object of a failure that the receiver itself has noticed."""
    error: Payload = {"code": WATCH_EXPIRED, "message": reason}
    return {"id": video_id, "object": "video", "status": WATCH_EXPIRED, "error": error}


def _news_of_event(payload: Payload, admission: Admission, body: bytes | None, digests: Digests) -> News:
    kind = fields.word(fields.text(payload.get("type")) or "", "type")
    video_id = fields.identifier(_data(payload).get("id"), "data.id")
    if kind in _ENDS and video_id is not None:
        what, status = _ENDS[kind], _status_of_event(payload)
        expires_at = _usual_expiry(payload) if what == "completed" else None
        return News(
            *(video_id, what, _TYPES[what], video_id, status),
            warnings=admission.warnings,
            expires_at=expires_at,
        )
    own = fields.identifier(admission.request_id or payload.get("id"), "id") or _checksum(body, digests)
    return News(own, f"other:{kind}", "video.unknown", own, kind, warnings=admission.warnings)


def _data(payload: Payload) -> Payload:
    data = payload.get("data")
    return data if isinstance(data, dict) else {}


def _status_of_event(payload: Payload) -> str | None:
    return fields.text(_data(payload).get("status")) or str(payload.get("type")).removeprefix("video.")


def _usual_expiry(payload: Payload) -> int | None:
    """An event does not say how long its video can be had; until that is looked up, nobody should dawdle."""
    told_at = _time(payload, "created_at")
    return None if told_at is None else (_milliseconds(told_at) or 0) + _USUAL_LIFETIME_MS


def _is_video(payload: Payload) -> bool:
    """Gateways leave `object` out, or write a longer word; another object's id is no video's."""
    return str(payload.get("object") or "video").startswith("video")


def _what(payload: Payload) -> str:
    status = payload.get("status")
    if not isinstance(status, str):
        return "other:"
    if _is_video(payload):
        plain = status.lower().replace("-", "_").replace(" ", "_")
        for what, words in _STATUSES.items():
            if plain in words:
                return what
    return f"other:{status}"


def _video_of_object(payload: Payload) -> Video:
    progress = payload.get("progress")
    return Video(
        id=fields.identity(payload.get("id")) if _is_video(payload) else None,
        status=fields.text(payload.get("status")),
        progress=fields.number(progress.rstrip("% ") if isinstance(progress, str) else progress),
        title=fields.text(payload.get("title")),
        url=fields.text(payload.get("url")) or None,
        model=fields.text(payload.get("model")),
        error=fields.failure((payload.get("error"),), message=payload.get("message")),
        created_at=_time(payload, "created_at"),
        completed_at=_time(payload, "completed_at"),
        expires_at=_time(payload, "expires_at"),
    )


def _time(payload: Payload, key: str) -> datetime | None:
    """Some write 0 for a time that is not known."""
    return fields.time(payload.get(key)) if payload.get(key) else None


def _content(video: Video) -> str | None:
    return f"url {video.url.partition('?')[0].partition('#')[0]}" if video.url else None


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)


def _checksum(body: bytes | None, digests: Digests) -> str:
    return "sha256:" + (digests.sha256 or hashlib.sha256(body or b"").hexdigest())
