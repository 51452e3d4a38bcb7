"""Of a flood of equal log lines some are written, and the rest is summed up once a second."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from receiver.ration import MOST_LINES, Ration

pytestmark = pytest.mark.anyio


async def test_so_many_lines_are_allowed_and_the_others_are_told_in_sum() -> None:
    told: asyncio.Queue[Counter[str]] = asyncio.Queue()
    ration = Ration(told.put_nowait, most=3)

    assert [ration.allows("started") for _ in range(5)] == [True] * 3 + [False] * 2
    assert not ration.allows("finished")

    async with asyncio.timeout(10):
        assert await told.get() == {"started": 2, "finished": 1}
    assert ration.allows("started"), "a new second has begun"


async def test_where_all_was_told_there_is_no_sum() -> None:
    told: list[Counter[str]] = []
    ration = Ration(told.append)
    assert all(ration.allows("started") for _ in range(MOST_LINES))

    await asyncio.sleep(1.1)  # the second in which a sum would come

    assert told == []
