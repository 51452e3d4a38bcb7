"""At most so many a second, on a clock that goes on only while somebody sleeps."""

from __future__ import annotations

import asyncio

import pytest

from receiver.tempo import Tempo, pause


class Clock:
    """Seconds, and what was slept."""

    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def begun(tempo: Tempo, clock: Clock, batches: list[int]) -> list[float]:
    """When each batch begins, from the first one on."""
    times = []
    for batch in batches:
        await tempo.wait(batch)
        times.append(round(clock.now - 100.0, 6))
    return times


@pytest.mark.anyio
async def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    tempo = Tempo(None, clock=clock.read, sleep=clock.sleep)

    assert await begun(tempo, clock, [500, 500, 500]) == [0, 0, 0]
    assert tempo.batch(500) == 500


@pytest.mark.anyio
async def test_each_one_waits_for_its_turn() -> None:
    clock = Clock()
    tempo = Tempo(10, clock=clock.read, sleep=clock.sleep)

    assert await begun(tempo, clock, [1, 1, 3, 1]) == [0, 0.1, 0.2, 0.5]


@pytest.mark.anyio
async def test_time_that_was_lost_is_not_made_up_for() -> None:
    clock = Clock()
    tempo = Tempo(10, clock=clock.read, sleep=clock.sleep)
    await tempo.wait()
    clock.now += 60

    assert await begun(tempo, clock, [1, 1]) == [60, 60.1]


@pytest.mark.parametrize(("rate", "batch"), [(0.5, 1), (10, 1), (100, 10), (1_000_000, 500)])
def test_a_batch_is_a_tenth_of_a_second_long(rate: float, batch: int) -> None:
    assert Tempo(rate).batch(500) == batch


@pytest.mark.anyio
async def test_nobody_waits_past_a_stop() -> None:
    stop, tempo = asyncio.Event(), Tempo(1 / 3600)
    assert await tempo.wait(stop=stop)

    waiting = asyncio.create_task(tempo.wait(stop=stop))
    await asyncio.sleep(0)
    stop.set()

    async with asyncio.timeout(10):
        assert not await waiting
        assert not await pause(asyncio.sleep(3600), stop=stop)
    assert not await Tempo(None).wait(stop=stop)
    assert await pause(asyncio.sleep(0), stop=None)
