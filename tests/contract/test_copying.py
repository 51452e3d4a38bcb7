"""Events of another receiver, recorded in any store: together, each whole, and none held up by another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from receiver.bodies import Bodies
from receiver.copies import line_of
from receiver.copying import Copier
from receiver.errors import BadCopy, Unfinished, Unstorable
from receiver.feed import Feed, Wanted
from receiver.listen import Heard, Listener
from receiver.recording import Plans
from receiver.sse import Message
from receiver.store.base import Store
from receiver.store.copies import Copy
from receiver.store.service import wall_ms
from tests.contract.stand import ANY, arrival, in_this_process

pytestmark = pytest.mark.anyio


class Shelf(Feed):
    """Lines that another receiver would give, and how they are asked for."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.lines = list(lines)
        self.asked: list[list[str]] = []
        self.fails = 0
        """So often the connection is lost behind the first line."""

    async def messages(
        self, *, after: str | None, parameters: Mapping[str, str], begun: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Message, None]:
        begun()
        events = [(line["event"], line["bytes"]) for line in map(orjson.loads, self.lines) if "news" in line]
        for number, (event, size) in enumerate(events):
            fields = {
                "id": event,
                "bytes": size,
                "duplicates": 0,
                "source": "opennote",
                "type": "video.completed",
            }
            yield Message("message", orjson.dumps(fields).decode(), f"place{number}")
        await asyncio.Event().wait()

    async def deliveries(self, events: Sequence[str]) -> AsyncGenerator[bytes, None]:
        self.asked.append(list(events))
        for number, line in enumerate(self.lines):
            if self.fails and number:
                self.fails -= 1
                raise Unfinished("cut off")
            if orjson.loads(line)["event"] in events:
                yield line


@pytest.fixture
async def lines(tmp_path: Path) -> list[bytes]:
    """Five events there, the third of which came three times."""
    async with in_this_process(tmp_path / "there.db") as there:
        for number in range(5):
            news = arrival(f"v{number}", identity=f"v{number}")
            for _ in range(3 if number == 2 else 1):
                await there.record(news)
        seqs = await there.replays.select(ANY, limit=9)
        rows = await there.copies.give(seqs[::-1])
    return [orjson.dumps(line_of(row)) for row in rows]


def copier(shelf: Shelf, store: Store, folder: Path) -> Copier:
    return Copier(
        shelf,
        store=store,
        bodies=Bodies(folder / "bodies"),
        plans=Plans([]),
        sources={},
        limit=2**20,
        wall=wall_ms,
    )


def ids(lines: Sequence[bytes]) -> list[str]:
    return list(dict.fromkeys(orjson.loads(line)["event"] for line in lines))


async def copied(copying: Copier, events: Sequence[str]) -> list[tuple[str, bool]]:
    return [told async for told in copying.copy(events)]


async def test_events_are_copied_together_with_all_deliveries_and_once(
    store: Store, lines: list[bytes], tmp_path: Path
) -> None:
    events, copying = ids(lines), copier(Shelf(lines), store, tmp_path)
    assert await copied(copying, events) == [(event, True) for event in events]
    assert await copied(copying, events) == [(event, False) for event in events]
    listed = await store.events(ANY, limit=9, before=None)
    assert [(row["id"], row["duplicates"]) for row in listed][::-1] == [
        (event, 2 * (number == 2)) for number, event in enumerate(events)
    ]


async def test_nothing_is_told_of_an_event_that_is_not_there(
    store: Store, lines: list[bytes], tmp_path: Path
) -> None:
    events = ids(lines)
    told = await copied(copier(Shelf(lines[1:]), store, tmp_path), events)
    assert told == [(event, True) for event in events[1:]]


async def test_an_event_that_was_redelivered_for_days_is_recorded_in_portions(
    store: Store, lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.copying._PORTION_BYTES", 10)
    taken: list[int] = []
    take = store.copies.take

    async def taking(copies: Sequence[Copy]) -> list[str]:
        taken.append(len(copies))
        return await take(copies)

    monkeypatch.setattr(store.copies, "take", taking)
    events = ids(lines)
    assert await copied(copier(Shelf(lines), store, tmp_path), events) == [(event, True) for event in events]
    assert taken == [1] * 7
    (row,) = [row for row in await store.events(ANY, limit=9, before=None) if row["id"] == events[2]]
    assert row["duplicates"] == 2


@pytest.mark.parametrize(
    "order", [[0, 1, 0], [3, 2], [0, 5, 1, 6]], ids=["again", "not the first", "something else"]
)
async def test_lines_that_do_not_belong_there_are_no_copies(
    store: Store, lines: list[bytes], tmp_path: Path, order: list[int]
) -> None:
    shelf = Shelf([lines[number] for number in order])
    shelf.deliveries = lambda events: _each(shelf.lines)  # type: ignore[method-assign]
    with pytest.raises(BadCopy, match="another one than was asked for"):
        await copied(copier(shelf, store, tmp_path), ids(lines[:4]))


async def _each(lines: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
    for line in lines:
        yield line


async def test_a_body_that_can_not_be_kept_is_not_read_on(
    store: Store, lines: list[bytes], tmp_path: Path
) -> None:
    large = orjson.loads(lines[0])
    del large["body"]
    large |= {"bytes": 70_000, "body_sha256": "0" * 64}
    shelf, is_closed = Shelf([orjson.dumps(large)]), asyncio.Event()

    async def body(event: str, sha256: str) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b" " * 10_000
        finally:
            is_closed.set()

    shelf.body = body  # type: ignore[method-assign]
    copying = copier(shelf, store, tmp_path)
    with pytest.raises(BadCopy, match="body"):
        await copied(copying, ids(lines[:1]))
    assert is_closed.is_set()


# Listening.


class Ear:
    """A listener, and what it told."""

    def __init__(self, shelf: Shelf, store: Store, folder: Path) -> None:
        self.heard: dict[str, str] = {}
        self.left = 0
        self.enough = asyncio.Event()
        self.listener = Listener(
            shelf,
            Wanted("https://there.example.com", {}),
            copier=copier(shelf, store, folder),
            store=store,
            log=structlog.get_logger(),
            told=self.hear,
            pause=lambda seconds: asyncio.sleep(0),
        )

    def hear(self, heard: Heard) -> None:
        self.heard[heard.event["id"]] = heard.outcome
        self.left -= 1
        if not self.left:
            self.enough.set()

    async def hears(self, count: int) -> None:
        """Listen until so much was told."""
        self.left = count
        listening = asyncio.create_task(self.listener.run())
        waiting = asyncio.create_task(self.enough.wait())
        await asyncio.wait([listening, waiting], timeout=20, return_when=asyncio.FIRST_COMPLETED)
        for task in (listening, waiting):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await listening
        await self.listener.move_bookmark()


async def bookmark(store: Store) -> str | None:
    return await store.copies.bookmark(Wanted("https://there.example.com", {}).bookmark)


async def test_who_begins_with_now_is_connected_when_that_is_kept(
    store: Store, lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    shelf, set_bookmark = Shelf(lines[:1]), store.copies.set_bookmark
    messages = shelf.messages

    async def from_now_on(**asked: Any) -> AsyncGenerator[Message, None]:
        asked["begun"]()
        order.append("begun")
        yield Message("message", "", "now")
        async for message in messages(**{**asked, "begun": lambda: None}):
            yield message

    async def setting(name: str, place: str) -> None:
        await set_bookmark(name, place)
        order.append(place)

    monkeypatch.setattr(shelf, "messages", from_now_on)
    monkeypatch.setattr(store.copies, "set_bookmark", setting)
    ear = Ear(shelf, store, tmp_path)
    monkeypatch.setattr(ear.listener._log, "info", lambda event, **fields: order.append(event))
    await ear.hears(1)
    assert order == ["begun", "now", "listener.connected", "event.copied", "place0"]


async def test_one_event_that_can_not_be_taken_holds_up_no_other(
    store: Store, lines: list[bytes], tmp_path: Path
) -> None:
    bad = {**orjson.loads(lines[1]), "method": "post"}
    shelf = Shelf([lines[0], orjson.dumps(bad), *lines[2:]])
    ear = Ear(shelf, store, tmp_path)
    await ear.hears(5)
    assert list(map(ear.heard.get, ids(lines))) == ["copied", "missed", "copied", "copied", "copied"]
    assert ear.listener.tally.missed == 1
    assert await bookmark(store) == "place4"


async def test_an_event_that_no_store_can_keep_is_missed_and_not_tried_for_ever(
    store: Store, lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, take = ids(lines)[1], store.copies.take

    async def taking(copies: Sequence[Copy]) -> list[str]:
        if odd in [copy.arrival.event_id for copy in copies]:
            raise Unstorable("it can't be stored")
        return await take(copies)

    monkeypatch.setattr(store.copies, "take", taking)
    ear = Ear(Shelf(lines), store, tmp_path)
    await ear.hears(5)
    assert list(map(ear.heard.get, ids(lines))) == ["copied", "missed", "copied", "copied", "copied"]
    assert await bookmark(store) == "place4"


async def test_a_connection_that_is_lost_is_tried_again_for_what_is_left(
    store: Store, lines: list[bytes], tmp_path: Path
) -> None:
    shelf = Shelf(lines)
    shelf.fails = 2
    ear = Ear(shelf, store, tmp_path)
    await ear.hears(5)
    assert ear.heard == dict.fromkeys(ids(lines), "copied")
    assert [len(events) for events in shelf.asked] == [5, 5, 5]


async def test_what_was_told_twice_is_passed_twice(
    store: Store, lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear, set_bookmark = Ear(Shelf([lines[0], lines[0], lines[1]]), store, tmp_path), store.copies.set_bookmark
    ear.listener._copier = copier(Shelf(lines), store, tmp_path)

    async def setting(name: str, place: str) -> None:
        await set_bookmark(name, place)
        if place == "place2":
            ear.enough.set()

    monkeypatch.setattr(store.copies, "set_bookmark", setting)
    await ear.hears(9)
    assert ear.heard == dict.fromkeys(ids(lines[:2]), "copied")
    assert await bookmark(store) == "place2"


async def test_somebody_who_does_not_want_to_hear_more_ends_it_plainly(
    store: Store, lines: list[bytes], tmp_path: Path
) -> None:
    ear = Ear(Shelf(lines), store, tmp_path)

    def hang_up(heard: Heard) -> None:
        raise BrokenPipeError

    ear.listener._told = hang_up
    with pytest.raises(BrokenPipeError):
        await ear.hears(1)
