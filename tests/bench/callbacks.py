"""The callbacks that all programs are sent: 1.2 KB about a finished video, or one that comes inline."""

from __future__ import annotations

import json
import secrets

ORGANIZATION = "org_bench"
KEY = "key_bench_0123456789abcdef"
PATH = "/webhooks/opennote"
CONNECTIONS = 64
ID_MARK = "@ID@"
_ID_LENGTH = 36
_BODY_BYTES = 1200


def headers(length: int, video_id: str) -> dict[str, str]:
    """The documented headers, with those that HTTP wants."""
    return {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(length),
        "X-Request-Id": video_id,
        "X-Webhook-Platform": "opennote-api",
        "X-Origin": "https://video.api.opennote.com",
        "X-Organization-Id": ORGANIZATION,
        "X-API-Key": KEY,
    }


def head(length: int, video_id: str) -> bytes:
    """Request line and headers."""
    lines = [
        f"POST {PATH} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers(length, video_id).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def body_template() -> str:
    """A body of 1.2 KB, once the mark stands for an id."""
    response = {
        "success": True,
        "s3_url": f"https://videofs-opennote-us-east-1.s3.us-east-1.amazonaws.com/videos/{ID_MARK}.mp4",
        "title": "Photosynthesis in Plants",
        "transcript": "",
        "sources": [{"url": "https://example.com/plants", "content": "Plants turn light into sugar."}],
        "cost": 0.5,
        "model": "picasso",
        "timestamp": "2026-01-01T00:00:00Z",
    }
    body = {
        "success": True,
        "status": "completed",
        "completion_percentage": 100,
        "video_id": ID_MARK,
        "response": response,
    }
    missing = _BODY_BYTES - len(_filled(json.dumps(body)))
    response["transcript"] = ("Light falls on a leaf, and the leaf makes sugar of it. " * 30)[:missing]
    return json.dumps(body)


def request_template() -> str:
    """A whole request with marks where its id goes; every id is equally long."""
    body = body_template()
    return head(len(_filled(body)), ID_MARK).decode() + body


def _filled(template: str) -> str:
    return template.replace(ID_MARK, "0" * _ID_LENGTH)


def new_run() -> str:
    """What tells the ids of one load from those of another: 18 characters."""
    return secrets.token_hex(9)


def video_id(run: str, number: int) -> str:
    """The id of the nth request of a run. They are spread like random ones, as those of a provider are."""
    return f"{number * 2654435761 % 2**32:08x}-{run}-{number:08x}"


def inline_parts(run: str) -> tuple[str, bytes, bytes]:
    """An id, and what stands before and behind the base64 in the body of an inline video."""
    name = video_id(run, 1)
    before = f'{{"success": true, "status": "completed", "video_id": "{name}", "response": {{"b64_video": "'
    return name, before.encode(), b'", "success": true, "title": "Photosynthesis in Plants"}}'
