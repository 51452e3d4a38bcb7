"""The look for damage makes way for traffic, and is done in the end."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.store import inspection
from receiver.store.inspection import Inspection
from receiver.store.sqlite.database import Database

pytestmark = pytest.mark.anyio
ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


class Looks:
    """What stands in for the check of a file so large that it takes for ever, so many times."""

    def __init__(self, endless: int) -> None:
        self.endless = endless
        self.begun = 0
        self.has_begun = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> list[str]:
        self.begun += 1
        self.has_begun.set()
        if self.begun <= self.endless:
            connection.execute(ENDLESS).fetchone()
        return ["a problem"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Database(tmp_path / "receiver.db", now=1).close()
    return tmp_path / "receiver.db"


def inspected(
    path: Path, looks: Looks, monkeypatch: pytest.MonkeyPatch, changes: Callable[[], int], **limits: float
) -> Inspection:
    monkeypatch.setattr(inspection, "damage", looks)
    monkeypatch.setattr(inspection, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(inspection, "_QUIET_SECONDS", 0.04)
    for name, value in limits.items():
        monkeypatch.setattr(inspection, name, value)
    return Inspection(path, changes=changes)


async def test_it_is_broken_off_by_traffic_and_begun_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, rows = Looks(endless=2), 0

    def changes() -> int:
        """Traffic while it looks, quiet as long as it waits."""
        nonlocal rows
        rows += 1000 if looks.begun in (1, 2) else 0
        return rows

    looked = inspected(path, looks, monkeypatch, changes, _LONGEST_WAIT_SECONDS=0.1)
    async with asyncio.timeout(20):
        assert await looked.problems() == ["a problem"]
    assert looks.begun == 3


async def test_beside_traffic_that_never_ends_it_is_done_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = iter(range(0, 10**9, 1000))
    looks = Looks(endless=0)
    limits = {"_LONGEST_WAIT_SECONDS": 0.1, "_LONGEST_YIELDING_SECONDS": 0.0}
    looked = inspected(path, looks, monkeypatch, lambda: next(rows), **limits)
    async with asyncio.timeout(20):
        assert await looked.problems() == ["a problem"]
    assert looks.begun == 1


async def test_it_can_be_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(endless=1)
    looked = inspected(path, looks, monkeypatch, lambda: 0)
    problems = asyncio.create_task(looked.problems())
    async with asyncio.timeout(20):
        await asyncio.to_thread(looks.has_begun.wait)
        looked.stop()
        problems.cancel()
        await asyncio.wait([problems])
    assert problems.cancelled()
