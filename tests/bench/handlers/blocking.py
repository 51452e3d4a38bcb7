"""A handler that makes the mistake of holding its worker's event loop."""

from __future__ import annotations

import time

from receiver import Event, Router

router = Router()


@router.on("video.completed")
async def blocking(event: Event) -> None:
    """Hold the loop."""
    time.sleep(0.1)  # noqa: ASYNC251 - the mistake that is meant
