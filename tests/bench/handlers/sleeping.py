"""A handler that waits, as one that downloads does."""

from __future__ import annotations

import asyncio

from receiver import Event, Router

router = Router()


@router.on("video.completed")
async def sleeping(event: Event) -> None:
    """Wait for a second."""
    await asyncio.sleep(1)
