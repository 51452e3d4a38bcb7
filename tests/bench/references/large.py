"""References for large bodies: thrown away, written to a file and synced, or parsed and decoded in memory."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_FOLDER = os.environ["BENCH_FOLDER"]


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def _accept(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"21")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"status":"accepted"}'})


async def sink(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Throw the body away."""
    async for _ in _chunks(receive):
        pass
    await _accept(send)


async def synced(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Write the body to a file as it comes, and sync it."""
    with tempfile.NamedTemporaryFile(dir=_FOLDER, delete=False) as file:
        async for chunk in _chunks(receive):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    await _accept(send)


async def _decode(request: Request) -> Response:
    news = await request.json()
    if request.method == "POST":
        video = base64.b64decode(news["response"]["b64_video"])
        Path(_FOLDER, f"{news['video_id']}.mp4").write_bytes(video)  # noqa: ASYNC240 - as many write it
    return JSONResponse({"status": "accepted"})


decoding = Starlette(routes=[Route("/webhooks/opennote", _decode, methods=["POST"])])
