"""The answers of the public endpoint: always a small JSON object, some with `Connection: close`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

import orjson

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")
RETRY_SECONDS = 5
GUARDED: RawHeaders = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""What goes with every answer that only some may see: nobody keeps it, nobody runs it, nobody frames it."""


class Answer:
    """A response that is ready to be sent: as the messages of ASGI, or as the bytes of HTTP/1.1."""

    __slots__ = ("_body", "_lines", "closes", "status")

    def __init__(
        self,
        status: int,
        content: dict[str, Any],
        *,
        closes: bool = False,
        headers: RawHeaders | None = None,
    ) -> None:
        self.status = status
        self.closes = closes
        """Whether the connection ends with it."""
        self._body = orjson.dumps(content)
        self._lines = [_JSON, (b"content-length", b"%d" % len(self._body)), *(headers or [])]

    async def send(self, send: Send) -> None:
        """Send it through an ASGI server."""
        lines = [*self._lines, _CLOSE] if self.closes else self._lines
        await send({"type": "http.response.start", "status": self.status, "headers": lines})
        await send({"type": "http.response.body", "body": self._body})

    def raw(self, date: bytes, *, closes: bool) -> bytes:
        """The whole response; `date` is its Date line, or nothing."""
        lines = [*self._lines, _CLOSE] if closes else self._lines
        status = b"HTTP/1.1 %d %b\r\n%b" % (self.status, HTTPStatus(self.status).phrase.encode(), date)
        return b"%b%b\r\n%b" % (status, b"".join(b"%b: %b\r\n" % line for line in lines), self._body)


class Receipted(Answer):
    """200 for a delivery that is durable, made with as little work as possible."""

    __slots__ = ()

    def __init__(self, status: str, event_id: str) -> None:
        self.status = 200
        self.closes = False
        self._body = b'{"status":"%b","event":"%b"}' % (status.encode(), event_id.encode())
        self._lines = [_JSON, (b"content-length", b"%d" % len(self._body))]

    def raw(self, date: bytes, *, closes: bool) -> bytes:
        """The whole response; the usual one without a detour."""
        if closes:
            return super().raw(date, closes=True)
        body = self._body
        return b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
            date,
            len(body),
            body,
        )


def retry_after(seconds: float) -> RawHeaders:
    """The header that asks a sender to come again."""
    return [(b"retry-after", b"%d" % max(1, round(seconds)))]


UNKNOWN_PATH = Answer(404, {"status": "error", "error": "there is nothing at this path"}, closes=True)
ONLY_POST = Answer(
    405,
    {"status": "error", "error": "only POST is answered here"},
    closes=True,
    headers=[(b"allow", b"POST")],
)
ONLY_GET = Answer(
    405, {"status": "error", "error": "only GET is answered here"}, closes=True, headers=[(b"allow", b"GET")]
)
UNAUTHORIZED = Answer(
    401, {"status": "rejected", "error": "the credentials are missing or wrong"}, closes=True
)
NOT_JSON = Answer(
    415,
    {"status": "error", "error": "the body must be application/json, without a Content-Encoding"},
    closes=True,
)
TOO_LARGE = Answer(
    413, {"status": "error", "error": "the body is larger than this source may send"}, closes=True
)
OUT_OF_ORDER = Answer(
    503,
    {"status": "refused", "error": "the delivery can't be recorded right now"},
    closes=True,
    headers=retry_after(RETRY_SECONDS),
)
