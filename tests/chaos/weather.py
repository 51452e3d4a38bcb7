"""A sandbox that misbehaves in every way but dropping, served by a thread, and a client of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread
from typing import Any, cast

import httpx

from receiver.sandbox.mischief import Mischief
from receiver.sandbox.options import Behaviour, Options
from receiver.sandbox.server import serving
from tests.acceptance.conftest import KEY, ORGANIZATION

MISCHIEF = Mischief(
    duplicate=0.2,
    late=0.2,
    reorder=0.2,
    wrong_credentials=0.15,
    failed=0.1,
    unknown_status=0.15,
    slow=0.1,
    truncated=0.3,
    expired=0.12,
    late_seconds=2.0,
    slow_seconds=1.0,
)
_PATIENCE = (0.25,) * 10_000
_LONG_TITLE = "A lesson that takes its time. " * 400
"""With it the body of a callback with an inline video is kept in a file."""


class Weather:
    """The sandbox, as whoever asks for videos sees it."""

    def __init__(self, url: str, mischief: Mischief) -> None:
        self.url = url
        self.mischief = mischief
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=30
        )

    def ask(self, number: int, hook: str) -> None:
        """Ask for a video: every other one by link, some with a body that is too long for a row."""
        title = _LONG_TITLE if number % 5 == 0 else f"Lesson {number}"
        order = {"script": "Rain.", "title": title, "upload_to_s3": number % 2 == 1, "webhook_url": hook}
        self._client.post("/v1/video/create", json=order).raise_for_status()

    def jobs(self) -> list[dict[str, Any]]:
        """Every video, in the order in which they were asked for."""
        return cast(list[dict[str, Any]], self._client.get("/_sandbox/jobs").json())

    def counts(self) -> dict[str, int]:
        """How often what went wrong."""
        return cast(dict[str, int], self._client.get("/_sandbox/counts").json())

    def close(self) -> None:
        """Hang up."""
        self._client.close()


@contextmanager
def brewing(mischief: Mischief) -> Iterator[Weather]:
    """Serve the sandbox until the end of the block."""
    behaviour = Behaviour(timedelta(0), _PATIENCE, timeout_seconds=5.0, mischief=mischief)
    options = Options(port=0, organization_id=ORGANIZATION, api_keys=(KEY,), behaviour=behaviour)
    began: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with serving(options, find=lambda: None) as url:
            began.set_result((url, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = Thread(target=asyncio.run, args=(serve(),), name="sandbox")
    thread.start()
    url, loop, stop = began.result(30)
    weather = Weather(url, mischief)
    try:
        yield weather
    finally:
        weather.close()
        loop.call_soon_threadsafe(stop.set)
        thread.join()
