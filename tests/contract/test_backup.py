"""A backup beside the work: it is whole, it is of one moment, and nobody waits for it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from receiver.errors import StoreError
from receiver.store.base import Store
from receiver.store.service import Service
from receiver.store.values import Receipt
from tests.contract.stand import ANY, arrival, claim, ready, settlement
from tests.invariant import Ledger, assert_balanced


async def work(store: Store, told: list[Receipt], stop: asyncio.Event) -> None:
    """Record, repeat, claim and settle until it is enough."""
    for number in count():
        if stop.is_set():
            return
        told += [
            await store.record(arrival(f"v{video}", jobs=ready("save"))) for video in (number, number // 2)
        ]
        for job in await claim(store, "w", "save"):
            await store.settle([settlement(job)], worker="w")


def named_like(target: Path) -> list[str]:
    """The file and what was put beside it."""
    return sorted(path.name for path in target.parent.glob(f"{target.name}*"))


@pytest.mark.anyio
@pytest.mark.fault("C12")
async def test_each_backup_under_load_opens_and_holds_all_that_was_acknowledged_before_it(
    store: Store, tmp_path: Path
) -> None:
    told: list[Receipt] = []
    stop = asyncio.Event()
    working = asyncio.create_task(work(store, told, stop))
    for number in range(5):
        while len(told) < 40 * (number + 1):  # noqa: ASYNC110 - each turn of the load is such an event
            await asyncio.sleep(0)
        before = list(told)
        target = tmp_path / f"backup{number}.db"
        assert await store.backup(target) == []
        during = len(told) - len(before)

        assert named_like(target) == [target.name]
        assert target.stat().st_mode & 0o777 == 0o600
        answers: list[tuple[int, str | None]] = [(200, receipt.event_id) for receipt in before]
        assert_balanced(target, Ledger(answers=answers, unanswered=during + 2), bodies=tmp_path)
    stop.set()
    await working
    copied = Service(tmp_path / "backup4.db", run="next", lease_seconds=60)
    assert len(await copied.events(ANY, limit=1000, before=None)) >= 60
    assert copied.redactor_key == store.redactor_key
    await copied.close()


@pytest.mark.anyio
async def test_a_file_that_is_there_is_never_written_to(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    with pytest.raises(FileExistsError):
        await store.backup(target)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        await store.backup(tmp_path / "link")
    assert target.read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.anyio
async def test_a_damaged_database_gives_no_backup_that_passes_for_a_whole_one(
    store: Store, database: Path, tmp_path: Path
) -> None:
    await store.record(arrival())
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint")
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'rejections'"
        ).fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(4096))
    with pytest.raises(StoreError, match=r"not sound|can't be copied"):
        await store.backup(tmp_path / "copy.db")


@pytest.mark.anyio
async def test_a_backup_that_is_given_up_ends_at_once(store: Store, tmp_path: Path) -> None:
    for number in range(300):
        await store.record(arrival(f"v{number}", body="x" * 60_000))
    target = tmp_path / "copy.db"
    copying = asyncio.create_task(store.backup(target))
    while not target.exists() or not target.stat().st_size:  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.001)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert target.stat().st_size < 300 * 60_000
