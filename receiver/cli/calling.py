"""Asking a provider's API from a command: one request at a time, whose answer is kept nowhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from receiver.errors import CommandFailed, Hopeless, Unavailable, Unfinished

if TYPE_CHECKING:
    from receiver.asking import Told
    from receiver.model import Payload
    from receiver.orders import Endpoint
    from receiver.sources.base import ApiRequest

Send = Callable[["ApiRequest"], Awaitable["Told"]]
_ANSWER_SECONDS = 120.0
"""Gateways look at pictures before they answer."""
_LARGEST_ANSWER = 64 * 2**20


@asynccontextmanager
async def calling() -> AsyncIterator[Send]:
    """What sends a request, once, and takes the answer; see `asking.ask` for what it raises."""
    from receiver.asking import ask
    from receiver.bodies import Bodies
    from receiver.fetch import Fetcher, Pace

    fetcher = Fetcher(max_bytes=_LARGEST_ANSWER, pace=Pace(idle_seconds=_ANSWER_SECONDS))
    with TemporaryDirectory(prefix="receiver-") as folder:
        bodies = Bodies(Path(folder), reserve=0)
        try:
            yield partial(ask, fetcher, bodies=bodies, limit=_LARGEST_ANSWER, timeout_seconds=_ANSWER_SECONDS)
        finally:
            bodies.close()
            await fetcher.aclose()


async def answer(
    send: Send, request: ApiRequest, *, source: str, at: Endpoint, lacking: Mapping[int, str]
) -> Payload:
    """The object that a request is answered with. Raise CommandFailed, in one line.

    `lacking` says what it means when a provider does not have at all what was asked for, by status.
    """
    from receiver.orders.replies import failure

    try:
        told = await send(request)
    except (Unfinished, Hopeless, Unavailable) as error:
        raise CommandFailed(f"{source}: {error}") from error
    if told.body is not None:
        return told.body.payload
    if told.status in lacking:
        raise CommandFailed(f"{source}: {lacking[told.status]} ({told.status})")
    wait = told.retry_after_seconds
    line = failure(told.status, told.complaint, retry_after_seconds=wait, key=at.key)
    raise CommandFailed(f"{source}: {line}")
