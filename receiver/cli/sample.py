"""Sample callbacks: a provider's status object, with a video streamed into it as base64; a thin event."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

_MARK = "@@video@@"
_PIECE = 3 * 2**18  # a multiple of three bytes, so that each piece encodes without padding
_STATUS = {"completed": "completed", "failed": "failed", "progress": "pending", "unknown": "archived"}


@dataclass(frozen=True, slots=True)
class Sample:
    """A body to be sent, as pieces whose total length is known."""

    length: int
    before: bytes
    video: Path | None
    after: bytes
    is_encoded: bool = True
    """Whether the file goes out as base64, not as it is."""

    def __iter__(self) -> Iterator[bytes]:
        yield self.before
        if self.video is not None:
            with self.video.open("rb") as file:
                while piece := file.read(_PIECE):
                    yield base64.b64encode(piece) if self.is_encoded else piece
        yield self.after


def opennote(kind: str, *, video_id: str, video: Path | None, url: str | None, timestamp: str) -> Sample:
    """The status object of a video; `video` is a file to be carried inline, `url` a link."""
    status: dict[str, Any] = {"success": kind != "failed", "status": _STATUS[kind], "video_id": video_id}
    status["completion_percentage"] = 40 if kind == "progress" else 100
    if kind == "failed":
        status |= {"error": "generation_failed", "message": "a sample failure"}
    if kind == "completed":
        status["response"] = {
            "success": True,
            "s3_url": url,
            "b64_video": _MARK if video is not None else None,
            "title": "A sample video",
            "transcript": "This is what a sample sounds like.",
            "sources": [{"url": "https://example.com/source", "content": "A sample source."}],
            "cost": 0.1,
            "model": "picasso",
            "timestamp": timestamp,
        }
    before, _, after = json.dumps(status).partition(_MARK)
    encoded = 0 if video is None else 4 * -(-video.stat().st_size // 3)
    return Sample(len(before) + encoded + len(after), before.encode(), video, after.encode())


def openai(kind: str, *, video_id: str, at: int) -> bytes:
    """A thin event about a video; `at` is in unix seconds."""
    told = {"completed": "video.completed", "failed": "video.failed", "unknown": "video.archived"}[kind]
    event = {"id": f"evt_{video_id}", "object": "event", "created_at": at, "type": told}
    return json.dumps({**event, "data": {"id": video_id}}).encode()


def packaged_video() -> Path:
    """A few seconds of real video that ship with the package."""
    return Path(str(resources.files("receiver.sandbox").joinpath("sample.mp4")))
