"""A handler that these events do not reach: no job is made, the worker has nothing to do."""

from __future__ import annotations

from receiver import Event, Router

router = Router()


@router.on("video.failed")
def idle(event: Event) -> None:
    """Do nothing."""
