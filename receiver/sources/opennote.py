"""Opennote's callbacks: four static headers, and the status object of its API as the body.

Facts: the provider's video guide and its published SDK (`opennote`). There is no signature and no
timestamp, so the key is the only secret and the body is believed as soon as the headers are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from urllib.parse import parse_qsl, quote

from pydantic import JsonValue

from receiver.model import EventType, Payload, Source, Video
from receiver.settings import OpennoteSettings
from receiver.sources import fields
from receiver.sources.base import (
    CONFIRM,
    WATCH_EXPIRED,
    Admission,
    ApiRequest,
    Denied,
    Digests,
    Headers,
    InlineVideo,
    LinkedVideo,
    News,
    VideoPlace,
)
from receiver.sources.verify import Redactor, digest, is_one_of

PLATFORM = b"opennote-api"
S3_BASE_URL = "https://videofs-opennote-us-east-1.s3.us-east-1.amazonaws.com"
ORIGIN = b"https://video.api.opennote.com"
CHECKED = (b"x-webhook-platform", b"x-origin", b"x-organization-id", b"x-api-key")
INLINE_PATH = ("response", "b64_video")

_IN_PROGRESS = frozenset({"pending", "queued", "in_progress", "processing", "running", "started"})
_FAILED = frozenset({"failed", "cancelled", "canceled", "expired", WATCH_EXPIRED})
# An object with one of these is about practice problems, whatever its status says.
_FOREIGN_KEYS = ("set_id", "total_problems")


class Opennote:
    """A configured organisation of Opennote."""

    kind = "opennote"
    receives_callbacks = True
    variants: tuple[str, ...] = ("video",)

    def __init__(self, name: str, settings: OpennoteSettings, *, redactor_key: bytes, max_body: int) -> None:
        self.name = name
        self.max_body = settings.max_body or max_body
        self._organization = settings.organization_id
        self._s3_base_url = settings.s3_base_url
        self._api_url = settings.api_url
        self._confirms = settings.confirm
        self._api_key = settings.api_keys[0].get_secret_value()
        keys = [key.get_secret_value().encode() for key in settings.api_keys]
        fixed = (PLATFORM, ORIGIN, settings.organization_id.encode())
        self._expected = [[digest(value)] for value in fixed] + [[digest(key) for key in keys]]
        self._together = [digest(b"\n".join((*fixed, key))) for key in keys]
        self._redactor = Redactor(redactor_key, known=keys)

    def admit(self, headers: Headers) -> Admission | Denied:
        """Compare the four headers; each must be there exactly once."""
        found: dict[bytes, bytes] = {}
        repeated: set[bytes] = set()
        request_id = None
        warnings: tuple[str, ...] = ()
        for name, value in headers:
            if name in CHECKED:
                if name in found:
                    repeated.add(name)
                found[name] = value
            elif name == b"x-request-id":
                if request_id is not None and request_id != value:
                    warnings = ("request_id_repeated",)
                request_id = value
        values = [found.get(name, b"") for name in CHECKED]
        # No header value can hold a line feed, so the four joined by it are unambiguous.
        if is_one_of(b"\n".join(values), self._together) and not repeated:
            if request_id is None or warnings:  # of two that differ, neither counts
                return Admission(warnings=warnings)
            return Admission(request_id.decode("latin-1"))
        return Denied(check=self._diagnose(values, found, repeated))

    def _diagnose(self, values: list[bytes], found: dict[bytes, bytes], repeated: set[bytes]) -> str:
        """Name every check that failed, never a value; all four are always compared."""
        failed = []
        for name, value, expected in zip(CHECKED, values, self._expected, strict=True):
            is_right = is_one_of(value, expected)
            label = name.decode()
            if name not in found:
                failed.append(f"{label} is missing")
            elif name in repeated:
                failed.append(f"{label} is given more than once")
            elif not value:
                failed.append(f"{label} is empty")
            elif not is_right:
                failed.append(f"{label} is wrong")
        return ", ".join(failed)

    def read(self, payload: Payload, admission: Admission, body: bytes | None, digests: Digests) -> News:
        """Say whose video it is and what happened to it."""
        own_id = fields.identifier(payload.get("video_id"), "video_id")
        foreign = own_id is None and any(key in payload for key in _FOREIGN_KEYS)
        if foreign:
            own_id = fields.identifier(payload.get("set_id"), "set_id")
        request_id = admission.request_id or None
        warnings = list(admission.warnings)
        if own_id is not None and request_id is not None and request_id != own_id:
            warnings.append("request_id_rewritten")
        video_id = own_id if own_id is not None else fields.identifier(request_id, "X-Request-Id")
        if video_id is None:
            video_id = "sha256:" + (digests.sha256 or hashlib.sha256(body or b"").hexdigest())
            warnings.append("no_id")
        what, event_type = _classify(payload, is_foreign=foreign)
        result = _result(payload)
        return News(
            # A problem set may have the id of a video, and is none.
            identity=f"{video_id}@{self._organization}{'/problem-set' if foreign else ''}",
            what=what,
            type=event_type,
            video_id=video_id,
            status=fields.text(payload.get("status")),
            progress=_progress(payload),
            title=fields.text(result.get("title")),
            warnings=tuple(warnings),
            content=_content(result, digests) if what == "completed" else None,
            expires_at=_expiry(fields.text(result.get("s3_url")) or "") if what == "completed" else None,
        )

    def place(self, payload: Payload, *, variant: str = "video") -> VideoPlace | None:
        """See `place_of`; links must lie below the configured base."""
        return place_of(payload, s3_base_url=self._s3_base_url) if variant in self.variants else None

    def first_job(self, type: EventType, via: str) -> str | None:  # noqa: A002 - the event's own word
        """None: what a callback says is believed when its headers are. With `confirm` the API is asked."""
        is_asked = self._confirms and via == "callback" and type in ("video.completed", "video.failed")
        return CONFIRM if is_asked else None

    def status_request(self, video_id: str) -> ApiRequest:
        """GET /v1/video/status/{video_id}, with the first of the live keys."""
        url = f"{self._api_url.rstrip('/')}/v1/video/status/{quote(video_id, safe='')}"
        return ApiRequest(url, self._api_url, headers={"Authorization": f"Bearer {self._api_key}"})

    def watch_expired(self, video_id: str, reason: str) -> Payload:
        """A status object that says so."""
        told: Payload = {"success": False, "status": WATCH_EXPIRED, "video_id": video_id}
        return {**told, "error": WATCH_EXPIRED, "message": reason}

    def sign(
        self, headers: Mapping[str, str], *, video_id: str, body: BinaryIO, at: datetime
    ) -> dict[str, str]:
        """The four headers with the first of the live keys; nothing of the body is in them."""
        delivery = headers.get("x-request-id", video_id)
        return callback_headers(self._organization, self._api_key, video_id=delivery)

    def fingerprint(self, headers: Headers) -> str:
        """Redact headers for keeping."""
        return self._redactor.to_json(headers)


def callback_headers(organization_id: str, api_key: str, *, video_id: str) -> dict[str, str]:
    """The headers of a callback, as the provider's guide documents them; for sending samples."""
    return {
        "Content-Type": "application/json",
        "X-Request-Id": video_id,
        "X-Webhook-Platform": PLATFORM.decode(),
        "X-Origin": ORIGIN.decode(),
        "X-Organization-Id": organization_id,
        "X-API-Key": api_key,
    }


def video_of(payload: Payload) -> Video:
    """Normalise a status object; a field of a wrong type counts as not given."""
    result = _result(payload)
    expiry = _expiry(fields.text(result.get("s3_url")) or "")
    return Video(
        id=fields.text(payload.get("video_id")) or None,
        status=fields.text(payload.get("status")),
        progress=_progress(payload),
        title=fields.text(result.get("title")),
        url=fields.text(result.get("s3_url")) or None,
        inline=_has_inline(result),
        transcript=fields.text(result.get("transcript")),
        sources=_sources(result.get("sources")),
        cost=fields.number(result.get("cost")),
        model=fields.text(result.get("model")),
        error=fields.failure((payload.get("error"), result.get("error")), message=payload.get("message")),
        completed_at=fields.time(result.get("timestamp")),
        expires_at=None if expiry is None else datetime.fromtimestamp(expiry // 1000, UTC),
    )


def place_of(payload: Payload, *, s3_base_url: str = S3_BASE_URL) -> VideoPlace | None:
    """Inline before link: the inline video is here already, and no network can lose it."""
    video = video_of(payload)
    if video.inline:
        return InlineVideo(path=INLINE_PATH)
    return LinkedVideo(url=video.url, base=s3_base_url) if video.url else None


def _classify(payload: Payload, *, is_foreign: bool) -> tuple[str, EventType]:
    status = payload.get("status")
    if not isinstance(status, str):
        return "other:", "video.unknown"
    fields.word(status, "status")
    if is_foreign:
        return f"other:{status}", "video.unknown"
    if status == "completed":
        return "completed", "video.completed"
    if status in _FAILED:
        return "failed", "video.failed"
    if status in _IN_PROGRESS:
        return "progress", "video.progress"
    return f"other:{status}", "video.unknown"


def _has_inline(result: Payload) -> bool:
    inline = result.get("b64_video")
    return bool(inline) and isinstance(inline, (str, dict))


def _content(result: Payload, digests: Digests) -> str | None:
    """What a contradiction would differ in."""
    if _has_inline(result):
        checksum = digests.strings.get(INLINE_PATH)
        return f"inline {checksum or hashlib.sha256(str(result['b64_video']).encode()).hexdigest()}"
    url = fields.text(result.get("s3_url"))
    return f"url {url.partition('?')[0].partition('#')[0]}" if url else None


def _expiry(url: str) -> int | None:
    """When a link that is signed for S3 (AWS Signature Version 4, query string) stops working, in ms."""
    query = url.partition("?")[2]
    if "X-Amz-Expires=" not in query:
        return None
    signed = dict(parse_qsl(query))
    try:
        signed_at = datetime.strptime(signed.get("X-Amz-Date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        expires_at = signed_at + timedelta(seconds=int(signed["X-Amz-Expires"]))
    except (ValueError, OverflowError):
        return None
    return int(expires_at.timestamp()) * 1000


def _result(payload: Payload) -> Payload:
    response = payload.get("response")
    return response if isinstance(response, dict) else {}


def _progress(payload: Payload) -> float | None:
    """The API's reference calls it completion_percentage, the guide's example progress."""
    percentage = payload.get("completion_percentage")
    return fields.number(payload.get("progress") if percentage is None else percentage)


def _sources(value: JsonValue) -> tuple[Source, ...]:
    items = value if isinstance(value, list) else []
    return tuple(
        Source(url=fields.text(item.get("url")), content=fields.text(item.get("content")))
        for item in items
        if isinstance(item, dict)
    )
