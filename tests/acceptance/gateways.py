"""A running sandbox, seen by a plain client of its OpenAI-style APIs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import httpx

from receiver.sandbox.mischief import Mischief
from receiver.sandbox.options import Behaviour, Options
from receiver.sandbox.server import serving
from tests.acceptance.hooks import SignedHook

KEY = "sk-openai-test"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OPENAI = "/v1/videos"
COMPATIBLE = "/compatible/v1/videos"
BOTH = (OPENAI, COMPATIBLE)
ORDER = {"model": "sora-2", "prompt": "Rain.", "size": "720x1280", "seconds": "4"}
"""Enough for either."""


class Gateways:
    """The sandbox and its client."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def create(self, path: str = OPENAI, **more: object) -> str:
        answer = await self.client.post(path, json=ORDER | more)
        assert answer.status_code == 200, answer.text
        return cast(str, answer.json()["id"])

    async def completed(self, path: str = OPENAI, **more: object) -> str:
        """Have a video made; give its id."""
        video_id = await self.create(path, **more)
        await self.until(video_id, lambda job: job["status"] == "completed")
        return video_id

    async def show(self, video_id: str, path: str = OPENAI) -> dict[str, Any]:
        return cast(dict[str, Any], (await self.client.get(f"{path}/{video_id}")).json())

    async def content(self, video_id: str, path: str = OPENAI, **more: Any) -> httpx.Response:
        return await self.client.get(f"{path}/{video_id}/content", **more)

    async def job(self, video_id: str) -> dict[str, Any]:
        jobs = (await self.client.get("/_sandbox/jobs")).json()
        return cast(dict[str, Any], next(job for job in jobs if job["video_id"] == video_id))

    async def counts(self) -> dict[str, int]:
        return cast(dict[str, int], (await self.client.get("/_sandbox/counts")).json())

    async def misbehave(self, **mischief: float) -> None:
        (await self.client.post("/_sandbox/misbehave", json=mischief)).raise_for_status()

    async def until(self, video_id: str, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until this is seen of a job, and give it."""
        deadline = asyncio.get_running_loop().time() + 20
        while not seen(job := await self.job(video_id)):
            assert asyncio.get_running_loop().time() < deadline, job
            await asyncio.sleep(0.01)
        return job


@asynccontextmanager
async def gateways(
    hook: SignedHook | None = None,
    *,
    delay: float = 0.0,
    lifetime: float = 3600.0,
    poll_after_ms: int | None = None,
    **mischief: Any,
) -> AsyncIterator[Gateways]:
    """Serve a sandbox with packaged files, which calls the hook."""
    behaviour = Behaviour(
        timedelta(seconds=delay),
        (0.01,) * 20,
        timeout_seconds=5.0,
        lifetime=timedelta(seconds=lifetime),
        mischief=Mischief(**mischief),
    )
    options = Options(
        port=0,
        api_keys=(KEY,),
        behaviour=behaviour,
        webhook_url=hook.url if hook else None,
        webhook_secrets=(SECRET,),
        poll_after_ms=poll_after_ms,
    )
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        serving(options, find=lambda: None) as base_url,
        httpx.AsyncClient(base_url=base_url, headers=headers, trust_env=False, timeout=10) as client,
    ):
        yield Gateways(client)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error object of an answer, which has the provider's four fields and no others."""
    [(name, error)] = answer.json().items()
    assert (name, set(error)) == ("error", {"message", "type", "param", "code"})
    return cast(dict[str, Any], error)
