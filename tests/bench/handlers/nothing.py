"""A handler that does nothing for every completed video."""

from __future__ import annotations

from receiver import Event, Router

router = Router()


@router.on("video.completed", "video.failed")
async def nothing(event: Event) -> None:
    """Be done."""
