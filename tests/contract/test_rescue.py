"""Who gives back what silent workers hold may be stuck: the store is not ready then, and says why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from receiver.errors import StoreError, Unavailable
from receiver.store.process import EXIT_FATAL
from receiver.store.remote import Remote
from receiver.store.service import Service
from tests.contract.stand import (
    PATIENCE_SECONDS,
    StoreProcess,
    arrival,
    claim_one,
    failing,
    hang_up,
    ready,
    states_of,
)

REASON = "jobs of silent workers have not been given back"


def with_rescuer(body: str) -> list[str]:
    """The store's program, but for what it does to find silent workers."""
    lines = ("import asyncio", "from receiver.store import process", f"async def rescuer(*_): {body}")
    return ["-c", "\n".join([*lines, "process._expire = rescuer", "process.main()"])]


async def unready(remote: Remote) -> str:
    """Ask again and again whether a store is ready, until it says why not."""
    while True:
        try:
            await remote.probe()
        except StoreError as error:
            return str(error)
        await asyncio.sleep(0.1)


class Clock:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.anyio
@pytest.mark.fault("R3", "O12")
async def test_without_anybody_who_looks_for_silent_workers_a_store_is_not_ready(database: Path) -> None:
    clock = Clock()
    store = Service(database, run="run1", lease_seconds=60, monotonic=clock)
    clock.now += 10.0
    assert await store.probe() == []
    clock.now += 1.0
    with pytest.raises(StoreError, match=f"{REASON} for 11 s"):
        await store.probe()
    assert (await store.figures())["lease_check_seconds"] == 11.0
    assert (await store.status())["writable"], "whoever asks for more than readiness still gets it"
    await store.expire_leases()
    assert await store.probe() == []
    await store.close()


@pytest.mark.anyio
@pytest.mark.fault("R3")
async def test_a_look_that_gives_nothing_back_is_none(database: Path) -> None:
    clock = Clock()
    store = Service(database, run="run1", lease_seconds=60, monotonic=clock)
    first = arrival(jobs=ready("save"))
    await store.record(first)
    await claim_one(store, "w", "save")
    await store.expire_leases()
    with failing(database, "INSERT ON attempts"):
        for _ in range(3):
            clock.now += 60.0
            with pytest.raises(Unavailable):
                await store.expire_leases()
        with pytest.raises(StoreError, match=f"{REASON} for 180 s"):
            await store.probe()
    assert await store.expire_leases() == ["w"]
    assert await states_of(store, first.event_id) == {"save": "ready"}
    assert await store.probe() == []
    await store.close()


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.fault("R3")
async def test_a_rescuer_that_hangs_shows(database: Path) -> None:
    store = StoreProcess(database, program=with_rescuer("await asyncio.Event().wait()"))
    remote = await store.connected()
    assert await remote.probe() == []
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert REASON in await unready(remote)
    assert (await remote.figures())["lease_check_seconds"] > 10
    await hang_up(remote)
    store.stop()


@pytest.mark.anyio
@pytest.mark.fault("R3")
async def test_a_rescuer_that_fails_ends_its_store_so_that_another_one_starts(database: Path) -> None:
    store = StoreProcess(database, program=with_rescuer("raise RuntimeError('broken')"))
    assert store.exit_status() == EXIT_FATAL
    assert "store.failed" in store.log.read_text()
