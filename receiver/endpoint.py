"""The whole ASGI application: callbacks go to ingress, and health is told to whoever watches."""

from __future__ import annotations

import asyncio
import time

from receiver.answers import ONLY_GET, UNKNOWN_PATH, Answer, Receive, Scope, Send
from receiver.errors import StoreError, Unavailable
from receiver.ingress import PREFIX, Ingress
from receiver.store.base import Reads

_READY_CACHE_SECONDS = 1.0
_NOT_READY_CACHE_SECONDS = 0.05
_LIVE = Answer(200, {"status": "live"})
_READY = Answer(200, {"status": "ready"})
_NOT_READY = Answer(503, {"status": "not ready", "error": "starting"})


class Application:
    """The whole ASGI application: callbacks, and health for whoever watches."""

    def __init__(self, ingress: Ingress, *, store: Reads, needs_worker: bool) -> None:
        self._ingress = ingress
        self._store = store
        self._needs_worker = needs_worker
        self._ready: tuple[float, Answer] = (float("-inf"), _NOT_READY)
        self._asking = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        if path.startswith(PREFIX):
            await self._ingress(scope, receive, send)
        elif path not in ("/healthz", "/readyz"):
            await UNKNOWN_PATH.send(send)
        elif scope["method"] not in ("GET", "HEAD"):
            await ONLY_GET.send(send)
        elif path == "/healthz":
            await _LIVE.send(send)
        else:
            await (await self._readiness()).send(send)

    async def _readiness(self) -> Answer:
        """Ready means that it can write (it does) and that a worker lives; asked about once a second then."""
        async with self._asking:
            asked_at, answer = self._ready
            fresh = _READY_CACHE_SECONDS if answer is _READY else _NOT_READY_CACHE_SECONDS
            if time.monotonic() - asked_at > fresh:
                self._ready = (time.monotonic(), await self._ask())
            return self._ready[1]

    async def _ask(self) -> Answer:
        try:
            workers = await self._store.probe()
        except (Unavailable, StoreError) as error:
            return Answer(503, {"status": "not ready", "error": str(error)})
        if self._needs_worker and not workers:
            return Answer(503, {"status": "not ready", "error": "no worker is alive"})
        return _READY
