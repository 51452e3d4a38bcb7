"""The answers of the public endpoint: always a small JSON object, some with `Connection: close`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
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


class Answer:
    """A response that is ready to be sent."""

    __slots__ = ("_body", "_start", "status")

    def __init__(
        self,
        status: int,
        content: dict[str, Any],
        *,
        closes: bool = False,
        headers: RawHeaders | None = None,
    ) -> None:
        body = orjson.dumps(content)
        lines = [_JSON, (b"content-length", b"%d" % len(body)), *(headers or [])]
        if closes:
            lines.append(_CLOSE)
        self.status = status
        self._start = {"type": "http.response.start", "status": status, "headers": lines}
        self._body = {"type": "http.response.body", "body": body}

    async def send(self, send: Send) -> None:
        """Send it."""
        await send(self._start)
        await send(self._body)


class Receipted(Answer):
    """200 for a delivery that is durable, made with as little work as possible.

    Beside what any ASGI server understands, the start message has the rest of the response as bytes
    (`ready`, everything behind the status line and the date); our own server writes those at once.
    """

    __slots__ = ()

    def __init__(self, status: str, event_id: str) -> None:
        body = b'{"status":"%b","event":"%b"}' % (status.encode(), event_id.encode())
        length = b"%d" % len(body)
        self.status = 200
        self._start = {
            "type": "http.response.start",
            "status": 200,
            "headers": [_JSON, (b"content-length", length)],
            "ready": b"content-type: application/json\r\ncontent-length: %b\r\n\r\n%b" % (length, body),
        }
        self._body = {"type": "http.response.body", "body": body}


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
