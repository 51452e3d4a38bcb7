"""An S3-style file host: finished videos by key, ETag, one byte range, errors in XML."""

from __future__ import annotations

import asyncio
import re
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
from receiver.sandbox.jobs import VideoJob, VideoJobs
from receiver.sandbox.mischief import Luck

_PREFIX = "/videofs"
_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.ASCII | re.IGNORECASE)


def key_url(base_url: str, job: VideoJob) -> str:
    """Say where the file of a job is, once it is completed."""
    return f"{base_url}{_PREFIX}/{job.id}.mp4"


def routes(jobs: VideoJobs, *, luck: Luck) -> list[Route]:
    """Serve the files of the jobs whose client asked for a link, as whole and as fast as luck has it."""

    async def get(request: Request) -> Response:
        key = request.path_params["key"]
        job = jobs.find(key.removesuffix(".mp4")) if key.endswith(".mp4") else None
        if job is None or job.order.inline or job.video is None:
            return _error(404, "NoSuchKey", f"There is no object with the key {quote(key)}.")
        if luck.strikes("expired", job):
            return _expired(job)
        turn, job.downloads = job.downloads, job.downloads + 1
        is_cut = luck.strikes("truncated", job, turn=turn)
        seconds = job.mischief.slow_seconds if luck.strikes("slow", job, turn=~turn) else 0.0
        return await send(request, job, is_cut=is_cut, seconds=seconds)

    return [Route(f"{_PREFIX}/{{key:path}}", get, methods=["GET", "HEAD"])]


async def send(request: Request, job: VideoJob, *, is_cut: bool = False, seconds: float = 0.0) -> Response:
    """Answer with a completed job's file, or the range of it that a GET asks for (RFC 9110, section 14).

    It takes some `seconds`, and half of it is all there comes when it `is_cut`.
    """
    video, finished_at = job.video, job.finished_at
    if video is None or finished_at is None:
        raise ValueError(f"the job {job.id} is not completed")
    headers = {
        "ETag": f'"{video.md5}"',
        "Last-Modified": http_date(finished_at),
        "Accept-Ranges": "bytes",
        "Content-Type": "video/mp4",
    }
    span = _asked_for(request, headers, video.bytes)
    if span is None:
        whole = range(video.bytes)
        return await _answer(200, headers, video.path, whole, request.method, is_cut=is_cut, seconds=seconds)
    if not span:
        unsatisfied = {"Content-Range": f"bytes */{video.bytes}", "Accept-Ranges": "bytes"}
        return _error(416, "InvalidRange", "The range does not lie within the object.", unsatisfied)
    headers["Content-Range"] = f"bytes {span[0]}-{span[-1]}/{video.bytes}"
    return await _answer(206, headers, video.path, span, request.method, is_cut=is_cut, seconds=seconds)


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
    status: int,
    headers: dict[str, str],
    path: Path,
    span: range,
    method: str,
    *,
    is_cut: bool,
    seconds: float,
) -> Response:
    content = b"" if method == "HEAD" else await asyncio.to_thread(_read, path, span)
    announced = headers | {"Content-Length": str(len(span))}
    if not content or not (is_cut or seconds):
        return Response(content, status_code=status, headers=announced)
    given = content[: len(content) // 2] if is_cut else content
    return _Unhurried(given, seconds=seconds, is_cut=is_cut, status_code=status, headers=announced)


class _Unhurried(Response):
    """An answer that takes its time; the server closes the connection when it `is_cut`."""

    def __init__(self, content: bytes, *, seconds: float, is_cut: bool, **more: Any) -> None:
        super().__init__(content, **more)
        self._seconds = seconds
        self._is_cut = is_cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in slowly(bytes(self.body), self._seconds):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if not self._is_cut:
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
