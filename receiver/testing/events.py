"""Events as the receiver would build them from real callbacks, one function for each kind.

`source` is the name of the configured sender, `kind` what it is: `opennote`, `openai` or
`openai-compatible`; without it, the kind of that name, else `opennote`.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from receiver import sources
from receiver.cli import sample
from receiver.event import Event, StoredBody
from receiver.model import INLINE_BODY_LIMIT
from receiver.scanner import Scanner
from receiver.settings import Settings
from receiver.sources.base import Admission, Digests, Source
from receiver.testing.videos import sample_video

RECEIVED_AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
VIDEO_ID = "vid_sample"
LINK = "https://videofs-opennote-us-east-1.s3.us-east-1.amazonaws.com/{}.mp4"

_TABLES: dict[str, dict[str, Any]] = {
    "opennote": {"kind": "opennote", "organization_id": "org_sample", "api_keys": ["key_sample"]},
    "openai": {"kind": "openai", "webhook_secrets": ["whsec_c2FtcGxl"], "api_key": "key_sample"},
    "openai-compatible": {
        "kind": "openai-compatible",
        "api_key": "key_sample",
        "api_url": "https://gateway.example.com/v1",
    },
}


def by_link(
    *, video_id: str = VIDEO_ID, url: str | None = None, source: str = "opennote", **more: Any
) -> Event:
    """A finished video (`video.completed`) that is to be fetched from `url`.

    `more` goes into the callback's `response`: title, transcript, sources (a list of objects with
    url and content), cost, model, timestamp.
    """
    link = LINK.format(video_id) if url is None else url
    return _sample("completed", video_id, source, {"s3_url": link, **more})


def inline(
    *, video_id: str = VIDEO_ID, video: bytes | None = None, source: str = "opennote", **more: Any
) -> Event:
    """A finished video (`video.completed`) that the callback itself carries; `more` as in `by_link`."""
    content = b64encode(sample_video() if video is None else video).decode()
    return _sample("completed", video_id, source, {"b64_video": content, **more})


def looked_up(*, video_id: str = VIDEO_ID, source: str = "openai", **more: Any) -> Event:
    """A finished video (`video.completed`) of OpenAI's API, whose content is asked for by its id.

    `more` goes into the provider's video object: model, created_at, expires_at (unix seconds) and others.
    """
    thin = {"id": "evt_sample", "object": "event", "type": "video.completed", "data": {"id": video_id}}
    found = {"id": video_id, "object": "video", "status": "completed", **more}
    return from_body(thin, source=source, kind="openai", request_id="wh_sample", found=found)


def failed(
    *,
    video_id: str = VIDEO_ID,
    code: str = "generation_failed",
    message: str = "a sample failure",
    source: str = "opennote",
) -> Event:
    """A video that could not be made (`video.failed`)."""
    return _sample("failed", video_id, source, None, error=code, message=message)


def progress(*, video_id: str = VIDEO_ID, percent: float = 40, source: str = "opennote") -> Event:
    """A video that is being made (`video.progress`)."""
    return _sample("progress", video_id, source, None, completion_percentage=percent)


def unknown(*, video_id: str = VIDEO_ID, status: str = "archived", source: str = "opennote") -> Event:
    """A status that the receiver does not know (`video.unknown`)."""
    return _sample("unknown", video_id, source, None, status=status)


def from_body(
    body: bytes | Mapping[str, Any],
    *,
    request_id: str | None = None,
    source: str = "opennote",
    kind: str | None = None,
    received_at: datetime = RECEIVED_AT,
    found: Mapping[str, Any] | None = None,
) -> Event:
    """Build the event that a callback with this body is; `receiver show EVENT --raw` writes such bodies.

    `request_id` is its X-Request-Id, or webhook-id. `found` is what its provider said of the video when
    it was looked up, before any handler ran. Its id depends on source and event key only. Raise BadBody for
    what the receiver would answer with 400.
    """
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    # A body that the receiver keeps in its row has no long strings, whatever its strings are.
    scanner = Scanner()
    scanner.feed(raw)
    scanned = scanner.finish()
    digests = Digests(hashlib.sha256(raw).hexdigest(), scanned.checksums)
    small = raw if len(raw) <= INLINE_BODY_LIMIT else None
    believed = sender(source, kind=kind)
    news = believed.read(scanned.payload, Admission(request_id), small, digests)
    video = sources.video_of(believed.kind, scanned.payload if found is None else dict(found))
    return Event(
        id="evt_" + hashlib.sha256(f"{source} {news.key}".encode()).hexdigest()[:16],
        source=source,
        type=news.type,
        key=news.key,
        received_at=received_at,
        warnings=news.warnings,
        video=video if video.id else video.model_copy(update={"id": news.video_id}),
        payload=scanned.payload,
        body=StoredBody(raw=raw, strings=scanned.strings),
    )


def sender(name: str, *, kind: str | None = None) -> Source:
    """A configured sender with made-up credentials."""
    table = _TABLES[kind or (name if name in _TABLES else "opennote")]
    tables = {"sources": {name: table}, "folder": Path("/"), "file": None}
    return sources.configured(Settings.model_validate(tables))[name]


def _sample(
    what: str, video_id: str, source: str, response: Mapping[str, Any] | None, **changes: Any
) -> Event:
    pieces = sample.opennote(what, video_id=video_id, video=None, url=None, timestamp=RECEIVED_AT.isoformat())
    payload = json.loads(b"".join(pieces)) | changes
    if response is not None:
        payload["response"] |= response
    return from_body(payload, source=source)
