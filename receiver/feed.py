"""Another receiver's API, as its reader: the stream of its events, their deliveries and their bodies."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import orjson

from receiver import egress
from receiver.copies import LONGEST_LINE
from receiver.errors import BadCopy, CommandFailed, Hopeless, NotFound, Unfinished, UsageError
from receiver.fetch import Fetcher, Pace, retry_after_seconds
from receiver.sse import Message, Messages

if TYPE_CHECKING:
    from receiver.transport import Answer

ROOT = "/api/v1"
SILENT_SECONDS = 15.0
"""A stream says something every few seconds; one that is silent for so long is dead."""
_ERROR_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose events are followed, and with which token."""

    url: str
    """Without a slash at its end."""
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are followed, and from where on."""

    origin: str
    filters: Mapping[str, str]
    since: str | None = None
    """From this time on, whatever was followed before; None = from the bookmark, or from now on."""

    @property
    def bookmark(self) -> str:
        """The name of the place: another one for each origin and each choice of events."""
        said = orjson.dumps([self.origin, dict(self.filters)], option=orjson.OPT_SORT_KEYS)
        return f"listen:{hashlib.sha256(said).hexdigest()[:32]}"


def origin_of(url: str, token: str) -> Origin:
    """Read the URL of a receiver, with or without the path of its API. Raise UsageError."""
    base = url.rstrip("/").removesuffix(ROOT).rstrip("/")
    try:
        parsed = egress.parse(base)
    except Hopeless as error:
        said = str(error).replace("the link's", "its").replace("the link", "it")
        raise UsageError(f"the URL of the other receiver: {said}") from None
    if parsed.query:
        raise UsageError("the URL of the other receiver: it has a query")
    return Origin(base, token)


class Feed:
    """Reads from one receiver; one per event loop, to be closed with `aclose()`.

    Whatever the network does, and a receiver that can't answer right now, raises Unfinished; a receiver
    that refuses for good raises CommandFailed.
    """

    def __init__(self, origin: Origin, *, max_bytes: int, silent_seconds: float = SILENT_SECONDS) -> None:
        self._origin = origin
        self._fetcher = Fetcher(max_bytes=max_bytes, pace=Pace(idle_seconds=silent_seconds))

    async def messages(
        self, *, after: str | None, parameters: Mapping[str, str], begun: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Message, None]:
        """The stream of events, after the message of some id; it does not end but by Unfinished.

        `begun` is called when there is a stream, whether or not it has anything to say.
        """
        headers = {} if after is None else {"Last-Event-ID": after}
        messages = Messages()
        async with self._asked("/stream", parameters, headers) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise Unfinished("what answers there is no receiver")  # a page, as proxies have them
            begun()
            async for chunk in answer:
                for message in messages.feed(chunk):
                    yield message
        raise Unfinished("the stream was ended")

    async def deliveries(self, events: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """The deliveries of at most 100 events, a line each; none of an event that is not there.

        They come in the order of the events. Raise BadCopy for a line without an end.
        """
        rest = b""
        async with self._asked("/deliveries", {"events": ",".join(events)}) as answer:
            async for chunk in answer:
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LONGEST_LINE:
                    raise BadCopy(f"it is longer than {LONGEST_LINE} bytes")
                for line in lines:
                    yield line
        if rest:
            raise Unfinished("the deliveries were cut off")

    async def body(self, event: str, sha256: str) -> AsyncGenerator[bytes, None]:
        """The body, over 64 KiB, of a delivery of an event. Raise NotFound."""
        async with self._asked(f"/events/{event}/raw", {"sha256": sha256}) as answer:
            async for chunk in answer:
                yield chunk

    @asynccontextmanager
    async def _asked(
        self, path: str, parameters: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Answer]:
        query = f"?{urlencode(parameters)}" if parameters else ""
        said = {"Authorization": f"Bearer {self._origin.token}", **(headers or {})}
        try:
            target = egress.under(f"{self._origin.url}{ROOT}{path}{query}", base=self._origin.url)
            async with self._fetcher.exchange("GET", target, said, allow_private=True) as answer:
                if answer.status != HTTPStatus.OK:
                    await _refuse(answer, is_event=path.startswith("/events/"))
                yield answer
        except Hopeless as error:
            raise CommandFailed(f"{self._origin.url} can't be read: {error}") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._fetcher.aclose()


async def _refuse(answer: Answer, *, is_event: bool) -> None:
    """Say what a status means for who reads."""
    said = await _error_in(answer)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        raise CommandFailed("the other receiver does not accept the token")
    if answer.status == HTTPStatus.NOT_FOUND and is_event and said:
        raise NotFound(said)
    if answer.status == HTTPStatus.NOT_FOUND:
        raise CommandFailed("the other receiver has no API at this URL; is its admin.token set?")
    if answer.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT) or answer.status >= 500:
        wait = retry_after_seconds(answer.headers.get("retry-after"), now=datetime.now(UTC))
        raise Unfinished(f"{answer.status}: {said or 'it can not answer now'}", retry_after_seconds=wait)
    if 300 <= answer.status < 400:
        raise CommandFailed(f"the other receiver answers {answer.status}: redirects are not followed")
    raise CommandFailed(f"the other receiver answers {answer.status}: {said or 'no reason'}")


async def _error_in(answer: Answer) -> str:
    """The reason that a receiver gives; empty when somebody else has answered."""
    try:
        said = orjson.loads(await answer.read(limit=_ERROR_BYTES))
    except (orjson.JSONDecodeError, Unfinished, Hopeless):
        return ""
    error = said.get("error") if isinstance(said, dict) else None
    return error[:200] if isinstance(error, str) and error.isprintable() else ""
