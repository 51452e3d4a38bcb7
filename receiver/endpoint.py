"""The whole ASGI application: callbacks go to ingress; health and metrics are for whoever watches."""

from __future__ import annotations

import asyncio
import time

from receiver.answers import ONLY_GET, UNKNOWN_PATH, Answer, RawHeaders, Receive, Scope, Send
from receiver.errors import StoreError, Unavailable
from receiver.ingress import PREFIX, Ingress
from receiver.metrics import CONTENT_TYPE, Metrics
from receiver.settings.tables import AdminSettings
from receiver.sources.verify import digest, is_one_of
from receiver.store.base import Reads

_READY_CACHE_SECONDS = 1.0
_NOT_READY_CACHE_SECONDS = 0.05
_LIVE = Answer(200, {"status": "live"})
_READY = Answer(200, {"status": "ready"})
_PATHS = ("/healthz", "/readyz", "/metrics")
_NO_TOKEN = Answer(
    401,
    {"status": "rejected", "error": "the admin token is missing or wrong"},
    closes=True,
    headers=[(b"www-authenticate", b"Bearer")],
)
_NOT_READY = Answer(503, {"status": "not ready", "error": "starting"})


class Application:
    """The whole ASGI application: callbacks, and health for whoever watches."""

    def __init__(
        self, ingress: Ingress, *, store: Reads, needs_worker: bool, metrics: Metrics, admin: AdminSettings
    ) -> None:
        self._ingress = ingress
        self._metrics = metrics
        self.admit(admin)
        self.take = ingress.take
        self._store = store
        self._needs_worker = needs_worker
        self._ready: tuple[float, Answer] = (float("-inf"), _NOT_READY)
        self._asking = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope["path"]
        if path.startswith(PREFIX):
            await self._ingress(scope, receive, send)
        elif path not in _PATHS:
            await UNKNOWN_PATH.send(send)
        elif scope["method"] not in ("GET", "HEAD"):
            await ONLY_GET.send(send)
        elif path == "/healthz":
            await _LIVE.send(send)
        elif path == "/metrics":
            await self._show(scope["headers"], send)
        else:
            await (await self._readiness()).send(send)

    def admit(self, admin: AdminSettings) -> None:
        """Show metrics to whom these settings name, from the next request on."""
        self._is_public = admin.metrics_public
        token = admin.token.get_secret_value() if admin.token else ""
        self._tokens = [digest(token.encode())] if token else []

    async def _show(self, headers: RawHeaders, send: Send) -> None:
        """The metrics, to whom they are for; where nobody may see them there is nothing."""
        if not self._is_public:
            if not self._tokens:
                return await UNKNOWN_PATH.send(send)
            if not is_one_of(_bearer(headers), self._tokens):
                return await _NO_TOKEN.send(send)
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


def _bearer(headers: RawHeaders) -> bytes:
    """The token of `Authorization: Bearer` (RFC 6750, 2.1); nothing when it was not said exactly once."""
    said = [value for name, value in headers if name == b"authorization"]
    if len(said) != 1 or said[0][:7].lower() != b"bearer ":
        return b""
    return said[0][7:].strip()
