"""A handler that keeps a processor busy."""

from __future__ import annotations

import time

from receiver import Event, Router

router = Router()


@router.on("video.completed")
def burning(event: Event) -> None:
    """Compute for a tenth of a second."""
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        sum(range(1000))
