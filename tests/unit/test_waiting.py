"""Following a video through the store of a server: to its end, over a restart, until nobody is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver import settings
from receiver.cli.standing import Standing
from receiver.cli.waiting import find_server, follow, is_running
from receiver.errors import CommandFailed
from receiver.settings import Settings
from receiver.store.remote import Remote
from tests.contract.stand import StoreProcess, arrival, claim_one, hang_up, ready, settlement

FAILED = {"status": "failed", "error": "out_of_paint", "message": "there was none left"}


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    table = {"kind": "opennote", "organization_id": "org", "api_keys": ["key"]}
    tables = {"sources": {"opennote": table}, "store": {"url": "sqlite:///receiver.db"}}
    return settings.parse(tables, folder=tmp_path)


@pytest.fixture
async def remote(config: Settings) -> AsyncIterator[Remote]:
    process = StoreProcess(config.database)
    remote = await process.connected()
    try:
        yield remote
    finally:
        await hang_up(remote)
        process.stop()


class Following:
    """A video that is followed, and all that was shown of it."""

    def __init__(self, config: Settings, *, away_seconds: float = 60.0) -> None:
        self.shown: list[str] = []
        self._news = asyncio.Event()
        self._task = asyncio.create_task(
            follow(config, "opennote", "v1", show=self._show, away_seconds=away_seconds)
        )

    def _show(self, standing: Standing) -> None:
        if standing.said not in self.shown:
            self.shown.append(standing.said)
        self._news.set()

    async def shows(self, said: str) -> None:
        async with asyncio.timeout(15):
            while said not in self.shown:
                self._news.clear()
                await self._news.wait()

    async def ends(self) -> Standing:
        async with asyncio.timeout(15):
            return await self._task


@pytest.mark.anyio
async def test_it_is_followed_from_the_first_news_to_the_file(config: Settings, remote: Remote) -> None:
    following = Following(config)
    await following.shows("waiting")
    await remote.record(arrival("v1", "progress", progress=30.0, status="pending"))
    await following.shows("pending, 30 %")
    await remote.record(arrival("v1", jobs=ready("save_video")))
    await following.shows("completed; save_video is ready")
    job = await claim_one(remote, "w", "save_video")
    result = json.dumps({"path": "/videos/a.mp4", "bytes": 7})
    await remote.settle([settlement(job, result=result)], worker="w")

    ending = await following.ends()

    assert (ending.ending, ending.said, ending.result["bytes"]) == ("saved", "/videos/a.mp4", 7)


@pytest.mark.anyio
async def test_a_failure_ends_it_in_the_provider_s_words(config: Settings, remote: Remote) -> None:
    await remote.record(arrival("v1", "failed", body=json.dumps(FAILED)))
    await remote.record(arrival("v2", "failed", body='{"status": "failed"}'))

    ending = await Following(config).ends()
    other = await follow(config, "opennote", "v2", show=lambda standing: None)

    assert (ending.ending, ending.said) == ("failed", "out_of_paint: there was none left")
    assert other.said == "its status is failed"


@pytest.mark.anyio
async def test_a_server_that_is_started_again_is_waited_for(config: Settings) -> None:
    first = StoreProcess(config.database)
    await hang_up(await first.connected())
    following = Following(config)
    await following.shows("waiting")
    first.kill()

    second = StoreProcess(config.database, run="run2")
    remote = await second.connected()
    await remote.record(arrival("v1", "failed", body=json.dumps(FAILED)))

    assert (await following.ends()).ending == "failed"
    await hang_up(remote)
    second.stop()


@pytest.mark.anyio
async def test_a_server_that_stays_away_ends_the_waiting_with_how_to_look(config: Settings) -> None:
    process = StoreProcess(config.database)
    await hang_up(await process.connected())
    following = Following(config, away_seconds=0.5)
    await following.shows("waiting")
    process.stop()

    with pytest.raises(CommandFailed, match=r"the server is gone .*; see `receiver events --video v1`"):
        await following.ends()


@pytest.mark.anyio
async def test_without_a_server_nobody_waits(config: Settings) -> None:
    assert not await is_running(config)
    with pytest.raises(CommandFailed, match="--wait needs a running server"):
        await find_server(config)


@pytest.mark.anyio
async def test_a_server_without_a_worker_is_told(
    config: Settings, remote: Remote, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await is_running(config)
    await find_server(config)
    assert capsys.readouterr().err == "no worker is alive now; without one, nothing is saved\n"
    await remote.renew("run1/1", [])
    await find_server(config)
    assert capsys.readouterr().err == ""
