"""`receiver listen` finds its store: that of a server, also while it is being started again, or its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from receiver.cli import listen as command
from receiver.listen import Listener
from receiver.store.process import listen
from receiver.store.remote import Remote
from receiver.store.service import Service
from receiver.store.wire import socket_path

pytestmark = pytest.mark.anyio


async def test_a_store_that_was_killed_is_waited_for_as_its_server_starts_another_one(tmp_path: Path) -> None:
    database = tmp_path / "receiver.db"
    socket_path(database).touch()  # the name that it left behind
    remote = Remote(database)
    waiting = asyncio.create_task(command._published(remote, database))
    for _ in range(3):
        await asyncio.sleep(0)
    service = Service(database, run="r", lease_seconds=60)
    listener = await listen(service, database)
    try:
        assert await waiting == []
    finally:
        await remote.close()
        await listener.close()
        await service.close()


async def test_without_a_server_nothing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_COMING_BACK_SECONDS", 1e9)
    database = tmp_path / "receiver.db"
    assert await command._published(Remote(database), database) is None


async def test_a_name_that_was_left_for_good_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_COMING_BACK_SECONDS", 0.03)
    database = tmp_path / "receiver.db"
    socket_path(database).touch()
    assert await command._published(Remote(database), database) is None


async def test_ctrl_c_ends_it_when_the_place_can_not_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_LAST_WORD_SECONDS", 0.01)
    stop = asyncio.Event()
    stop.set()
    await command._until(stop, Stuck())


class Stuck(Listener):
    """A listener whose store is away."""

    def __init__(self) -> None:
        self._away = asyncio.Event()

    async def run(self) -> None:
        await self._away.wait()

    async def move_bookmark(self) -> None:
        await self._away.wait()
