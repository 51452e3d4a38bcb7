"""The loop that asks: every watch that is due, not too many at a time, whatever store and provider do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from receiver import settings, sources
from receiver.asking import Told
from receiver.bodies import Bodies
from receiver.body import read_small
from receiver.errors import StoreDown
from receiver.intervals import Intervals
from receiver.poller import Poller
from receiver.question import Ask, Inquirer
from receiver.recording import Plans
from receiver.sources.base import Admission, ApiRequest, Source
from receiver.store.service import Service, wall_ms
from receiver.store.values import EventFilter
from receiver.watching import Patience, new_watch

PATIENCE_SECONDS = 10.0


def organizations(folder: Path, *names: str) -> dict[str, Source]:
    """Sources, each with an API of its own."""
    tables = {
        name: {
            "kind": "opennote",
            "organization_id": name,
            "api_keys": ["key"],
            "api_url": f"https://{name}.example.com",
        }
        for name in names
    }
    return sources.configured(settings.parse({"sources": tables}, folder=folder))


def ended(request: ApiRequest, *, status: str = "failed") -> Told:
    """The end of the video that is asked for."""
    video = request.url.rpartition("/")[2]
    return Told(200, read_small(orjson.dumps({"video_id": video, "status": status}), Admission()))


async def until(is_true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_true():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.005)


class Stand:
    """A store, two sources, and a poller that asks a provider of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Service(folder / "receiver.db", run="run1", lease_seconds=60)
        self.sources = organizations(folder, "one", "two")
        self.asked: Counter[str] = Counter()

    async def watch(self, source: str, *videos: str) -> None:
        now = wall_ms()
        patience = Patience(0, 3_600_000)
        await self.store.watches.add(
            [new_watch(self.sources[source], video, patience, now=now) for video in videos]
        )

    def inquirer(self, ask: Callable[[ApiRequest], Awaitable[Told]]) -> Inquirer:
        async def counted(request: ApiRequest, limit: int, bodies: Bodies) -> Told:
            self.asked[request.url.rpartition("/")[2]] += 1
            return await ask(request)

        asking: Ask = counted
        return Inquirer(
            asking,
            self.store,
            self.store.watches,
            Plans([]),
            Bodies(self.folder / "bodies"),
            Intervals(5, 10),
            wall_ms,
            structlog.get_logger(),
        )

    @asynccontextmanager
    async def polling(
        self,
        ask: Callable[[ApiRequest], Awaitable[Told]],
        *,
        watches: Any = None,
        per_second: float = 1000.0,
        concurrency: int = 4,
    ) -> AsyncIterator[Poller]:
        """Poll until the end of the block."""
        poller = Poller(watches or self.store.watches, log=structlog.get_logger())
        poller.use(self.sources, self.inquirer(ask), requests_per_second=per_second, concurrency=concurrency)
        stop = asyncio.Event()
        running = asyncio.create_task(poller.run(until=stop))
        try:
            yield poller
        finally:
            stop.set()
            await running

    async def until_open(self, count: int) -> None:
        """Wait until so many watches are open."""
        await until(lambda: self.store.watches.open == count)


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    stand = Stand(tmp_path)
    yield stand
    await stand.store.close()


@pytest.mark.anyio
async def test_every_watch_is_asked_about_and_never_more_than_so_many_at_a_time(stand: Stand) -> None:
    at_once = most = 0

    async def ask(request: ApiRequest) -> Told:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return ended(request)

    await stand.watch("one", *(f"v{number}" for number in range(30)))
    async with stand.polling(ask, concurrency=3):
        await stand.until_open(0)

    assert stand.asked == {f"v{number}": 1 for number in range(30)}
    assert most == 3
    events = await stand.store.events(EventFilter(), limit=100, before=None)
    assert len({event["video_id"] for event in events}) == len(events) == 30


@pytest.mark.anyio
async def test_a_video_is_not_asked_about_twice_at_the_same_time_and_again_until_its_end(
    stand: Stand,
) -> None:
    going: set[str] = set()

    async def ask(request: ApiRequest) -> Told:
        assert request.url not in going
        going.add(request.url)
        await asyncio.sleep(0.05)
        going.discard(request.url)
        last = stand.asked["slow"] == 4
        return ended(request, status="failed" if last else "resting")

    await stand.watch("one", "slow")
    async with stand.polling(ask):
        await stand.until_open(0)

    assert stand.asked["slow"] == 4


@pytest.mark.anyio
async def test_no_more_is_asked_in_a_second_than_is_allowed(stand: Stand) -> None:
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def ask(request: ApiRequest) -> Told:
        times.append(loop.time())
        return ended(request)

    await stand.watch("one", *(f"v{number}" for number in range(11)))
    async with stand.polling(ask, per_second=20.0):
        await stand.until_open(0)

    assert times[-1] - times[0] >= 10 / 20.0 - 0.02


@pytest.mark.anyio
async def test_who_wants_peace_has_it_and_the_others_are_asked(stand: Stand) -> None:
    async def ask(request: ApiRequest) -> Told:
        if "//one." in request.url:
            return Told(429, None, retry_after_seconds=3600.0)
        return ended(request)

    await stand.watch("one", "a", "b", "c")
    await stand.watch("two", *(f"v{number}" for number in range(9)))
    async with stand.polling(ask, concurrency=1):
        await stand.until_open(3)
        await asyncio.sleep(0.1)

    assert sum(stand.asked[video] for video in "abc") == 1
    assert stand.asked.total() == 10


@pytest.mark.anyio
async def test_fresh_settings_end_the_peace_and_count_from_the_next_question_on(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.poller._LONGEST_WAIT_SECONDS", 0.05)

    async def refuse(_: ApiRequest) -> Told:
        return Told(429, None, retry_after_seconds=3600.0)

    async def answer(request: ApiRequest) -> Told:
        return ended(request)

    await stand.watch("one", "a")
    async with stand.polling(refuse) as poller:
        await until(lambda: stand.store.watches.polls["unanswered"] > 0)
        await stand.watch("one", "b")
        poller.use(stand.sources, stand.inquirer(answer), requests_per_second=1000.0, concurrency=4)
        await stand.until_open(1)

    assert stand.asked == {"a": 1, "b": 1}


@pytest.mark.anyio
async def test_a_source_that_is_not_configured_any_more_is_not_asked(stand: Stand) -> None:
    async def ask(request: ApiRequest) -> Told:
        return ended(request)

    await stand.watch("one", "gone")
    await stand.watch("two", "here")
    del stand.sources["one"]
    async with stand.polling(ask):
        await stand.until_open(1)

    assert stand.asked == {"here": 1}


class _Away:
    """The watches of a store that is away for the first few times that it is asked."""

    def __init__(self, watches: Any, *, times: int) -> None:
        self._watches = watches
        self.left = times

    async def due(self, *arguments: Any, **named: Any) -> Any:
        if self.left:
            self.left -= 1
            raise StoreDown("no store is running")
        return await self._watches.due(*arguments, **named)


@pytest.mark.anyio
async def test_a_store_that_is_away_is_waited_for_and_that_is_said_once(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(request: ApiRequest) -> Told:
        return ended(request)

    monkeypatch.setattr("receiver.poller._STORE_AWAY_SECONDS", 0.01)
    await stand.watch("one", "a")
    with capture_logs() as logs:
        async with stand.polling(ask, watches=_Away(stand.store.watches, times=3)):
            await stand.until_open(0)

    assert [log["event"] for log in logs].count("poller.disconnected") == 1


@pytest.mark.anyio
async def test_an_answer_that_can_not_be_recorded_is_asked_for_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.poller._UNRECORDED_SECONDS", 0.05)
    record, is_full = stand.store.record, True

    async def refuse_first(arrival: Any) -> Any:
        nonlocal is_full
        if is_full:
            is_full = False
            raise StoreDown("the store went away before it answered")
        return await record(arrival)

    async def ask(request: ApiRequest) -> Told:
        return ended(request)

    monkeypatch.setattr(stand.store, "record", refuse_first)
    await stand.watch("one", "a")
    async with stand.polling(ask):
        await stand.until_open(0)

    assert stand.asked == {"a": 2}


@pytest.mark.anyio
async def test_a_mistake_of_ours_ends_the_poller_instead_of_being_lost(stand: Stand) -> None:
    async def ask(_: ApiRequest) -> Told:
        raise ZeroDivisionError

    poller = Poller(stand.store.watches, log=structlog.get_logger())
    poller.use(stand.sources, stand.inquirer(ask), requests_per_second=1000.0, concurrency=1)
    await stand.watch("one", "a")

    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await poller.run(until=asyncio.Event())


@pytest.mark.anyio
async def test_a_stop_waits_for_no_answer(stand: Stand) -> None:
    async def ask(_: ApiRequest) -> Told:
        await asyncio.sleep(3600)
        raise AssertionError

    await stand.watch("one", "a")
    async with asyncio.timeout(PATIENCE_SECONDS), stand.polling(ask):
        await until(lambda: bool(stand.asked))

    assert [watch.asked for watch in await stand.store.watches.page()] == [0]
