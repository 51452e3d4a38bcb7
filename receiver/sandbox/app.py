"""Puts the sandbox together: one application with every stand-in, sharing jobs, files and callbacks."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx
from starlette.applications import Starlette

from receiver.sandbox import control, files
from receiver.sandbox.backstage import Backstage
from receiver.sandbox.callbacks import Callbacks
from receiver.sandbox.gateway import COMPATIBLE, OPENAI, VideosApi
from receiver.sandbox.hooks import Endpoint
from receiver.sandbox.jobs import VideoJobs
from receiver.sandbox.mischief import Luck
from receiver.sandbox.opennote import OpennoteApi
from receiver.sandbox.options import Options, Tell, silent
from receiver.sandbox.refusals import not_served
from receiver.sandbox.runner import Runner
from receiver.sandbox.turnstile import Turnstile
from receiver.sandbox.videos import VideoMaker, find_ffmpeg


def create_app(
    options: Options, *, tell: Tell = silent, find: Callable[[], str | None] = find_ffmpeg
) -> Starlette:
    """Build the application; `options.port` must be the port that it will be reached at.

    `find` gives the path of an ffmpeg, or None to do without. Files and jobs live from the
    application's start-up to its shutdown.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="receiver-sandbox-") as directory:
            # No proxies and no redirects: either would carry a callback beyond loopback. Its timeouts are
            # off because each callback has a deadline of its own.
            client = httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=httpx.Timeout(None))
            async with client:
                jobs = VideoJobs(clock=_now, new_id=lambda: str(uuid4()), behaviour=options.behaviour)
                luck = Luck()
                callbacks = Callbacks(client, clock=_now, luck=luck, tell=tell)
                maker = VideoMaker(Path(directory), find=find)
                endpoint = Endpoint(options.webhook_url, options.webhook_secrets)
                async with Runner(jobs, maker, callbacks, luck=luck, tell=tell) as runner:
                    turnstile = Turnstile(jobs, luck=luck)
                    backstage = Backstage(
                        options, jobs, runner, turnstile, endpoint, luck=luck, tell=tell, new_id=_hexadecimal
                    )
                    app.router.routes[:] = [
                        *OpennoteApi(backstage).routes(),
                        *VideosApi(OPENAI, backstage).routes(),
                        *VideosApi(COMPATIBLE, backstage).routes(),
                        *files.routes(jobs, luck=luck),
                        *control.routes(jobs, endpoint=endpoint, luck=luck, base_url=options.base_url),
                    ]
                    yield

    return Starlette(lifespan=lifespan, exception_handlers={404: not_served, 405: not_served})


def _hexadecimal() -> str:
    return uuid4().hex


def _now() -> datetime:
    return datetime.now(UTC)
