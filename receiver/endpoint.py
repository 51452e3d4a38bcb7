"""The whole ASGI application: callbacks go to ingress, questions to the API, health is for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from receiver.answers import ONLY_GET, UNKNOWN_PATH, Answer, Receive, Scope, Send
from receiver.errors import StoreError, Unavailable
from receiver.gate import Gate
from receiver.ingress import PREFIX, Ingress
from receiver.metrics import CONTENT_TYPE, Metrics
from receiver.settings.tables import AdminSettings
from receiver.store.base import Reads

API = "/api"
"""Whatever lies below is only for whoever has the admin token."""
_READY_CACHE_SECONDS = 1.0
_NOT_READY_CACHE_SECONDS = 0.05
_LIVE = Answer(200, {"status": "live"})
_READY = Answer(200, {"status": "ready"})
_PATHS = ("/healthz", "/readyz", "/metrics")
_NOT_READY = Answer(503, {"status": "not ready", "error": "starting"})


class Api(Protocol):
    """What answers below `/api`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of somebody who may ask."""
        ...

    def end_streams(self) -> None:
        """End what goes on; whoever may can ask again."""
        ...

    def close(self) -> None:
        """End what goes on, for good."""
        ...

    async def finish(self) -> None:
        """Let what runs by itself come to its end."""
        ...


class Application:
    """Callbacks, health for whoever watches, and what only the admin token opens."""

    def __init__(
        self,
        ingress: Ingress,
        *,
        store: Reads,
        needs_worker: bool,
        metrics: Metrics,
        admin: AdminSettings,
        gate: Gate,
        make_api: Callable[[], Api],
    ) -> None:
        """`make_api` is called in a thread, when somebody who may asks the API for the first time."""
        self._ingress = ingress
        self._metrics = metrics
        self._gate = gate
        self._is_public = admin.metrics_public
        self._make_api = make_api
        self._api: Api | None = None
        self.take = ingress.take
        self._store = store
        self._needs_worker = needs_worker
        self._ready: tuple[float, Answer] = (float("-inf"), _NOT_READY)
        self._asking = asyncio.Lock()
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        if path.startswith(PREFIX):
            await self._ingress(scope, receive, send)
        elif path == API or path.startswith(API + "/"):
            await self._enter(scope, receive, send)
        elif path not in _PATHS:
            await UNKNOWN_PATH.send(send)
        elif scope["method"] not in ("GET", "HEAD"):
            await ONLY_GET.send(send)
        elif path == "/healthz":
            await _LIVE.send(send)
        elif path == "/metrics":
            await self._show(scope, send)
        else:
            await (await self._readiness()).send(send)

    def admit(self, admin: AdminSettings) -> None:
        """Let look whom these settings name, from the next request on; nobody else goes on looking."""
        self._is_public = admin.metrics_public
        if self._gate.admit(admin) and self._api is not None:
            self._api.end_streams()

    def close(self) -> None:
        """End what would go on for ever, so that the server can finish."""
        if self._api is not None:
            self._api.close()

    async def finish(self) -> None:
        """Let what was begun through the API come to its end; nobody asks any more."""
        if self._api is not None:
            await self._api.finish()

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The API, to whom it is for; the first of them waits until it is there, and nobody else does."""
        refusal = self._gate.refusal(scope, what=API)
        if refusal is not None:
            return await refusal.send(send)
        async with self._making:
            if self._api is None:
                self._api = await asyncio.to_thread(self._make_api)
        return await self._api(scope, receive, send)

    async def _show(self, scope: Scope, send: Send) -> None:
        """The metrics, to whom they are for; where nobody may see them there is nothing."""
        refusal = None if self._is_public else self._gate.refusal(scope, what="/metrics")
        if refusal is not None:
            return await refusal.send(send)
        body = await self._metrics.text()
        lines = [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": body})
        return None

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
