"""Write one log line for every event: a handler to copy and to begin with."""

from __future__ import annotations

from receiver import Context, Event, Router

router = Router()


@router.on("video.completed", "video.failed", "video.progress", "video.unknown")
async def log(event: Event, context: Context) -> None:
    """Say which video, and what happened to it."""
    video = event.video
    context.log.info("event.handled", type=event.type, video=video.id, status=video.status, title=video.title)
