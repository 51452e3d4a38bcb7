"""Bodies that are looked at and not kept: a folder of their own, which is gone afterwards."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from receiver.bodies import PASSING, Bodies


@asynccontextmanager
async def passing(bodies: Bodies) -> AsyncIterator[Bodies]:
    """Keep large bodies beside `bodies` until the end of the block; `keep` those that are to stay.

    What a crash leaves is removed by the sweep after the next start.
    """
    own = Bodies(bodies.directory / PASSING / secrets.token_hex(16), reserve=bodies.room.reserve)
    try:
        yield own
    finally:
        await asyncio.to_thread(_remove, own)


async def keep(sha256: str, *, source: Bodies, target: Bodies) -> None:
    """Move a body to where bodies stay, durably. Raise OSError."""
    await asyncio.to_thread(target.place, source.path(sha256), sha256)


def _remove(own: Bodies) -> None:
    own.close()
    shutil.rmtree(own.directory, ignore_errors=True)
