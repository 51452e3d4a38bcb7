"""What `context.http` is: requests to hosts that the handler's author names, as safe as downloads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from json import dumps, loads

from receiver import egress
from receiver.errors import Hopeless, Unfinished
from receiver.fetch import Fetcher
from receiver.model import Json
from receiver.units import duration, size


@dataclass(frozen=True, slots=True)
class Response:
    """The whole answer to a handler's request."""

    status: int
    """Whatever the other side answered; no status raises."""
    headers: Mapping[str, str]
    """Names in lower case; values that were sent several times are joined by ", "."""
    content: bytes
    """The body, as it came."""

    def json(self) -> Json:
        """Parse the body as JSON. Raise ValueError."""
        return loads(self.content)


class SafeClient:
    """Sends requests for handlers.

    https to public addresses only; when the URL itself names a loopback host, that host only, and
    plain http too. No proxies, no redirects, no compression, no cookies.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: Json = None,
        timeout: str | float | timedelta = "30s",
        max_bytes: str | int = "10MiB",
    ) -> Response:
        """Send a request and return the answer, whatever its status.

        `json`, unless None, is sent as the body. `timeout` is for all of it. Raise Hopeless for a
        URL or header that can't be sent and for an answer over `max_bytes`, Unfinished for whatever
        the network does.
        """
        target, limit = egress.parse(url), size(max_bytes)
        sent = dict(headers or {})
        if json is not None:
            content = dumps(json, ensure_ascii=False, allow_nan=False).encode()
            sent = {"Content-Type": "application/json"} | sent
        try:
            async with (
                asyncio.timeout(duration(timeout).total_seconds()),
                self._fetcher.exchange(method.upper(), target, sent, content) as answer,
            ):
                body = await answer.read(limit=limit)
        except TimeoutError:
            raise Unfinished("the request took longer than its timeout") from None
        if len(body) > limit:
            raise Hopeless("the answer is larger than the limit")
        return Response(answer.status, answer.headers, body)

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: str | float | timedelta = "30s",
        max_bytes: str | int = "10MiB",
    ) -> Response:
        """Send a GET request; see `request`."""
        return await self.request("GET", url, headers=headers, timeout=timeout, max_bytes=max_bytes)

    async def post(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: Json = None,
        timeout: str | float | timedelta = "30s",
        max_bytes: str | int = "10MiB",
    ) -> Response:
        """Send a POST request; see `request`."""
        return await self.request(
            "POST", url, headers=headers, content=content, json=json, timeout=timeout, max_bytes=max_bytes
        )
