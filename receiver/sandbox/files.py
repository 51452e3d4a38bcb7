"""An S3-style file host: finished videos by key, ETag, one byte range, errors in XML."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from receiver.sandbox.callbacks import slowly
from receiver.sandbox.jobs import Provider, VideoJob, VideoJobs
from receiver.sandbox.mischief import Luck
from receiver.sandbox.videos import MediaFile

_PREFIX = "/videofs"
_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.ASCII | re.IGNORECASE)


def key_url(base_url: str, job: VideoJob) -> str:
    """Say where the file of a job is, once it is completed."""
    return f"{base_url}{_PREFIX}/{job.id}.mp4"


def routes(jobs: VideoJobs, *, luck: Luck) -> list[Route]:
    """Serve the files of the jobs whose client asked for a link, as whole and as fast as luck has it."""

    async def get(request: Request) -> Response:
        key = request.path_params["key"]
        is_key = key.endswith(".mp4")
        job = jobs.find(key.removesuffix(".mp4"), provider=Provider.OPENNOTE) if is_key else None
        if job is None or job.order.inline or job.video is None or luck.strikes("missing", job):
            return _error(404, "NoSuchKey", f"There is no object with the key {quote(key)}.")
        if luck.strikes("expired", job):
            return _expired(job)
        return await send(request, job.video, Serving.drawn(job, luck))

    return [Route(f"{_PREFIX}/{{key:path}}", get, methods=["GET", "HEAD"])]


def _invalid_range(size: int) -> Response:
    unsatisfied = {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}
    return _error(416, "InvalidRange", "The range does not lie within the object.", unsatisfied)


@dataclass(frozen=True, slots=True)
class Serving:
    """How a file is given away."""

    modified_at: datetime
    is_cut: bool = False
    """Whether half of it is all there comes."""
    seconds: float = 0.0
    """How long it takes."""
    refuse_range: Callable[[int], Response] = _invalid_range
    """Answers a range that a file of this size does not have."""

    @classmethod
    def drawn(
        cls, job: VideoJob, luck: Luck, *, refuse_range: Callable[[int], Response] = _invalid_range
    ) -> Serving:
        """Have luck decide for the next download of a job that has ended."""
        turn, job.downloads = job.downloads, job.downloads + 1
        return cls(
            job.finished_at or job.created_at,
            is_cut=luck.strikes("truncated", job, turn=turn),
            seconds=job.mischief.slow_seconds if luck.strikes("slow", job, turn=~turn) else 0.0,
            refuse_range=refuse_range,
        )


async def send(request: Request, file: MediaFile, serving: Serving) -> Response:
    """Answer with a file, or the range of it that a GET asks for (RFC 9110, section 14)."""
    headers = {
        "ETag": f'"{file.md5}"',
        "Last-Modified": http_date(serving.modified_at),
        "Accept-Ranges": "bytes",
        "Content-Type": file.media_type,
    }
    span = _asked_for(request, headers, file.bytes)
    if span is None:
        return await _answer(200, headers, file.path, range(file.bytes), request.method, serving)
    if not span:
        return serving.refuse_range(file.bytes)
    headers["Content-Range"] = f"bytes {span[0]}-{span[-1]}/{file.bytes}"
    return await _answer(206, headers, file.path, span, request.method, serving)


def http_date(moment: datetime) -> str:
    """Write an aware UTC time as HTTP does, to the second."""
    return format_datetime(moment, usegmt=True)


def byte_range(header: str, size: int) -> range | None:
    """Read a Range header for a file of `size` bytes.

    None when it is to be ignored: another unit, several ranges (S3 has no multipart answers),
    or nonsense. An empty range when no byte of it lies within the file.
    """
    match = _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return range(max(0, size - int(match[2])), size)
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    return range(first, min(last + 1, size))


def _asked_for(request: Request, headers: dict[str, str], size: int) -> range | None:
    wanted = request.headers.get("range")
    if wanted is None or request.method != "GET":
        return None
    # A range of another version would be stitched onto the wrong file: then send all of it.
    validator = request.headers.get("if-range")
    if validator is not None and validator not in (headers["ETag"], headers["Last-Modified"]):
        return None
    return byte_range(wanted, size)


async def _answer(
    status: int, headers: dict[str, str], path: Path, span: range, method: str, serving: Serving
) -> Response:
    content = b"" if method == "HEAD" else await asyncio.to_thread(_read, path, span)
    announced = headers | {"Content-Length": str(len(span))}
    if not content or not (serving.is_cut or serving.seconds):
        return Response(content, status_code=status, headers=announced)
    given = content[: len(content) // 2] if serving.is_cut else content
    return _Unhurried(given, serving, status_code=status, headers=announced)


class _Unhurried(Response):
    """An answer that takes its time; the server closes the connection when it is cut."""

    def __init__(self, content: bytes, serving: Serving, **more: Any) -> None:
        super().__init__(content, **more)
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in slowly(bytes(self.body), self._serving.seconds):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not self._serving.is_cut:
            await send({"type": "http.response.body", "body": b""})


def _read(path: Path, span: range) -> bytes:
    with path.open("rb") as file:
        file.seek(span.start)
        return file.read(len(span))


def _expired(job: VideoJob) -> Response:
    at = job.finished_at or job.created_at
    more = f"<X-Amz-Expires>300</X-Amz-Expires><Expires>{at.isoformat()}</Expires>"
    return _error(403, "AccessDenied", "Request has expired", more=more)


def _error(
    status: int, code: str, message: str, headers: dict[str, str] | None = None, *, more: str = ""
) -> Response:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message>{more}<RequestId>{uuid4().hex}</RequestId></Error>"
    )
    return Response(text, status_code=status, headers=headers, media_type="application/xml")
