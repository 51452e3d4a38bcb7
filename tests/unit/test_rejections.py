"""Rejections are gathered and written at most once a second, in bounded memory and a bounded list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import CapturingLogger

from receiver import rejections
from receiver.rejections import Rejections
from receiver.store.service import Service
from receiver.store.values import Row

NOW = 1_700_000_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Service]:
    service = Service(tmp_path / "receiver.db", run="r", lease_seconds=60)
    yield service
    await service.close()


@pytest.fixture
def log() -> CapturingLogger:
    return CapturingLogger()


@pytest.fixture
def gathered(store: Service, log: CapturingLogger) -> Rejections:
    return Rejections(store, wall=lambda: NOW, log=log)


async def written(store: Service, count: int) -> list[Row]:
    """The list, as soon as it has so many entries."""
    async with asyncio.timeout(10):
        while len(rows := await store.rejections(limit=2000)) < count:  # noqa: ASYNC110 - nobody tells when
            await asyncio.sleep(0.01)
    return rows


@pytest.mark.anyio
async def test_a_rejection_is_written_soon(store: Service, gathered: Rejections) -> None:
    gathered.add("opennote", 401, "x-api-key is wrong", "1.2.3.4")

    [row] = await written(store, 1)

    assert row == {
        "at": NOW,
        "source": "opennote",
        "status": 401,
        "reason": "x-api-key is wrong",
        "peer": "1.2.3.4",
        "repeated": 1,
    }


@pytest.mark.anyio
async def test_equal_ones_become_one_entry_with_their_number(store: Service, gathered: Rejections) -> None:
    for _ in range(500):
        gathered.add("opennote", 401, "x-api-key is wrong", "1.2.3.4")
    gathered.add("opennote", 401, "x-api-key is missing", "1.2.3.4")

    rows = await written(store, 2)

    assert {row["reason"]: row["repeated"] for row in rows} == {
        "x-api-key is wrong": 500,
        "x-api-key is missing": 1,
    }


@pytest.mark.anyio
async def test_each_entry_is_logged_once(gathered: Rejections, store: Service, log: CapturingLogger) -> None:
    for _ in range(3):
        gathered.add("opennote", 401, "x-api-key is wrong", "1.2.3.4")
    await written(store, 1)

    [call] = log.calls
    assert (call.method_name, call.args) == ("warning", ("delivery.rejected",))
    assert call.kwargs == {
        "source": "opennote",
        "status": 401,
        "reason": "x-api-key is wrong",
        "peer": "1.2.3.4",
        "repeated": 3,
    }


@pytest.mark.anyio
@pytest.mark.fault("A13")
async def test_between_two_writes_lies_a_second(
    store: Service, gathered: Rejections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejections, "_FLUSH_SECONDS", 0.5)
    loop = asyncio.get_running_loop()
    gathered.add("a", 401, "first", "p")
    await written(store, 1)
    since = loop.time()
    gathered.add("a", 401, "second", "p")
    gathered.add("a", 401, "third", "p")

    rows = await written(store, 3)

    assert len(rows) == 3
    assert loop.time() - since > 0.4


@pytest.mark.anyio
@pytest.mark.fault("A13")
async def test_a_flood_from_many_peers_takes_bounded_memory(store: Service, gathered: Rejections) -> None:
    for number in range(10_000):
        gathered.add("opennote", 401, "x-api-key is wrong", f"peer {number}")

    await gathered.close()

    rows = await store.rejections(limit=2000)
    assert len(rows) == rejections._MOST_KINDS + 1
    assert sum(row["repeated"] for row in rows) == 10_000
    assert {row["peer"]: row["repeated"] for row in rows}["many"] == 10_000 - rejections._MOST_KINDS


@pytest.mark.anyio
@pytest.mark.fault("A13")
async def test_the_list_keeps_the_last_thousand(store: Service, gathered: Rejections) -> None:
    for number in range(1300):
        gathered.add("opennote", 401, f"reason {number}", "p")
        if number % 50 == 49:
            await gathered.close()

    rows = await store.rejections(limit=2000)

    assert len(rows) == 1000
    assert rows[0]["reason"] == "reason 1299"
    assert rows[-1]["reason"] == "reason 300"


@pytest.mark.anyio
async def test_closing_writes_what_waits(store: Service, gathered: Rejections) -> None:
    gathered.add("a", 401, "first", "p")
    await gathered.close()
    gathered.add("a", 401, "second", "p")

    await gathered.close()

    assert [row["reason"] for row in await store.rejections(limit=10)] == ["second", "first"]


@pytest.mark.anyio
async def test_without_a_store_the_log_still_has_them(tmp_path: Path, log: CapturingLogger) -> None:
    store = Service(tmp_path / "closed.db", run="r", lease_seconds=60)
    await store.close()
    gathered = Rejections(store, wall=lambda: NOW, log=log)
    gathered.add("a", 401, "first", "p")

    await gathered.close()

    assert [call.kwargs["reason"] for call in log.calls] == ["first"]


@pytest.mark.anyio
async def test_closing_when_there_is_nothing_is_fine(gathered: Rejections) -> None:
    await gathered.close()
