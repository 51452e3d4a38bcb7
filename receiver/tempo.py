"""At most so many a second: when the next of many may begin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_BURST_SECONDS = 0.1


class Tempo:
    """Spaces what is done evenly; without a `rate` nothing waits."""

    def __init__(
        self,
        rate: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`rate` is in things a second; `clock` in seconds, going on evenly."""
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._next_at: float | None = None

    def batch(self, most: int) -> int:
        """How many may begin together, at most `most`: those of a tenth of a second."""
        return most if self._rate is None else max(1, min(most, int(self._rate * _BURST_SECONDS)))

    async def wait(self, count: int = 1, *, stop: asyncio.Event | None = None) -> bool:
        """Wait until `count` more may begin; False if there is a stop first. Lost time is not made up for."""
        if self._rate is None:
            return not is_set(stop)
        now = self._clock()
        begin = now if self._next_at is None else max(now, self._next_at)
        self._next_at = begin + count / self._rate
        if begin > now:
            return await pause(self._sleep(begin - now), stop=stop)
        return not is_set(stop)


async def pause(sleep: Awaitable[object], *, stop: asyncio.Event | None) -> bool:
    """Sleep, but not past the stop; False when that came."""
    sleeping = asyncio.ensure_future(sleep)
    watched = [sleeping, *([] if stop is None else [asyncio.ensure_future(stop.wait())])]
    try:
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in watched:
            one.cancel()
    return not is_set(stop)


def is_set(stop: asyncio.Event | None) -> bool:
    """Whether somebody has said stop."""
    return stop is not None and stop.is_set()
