"""Sends callbacks to loopback addresses, again and again until one is answered with 2xx.

What a callback says is the business of the stand-in that sends it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import httpx

from receiver.sandbox.jobs import CallbackTry, Clock, VideoJob
from receiver.sandbox.mischief import Luck
from receiver.sandbox.options import Tell

_ANSWER_BYTES = 1024
_PIECES = 8


Credentials = Callable[[datetime], dict[str, str]]
"""Writes the headers by which a try that is sent at this moment is believed."""


def _none(_: datetime) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Message:
    """A callback as it goes over the wire."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    credentials: Credentials = field(default=_none, repr=False)
    forged: Credentials | None = field(default=None, repr=False)
    """Credentials for a try that nobody should believe."""


class Callbacks:
    """Delivers the callback of one job after the other; `client` must not use proxies or follow redirects."""

    def __init__(self, client: httpx.AsyncClient, *, clock: Clock, luck: Luck, tell: Tell) -> None:
        self._client = client
        self._clock = clock
        self._luck = luck
        self._tell = tell
        self._passed = asyncio.Event()
        """Set, and replaced, whenever a callback was delivered."""

    async def deliver(self, job: VideoJob, message: Message) -> None:
        """Send until it is answered with 2xx or the job's patience ends; each try is noted in the job."""
        if self._luck.strikes("drop", job):
            self._tell("callback.dropped", {"video_id": job.id, "url": message.url})
            return
        if self._luck.strikes("late", job):
            await asyncio.sleep(job.mischief.late_seconds * self._luck.share("how late", job))
        if self._luck.foresees("reorder", job):
            await self._step_aside(job)
        waits = (0.0, *job.behaviour.retry_seconds)
        for number, wait in enumerate(waits, start=1):
            await asyncio.sleep(wait)
            one = await self._try(job, message, number=number)
            if one.is_delivered:
                self._let_pass()
                if self._luck.strikes("duplicate", job):
                    await self._try(job, message, number=number + 1)
                return
        self._tell("callback.abandoned", {"video_id": job.id, "url": message.url, "tries": len(waits)})

    async def _step_aside(self, job: VideoJob) -> None:
        """Wait until a callback of another job was delivered, unless none is for some time."""
        passed = self._passed
        with suppress(TimeoutError):
            async with asyncio.timeout(job.mischief.late_seconds):
                await passed.wait()
            self._luck.counts["reorder"] += 1

    def _let_pass(self) -> None:
        self._passed.set()
        self._passed = asyncio.Event()

    async def _try(self, job: VideoJob, message: Message, *, number: int) -> CallbackTry:
        turn = len(job.callbacks)
        credentials = message.credentials
        if message.forged and self._luck.strikes("wrong_credentials", job, turn=turn):
            credentials = message.forged
        headers = message.headers | credentials(self._clock())
        body: bytes | AsyncIterator[bytes] = message.body
        if self._luck.strikes("slow", job, turn=turn):
            headers = headers | {"Content-Length": str(len(message.body))}
            body = slowly(message.body, job.mischief.slow_seconds)
        one = await self._send(message.url, headers, body, job.behaviour.timeout_seconds)
        job.callbacks.append(one)
        self._report(job, message, one, number=number)
        return one

    async def _send(
        self, url: str, headers: dict[str, str], body: bytes | AsyncIterator[bytes], timeout_seconds: float
    ) -> CallbackTry:
        sent_at = self._clock()
        try:
            await _require_loopback(httpx.URL(url))
            async with asyncio.timeout(timeout_seconds):
                status, answer = await self._post(url, headers, body)
        except TimeoutError:
            return CallbackTry(sent_at, error=f"no answer within {timeout_seconds:g}s")
        except (httpx.RequestError, OSError) as error:
            return CallbackTry(sent_at, error=f"{type(error).__name__}: {error}")
        return CallbackTry(sent_at, status=status, answer=answer)

    async def _post(
        self, url: str, headers: dict[str, str], body: bytes | AsyncIterator[bytes]
    ) -> tuple[int, str]:
        """Give the status, and the begin of the answer's body, which is for people only."""
        async with self._client.stream("POST", url, headers=headers, content=body) as answer:
            begin = b""
            with suppress(httpx.RequestError):
                async for chunk in answer.aiter_bytes(_ANSWER_BYTES):
                    begin = chunk
                    break
            return answer.status_code, begin.decode("utf-8", "replace")

    def _report(self, job: VideoJob, message: Message, one: CallbackTry, *, number: int) -> None:
        fields: dict[str, object] = {"video_id": job.id, "url": message.url, "try": number}
        fields |= {"error": one.error} if one.status is None else {"status": one.status}
        self._tell("callback.delivered" if one.is_delivered else "callback.failed", fields)


async def slowly(content: bytes, seconds: float) -> AsyncIterator[bytes]:
    """Give content in pieces, the last one after so many seconds."""
    step = max(1, -(-len(content) // _PIECES))
    for start in range(0, len(content), step):
        yield content[start : start + step]
        await asyncio.sleep(seconds / _PIECES)


async def _require_loopback(url: httpx.URL) -> None:
    # A hosts file can lead `localhost` anywhere, so the name alone is not believed.
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(url.host, url.port or 0, type=socket.SOCK_STREAM)
    if not all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found):
        raise OSError(f"{url.host} does not lead to loopback on this machine")
