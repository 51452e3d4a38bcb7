"""Sends callbacks to loopback addresses, again and again until one is answered with 2xx.

What a callback says is the business of the stand-in that sends it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass, field

import httpx

from receiver.sandbox.jobs import CallbackTry, Clock, VideoJob
from receiver.sandbox.options import Tell, is_loopback


@dataclass(frozen=True, slots=True)
class Message:
    """A callback as it goes over the wire."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def problem_with(url: str) -> str | None:
    """Say why callbacks can't go to a URL; None when they can."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "is not a URL"
    if parsed.scheme not in ("http", "https") or not parsed.host:
        return "is not an absolute http or https URL"
    if parsed.port is not None and not 0 < parsed.port < 65536:
        return "has no possible port"
    if not is_loopback(parsed.host):
        return "does not lead to a loopback address, and the sandbox calls back nowhere else"
    return None


class Callbacks:
    """Delivers the callback of one job after the other; `client` must not use proxies or follow redirects."""

    def __init__(self, client: httpx.AsyncClient, *, clock: Clock, tell: Tell) -> None:
        self._client = client
        self._clock = clock
        self._tell = tell

    async def deliver(self, job: VideoJob, message: Message) -> None:
        """Send until it is answered with 2xx or the job's patience ends; each try is noted in the job."""
        waits = (0.0, *job.behaviour.retry_seconds)
        for number, wait in enumerate(waits, start=1):
            await asyncio.sleep(wait)
            one = await self._send(message, job.behaviour.timeout_seconds)
            job.callbacks.append(one)
            self._report(job, message, one, number=number)
            if one.is_delivered:
                return
        self._tell("callback.abandoned", {"video_id": job.id, "url": message.url, "tries": len(waits)})

    async def _send(self, message: Message, timeout_seconds: float) -> CallbackTry:
        sent_at = self._clock()
        try:
            await _require_loopback(httpx.URL(message.url))
            async with asyncio.timeout(timeout_seconds):
                status = await self._post(message)
        except TimeoutError:
            return CallbackTry(sent_at, error=f"no answer within {timeout_seconds:g}s")
        except (httpx.RequestError, OSError) as error:
            return CallbackTry(sent_at, error=f"{type(error).__name__}: {error}")
        return CallbackTry(sent_at, status=status)

    async def _post(self, message: Message) -> int:
        stream = self._client.stream("POST", message.url, headers=message.headers, content=message.body)
        async with stream as answer:  # only the status counts, so its body is left unread
            return answer.status_code

    def _report(self, job: VideoJob, message: Message, one: CallbackTry, *, number: int) -> None:
        fields: dict[str, object] = {"video_id": job.id, "url": message.url, "try": number}
        fields |= {"error": one.error} if one.status is None else {"status": one.status}
        self._tell("callback.delivered" if one.is_delivered else "callback.failed", fields)


async def _require_loopback(url: httpx.URL) -> None:
    # A hosts file can lead `localhost` anywhere, so the name alone is not believed.
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(url.host, url.port or 0, type=socket.SOCK_STREAM)
    if not all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found):
        raise OSError(f"{url.host} does not lead to loopback on this machine")
