"""Lets jobs take their time: makes the video, waits for its hour, calls back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from receiver.sandbox.callbacks import Callbacks, Message
from receiver.sandbox.images import picture
from receiver.sandbox.jobs import Provider, VideoJob, VideoJobs
from receiver.sandbox.mischief import Luck
from receiver.sandbox.options import Tell
from receiver.sandbox.videos import MediaFile, VideoMaker

Compose = Callable[[VideoJob], Awaitable[Sequence[Message]]]
"""Writes the callbacks of a finished job, in their order; none when nobody asked for them."""


class Runner:
    """Runs every started job in a task of its own; leaving it (`async with`) cancels those that are left."""

    def __init__(
        self, jobs: VideoJobs, maker: VideoMaker, callbacks: Callbacks, *, luck: Luck, tell: Tell
    ) -> None:
        self._jobs = jobs
        self._maker = maker
        self._callbacks = callbacks
        self._luck = luck
        self._tell = tell
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Runner:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, job: VideoJob, *, compose: Compose) -> None:
        """Begin with a job and return at once."""
        task = asyncio.create_task(self._run(job, compose), name=f"video {job.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, job: VideoJob, compose: Compose) -> None:
        await self._finish(job)
        if job.finished_at is not None:
            for message in await compose(job):
                await self._callbacks.deliver(job, message)
        job.is_over = True

    async def _finish(self, job: VideoJob) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + job.behaviour.delay.total_seconds()
        try:
            video = await self._maker.make(job.id)
            pictures = await self._pictures(job, video)
        except OSError as error:
            job.fail(f"the sandbox can't write the video: {error.strerror}", at=self._jobs.now())
        else:
            await asyncio.sleep(max(0.0, due - loop.time()))
            if self._luck.strikes("stuck", job):
                self._tell("job.stuck", {"video_id": job.id, "title": job.order.title})
                return
            if self._luck.strikes("failed", job):
                job.fail("The video could not be rendered.", at=self._jobs.now())
            else:
                job.complete(video, at=self._jobs.now(), pictures=pictures)
        self._tell(f"job.{job.status}", {"video_id": job.id, "title": job.order.title})

    async def _pictures(self, job: VideoJob, video: MediaFile) -> dict[str, MediaFile]:
        # Opennote has none.
        return {} if job.provider is Provider.OPENNOTE else await picture(video, run=self._maker.run)
