"""References that store nothing: an ASGI application and a Starlette route that read the body, no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"21")]


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Read the body, answer 200."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": b'{"status":"accepted"}'})


async def _take(request: Request) -> Response:
    await request.body()
    return JSONResponse({"status": "accepted"})


starlette = Starlette(routes=[Route("/webhooks/opennote", _take, methods=["POST"])])
