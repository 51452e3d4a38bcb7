"""Fill a database through the store's own code.

Arguments: the database, how many events, and, if each has a job to do, its handler.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from receiver import ids
from receiver.record import Arrival, JobRow
from receiver.store.service import Service
from tests.bench import callbacks

_BATCH = 2000
_APART_MS = 1000
FAILED_EVERY = 100
DEAD_EVERY = 50_000
"""So rare is a dead job: whoever asks for those must not look at all others."""
RUN = "generatedgenerated"


async def fill(database: Path, count: int, handler: str | None = None) -> None:
    """Record so many events, a second apart, the last one now; each with one job.

    The job has ended, unless there is a `handler` that it waits for.
    """
    service = Service(database, run=None, lease_seconds=60)
    template = callbacks.body_template()
    first_at = int(time.time() * 1000) - count * _APART_MS
    try:
        for start in range(0, count, _BATCH):
            numbers = range(start, min(start + _BATCH, count))
            await service.record_batch([_arrival(number, template, first_at, handler) for number in numbers])
    finally:
        await service.close()


def _arrival(number: int, template: str, first_at: int, handler: str | None) -> Arrival:
    name = callbacks.video_id(RUN, number)
    body = template.replace(callbacks.ID_MARK, name)
    what = "failed" if number % FAILED_EVERY == 0 else "completed"
    at = first_at + number * _APART_MS
    state = "dead" if number % DEAD_EVERY == 0 else "done"
    job: JobRow = (handler, "ready", None, None) if handler else ("save_video", state, None, None)
    return Arrival(
        event_id=ids.event_id(at, os.urandom(ids.RANDOM_BYTES)),
        source="opennote",
        kind="opennote",
        identity=f"{name}@{callbacks.ORGANIZATION}",
        what=what,
        type=f"video.{what}",
        video_id=name,
        status=what,
        progress=100.0,
        title="Photosynthesis in Plants",
        content=f"url https://example.com/{name}.mp4",
        warnings=[],
        received_at=at,
        via="callback",
        method="POST",
        path=callbacks.PATH,
        headers=json.dumps(list(callbacks.headers(len(body), name).items())),
        size=len(body),
        body=body,
        body_sha256=None,
        payload=None,
        strings=None,
        jobs=[job],
    )


if __name__ == "__main__":
    asyncio.run(fill(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4]))
