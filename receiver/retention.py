"""Retention: what is over and old is removed, rows first, then the body files that no row names any more.

A crash in between leaves files without a row, which the sweep after the next start removes.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, NamedTuple

from receiver.bodies import Bodies
from receiver.errors import StoreError, Unavailable
from receiver.store.base import Upkeep
from receiver.store.values import Keep, Pruned

GRACE_SECONDS = 900.0
"""A body file that was kept (again) so recently may belong to a delivery whose row is on its way."""
_REST = 4
"""The store has so many times as long for others as a step took."""
_FEWEST, _MOST = 5, 200
"""Events at once."""
_SHORT_SECONDS = 0.008
"""What a step may take; nothing is acknowledged meanwhile."""
_LEAST_REST_SECONDS = 0.01
_HOUR_SECONDS = 3600.0


class Ages(NamedTuple):
    """How long things are kept after they were over, in seconds: `[retention]`."""

    events: float
    dead: float
    bodies: float

    def keep(self, *, now_ms: int) -> Keep:
        """The times before which things may go."""
        return Keep(*(now_ms - round(seconds * 1000) for seconds in self))


class Report(NamedTuple):
    """What a pass has removed, or would."""

    events: int = 0
    deliveries: int = 0
    jobs: int = 0
    attempts: int = 0
    body_files: int = 0
    bytes: int = 0
    """Of the body files. Room in the database is used again, and its file does not shrink."""
    watches: int = 0
    submissions: int = 0

    def __add__(self, other: object) -> Report:
        if not isinstance(other, Report):
            return NotImplemented
        return Report(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


async def prune(store: Upkeep, bodies: Bodies, kept: Keep) -> Report:
    """Remove it all, in steps that nobody who is acknowledged waits for. Raise StoreError, OSError."""
    before = time.time() - GRACE_SECONDS
    report, pruned, count = Report(), None, _FEWEST
    while pruned is None or pruned.step is not None:
        began = time.monotonic()
        pruned = await store.prune(kept, pruned and pruned.step, count=count)
        count = _next_count(count, time.monotonic() - began)
        sizes = [await asyncio.to_thread(bodies.remove, digest, before=before) for digest in pruned.digests]
        report += _report(pruned, sizes)
        if pruned.step is not None:
            await asyncio.sleep(max(_LEAST_REST_SECONDS, _REST * (time.monotonic() - began)))
    return report


def _next_count(count: int, seconds: float) -> int:
    """Events may be a row or thousands of pages: by how long the last step took."""
    if seconds < _SHORT_SECONDS:
        return min(_MOST, count * 2)
    return max(_FEWEST, count // 2) if seconds > 2 * _SHORT_SECONDS else count


async def plan(store: Upkeep, bodies: Bodies, kept: Keep) -> Report:
    """What `prune` would remove now."""
    before = time.time() - GRACE_SECONDS
    pruned = await store.prunable(kept)
    return _report(pruned, [_size(bodies.path(digest), before) for digest in pruned.digests])


async def keep_up(store: Upkeep, bodies: Bodies, ages: Ages, *, log: Any) -> None:
    """Remove what is old now and every hour."""
    while True:
        try:
            report = await prune(store, bodies, ages.keep(now_ms=time.time_ns() // 1_000_000))
        except (StoreError, Unavailable, OSError) as error:
            log.warning("retention.failed", reason=str(error))  # the next hour tries again
        else:
            if any(report):
                log.info("retention.applied", **report._asdict())
        await asyncio.sleep(_HOUR_SECONDS)


def _report(pruned: Pruned, sizes: list[int | None]) -> Report:
    removed = [size for size in sizes if size is not None]
    rows = (pruned.events, pruned.deliveries, pruned.jobs, pruned.attempts)
    return Report(*rows, len(removed), sum(removed), pruned.watches, pruned.submissions)


def _size(path: Path, before: float) -> int | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_size if status.st_mtime < before else None
