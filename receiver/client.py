"""What `context.http` is: requests to hosts that the handler's author names, as safe as downloads."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from json import dumps, loads
from typing import TYPE_CHECKING, BinaryIO

from receiver import egress
from receiver.errors import Hopeless, Unfinished
from receiver.fetch import Fetcher, retry_after_seconds
from receiver.model import Json
from receiver.units import duration, size
from receiver.upload import Upload

if TYPE_CHECKING:
    from receiver.transport import Answer

_LEFTOVER_BYTES = 64 * 1024
_LEFTOVER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Response:
    """The whole answer to a handler's request."""

    status: int
    """Whatever the other side answered; no status raises."""
    headers: Mapping[str, str]
    """Names in lower case; values that were sent several times are joined by ", "."""
    content: bytes
    """The body, as it came; empty when it was not asked for."""
    retry_after: timedelta | None = None
    """How long the other side asks to wait, at most an hour; None when it does not say."""

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
        content: bytes | BinaryIO | None = None,
        json: Json = None,
        timeout: str | float | timedelta = "30s",
        max_bytes: str | int | None = "10MiB",
        allow_private: bool = False,
    ) -> Response:
        """Send a request and return the answer, whatever its status.

        `json`, unless None, is sent as the body. A binary file as `content` is sent from where it
        stands to its end, in flat memory. `timeout` is for all of it. With `max_bytes=None` only
        status and headers are of interest, and nothing is wrong with the body. `allow_private` is for
        URLs of the operator's own, which may lead into private networks. Raise Hopeless for a URL or
        header that can't be sent and for an answer over `max_bytes`, Unfinished for whatever the
        network does.
        """
        target, limit = egress.parse(url), None if max_bytes is None else size(max_bytes)
        sent = dict(headers or {})
        if json is not None:
            content = dumps(json, ensure_ascii=False, allow_nan=False).encode()
            sent = {"Content-Type": "application/json"} | sent
        body = content if content is None or isinstance(content, bytes) else Upload(content)
        try:
            async with (
                asyncio.timeout(duration(timeout).total_seconds()),
                self._fetcher.exchange(
                    method.upper(), target, sent, body, allow_private=allow_private
                ) as answer,
            ):
                if limit is None:
                    await _drop(answer)
                    received = b""
                else:
                    received = await answer.read(limit=limit)
        except TimeoutError:
            raise Unfinished("the request took longer than its timeout") from None
        if limit is not None and len(received) > limit:
            raise Hopeless("the answer is larger than the limit")
        return Response(answer.status, answer.headers, received, _wait(answer))

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
        content: bytes | BinaryIO | None = None,
        json: Json = None,
        timeout: str | float | timedelta = "30s",
        max_bytes: str | int | None = "10MiB",
        allow_private: bool = False,
    ) -> Response:
        """Send a POST request; see `request`."""
        return await self.request(
            "POST",
            url,
            headers=headers,
            content=content,
            json=json,
            timeout=timeout,
            max_bytes=max_bytes,
            allow_private=allow_private,
        )


async def _drop(answer: Answer) -> None:
    """Read a little of a body that nobody wants, so that the connection can serve again."""
    with suppress(Hopeless, Unfinished, TimeoutError):
        async with asyncio.timeout(_LEFTOVER_SECONDS):
            await answer.read(limit=_LEFTOVER_BYTES)


def _wait(answer: Answer) -> timedelta | None:
    seconds = retry_after_seconds(answer.headers.get("retry-after"), now=datetime.now(UTC))
    return None if seconds is None else timedelta(seconds=seconds)
