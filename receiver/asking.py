"""Asking a provider's API: one request, whose answer is kept as a callback would be, in flat memory."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from receiver import egress
from receiver.arrivals import Receive
from receiver.bodies import Bodies
from receiver.body import ReceivedBody, read_body
from receiver.errors import (
    BadBody,
    Hopeless,
    Refused,
    TooLarge,
    Unavailable,
    Unfinished,
    Unreadable,
    VideoError,
)
from receiver.fetch import Fetcher, phrase, retry_after_seconds
from receiver.model import Payload
from receiver.sources.base import Admission, ApiRequest
from receiver.strict import parse_small

if TYPE_CHECKING:
    from receiver.transport import Answer

_ERROR_BYTES = 64 * 1024
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_OK = range(200, 300)
_LONGEST_POLL_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a provider answered."""

    status: int
    body: ReceivedBody | None
    """The JSON object of a 2xx answer; None for every other answer."""
    complaint: Payload = field(default_factory=dict)
    """The JSON object of any other answer; empty when it is none, or a large one."""
    retry_after_seconds: float | None = None
    """How long it asks to wait, at most an hour."""
    poll_after_seconds: float | None = None
    """When it wants to be asked again, by `openai-poll-after-ms`."""


async def ask(
    fetcher: Fetcher, request: ApiRequest, *, bodies: Bodies, limit: int, timeout_seconds: float = 60.0
) -> Told:
    """Send a request to a provider's API, and take an answer of at most `limit` bytes.

    Raise Hopeless for a request that can't be sent, Unreadable for an answer that is no JSON object or
    too large, Unreachable when nothing was sent, Unfinished for whatever else the network does, and
    Unavailable when the answer can't be kept.
    """
    target = egress.under(request.url, base=request.base)
    try:
        async with (
            asyncio.timeout(timeout_seconds),
            fetcher.exchange(
                request.method, target, request.headers, request.content, allow_private=True
            ) as answer,
        ):
            return await _told(answer, bodies, limit)
    except TimeoutError:
        raise Unfinished("the provider's API took too long to answer") from None


async def _told(answer: Answer, bodies: Bodies, limit: int) -> Told:
    wait = retry_after_seconds(answer.headers.get("retry-after"), now=datetime.now(UTC))
    poll_after = _milliseconds(answer.headers.get("openai-poll-after-ms"))
    if answer.status not in _OK:
        return Told(answer.status, None, await _complaint(answer), wait, poll_after)
    length = answer.headers.get("content-length", "")
    declared = int(length) if length.isascii() and length.isdigit() else None
    try:
        body = await read_body(
            _receiving(answer), admission=Admission(), limit=limit, bodies=bodies, declared=declared
        )
    except Unavailable:
        raise
    except TooLarge as error:
        raise Unreadable(f"the provider's answer is too large: {error.reason}") from error
    except BadBody as error:
        raise Unreadable(f"the provider's answer is no JSON object: {error.reason}") from error
    except Hopeless as error:
        raise Unreadable(f"the provider's answer can't be read: {error}") from error
    except Refused as error:
        raise Unfinished(f"the provider's answer did not arrive: {error.reason}") from error
    return Told(answer.status, body, {}, wait, poll_after)


def refused(told: Told, *, source: str) -> VideoError:
    """What an answer means that is not 2xx: whether asking again may help, and what an operator can do."""
    status = told.status
    said = phrase(status)
    if status == HTTPStatus.UNAUTHORIZED:
        return Unfinished(f"{said}: the api_key of [sources.{source}] is wrong")
    if status == HTTPStatus.FORBIDDEN:
        return Unfinished(f"{said}: the api_key of [sources.{source}] may not see this video")
    if status in _GONE:
        return Hopeless(f"{said}: the provider knows no such video; it was deleted, or is another account's")
    if status in _TRY_AGAIN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unfinished(f"{said} from the provider's API", retry_after_seconds=told.retry_after_seconds)
    return Hopeless(f"{said} from the provider's API")


def _receiving(answer: Answer) -> Receive:
    """Hand over the chunks of an answer as an ASGI server does those of a request."""
    chunks = aiter(answer)

    async def receive() -> dict[str, Any]:
        chunk = await anext(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return receive


async def _complaint(answer: Answer) -> Payload:
    try:
        return parse_small(await answer.read(limit=_ERROR_BYTES))
    except (BadBody, TooLarge, Hopeless, Unfinished):  # the status says enough
        return {}


def _milliseconds(text: str | None) -> float | None:
    """Read a header that gives a wait in milliseconds; None when it is odd."""
    try:
        wait = float(text or "") / 1000
    except ValueError:
        return None
    return min(wait, _LONGEST_POLL_SECONDS) if math.isfinite(wait) and wait >= 0 else None
