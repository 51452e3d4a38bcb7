"""`receiver listen` with two real receivers: nothing is skipped, nothing is there twice, whatever happens."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.asking import ADMIN, TOKEN
from tests.acceptance.conftest import PROGRAM, Receiver, processes_in, until
from tests.acceptance.laptops import Laptop, Laptops, SlowLink, post


@pytest.fixture
def origin(receivers: Callable[..., Receiver]) -> Receiver:
    """The receiver that is followed."""
    return receivers("[handlers]\nload = []\n", top=ADMIN).start()


@pytest.fixture
def laptops(tmp_path: Path, origin: Receiver) -> Iterator[Laptops]:
    """Make folders to listen in; what runs there ends with the test."""
    made: list[Laptop] = []

    def make() -> Laptop:
        made.append(Laptop(tmp_path / f"laptop{len(made)}", origin))
        return made[-1]

    yield make
    for laptop in made:
        laptop.end()


@pytest.fixture
def laptop(laptops: Laptops) -> Laptop:
    """A folder to listen in."""
    return laptops()


def raw(folder: Path, event: str) -> bytes:
    command = [*PROGRAM, "show", event, "--raw"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=60).stdout


@pytest.mark.slow
@pytest.mark.fault("C1")
def test_what_came_while_the_laptop_was_off_is_there_once_and_handled_however_often_it_is_killed(
    origin: Receiver, laptop: Laptop
) -> None:
    link = SlowLink(int(origin.url.rpartition(":")[2]))  # so that there is a way on which it can be killed
    laptop.start(url=link.url)
    laptop.connects()
    assert laptop.stop() == 0
    posted = [event for part in range(10) for event in post(origin, 50, prefix=f"p{part}-")]
    chance = random.Random(5)
    for _ in range(5):
        before = len(laptop.outcomes())
        assert before < 450
        process = laptop.start(url=link.url)
        laptop.hears(before + chance.randrange(10, 60))
        process.kill()
        process.wait()
        until(lambda: not processes_in(laptop.folder), what="an end of its children")
    link.is_slow = False
    laptop.start(url=link.url)
    laptop.handles(posted)
    assert laptop.stop() == 0
    link.close()
    assert laptop.ids() == sorted(posted)
    assert {*laptop.states("hooks.note")} == {"done"}
    assert laptop.logged("events.missed") == []
    there = {event["id"]: event for event in origin.events("--limit", "1000")}
    here = laptop.events()
    assert [{**event, "jobs": []} for event in here] == [{**there[event["id"]], "jobs": []} for event in here]
    large = [event["id"] for event in here if event["bytes"] > 65536]
    assert len(large) == 20
    for event in large[:3]:
        assert raw(laptop.folder, event) == raw(origin.folder, event)


def test_without_a_place_it_begins_with_now_and_then_goes_on_where_it_stood(
    origin: Receiver, laptop: Laptop
) -> None:
    post(origin, 3, prefix="before")
    laptop.start()
    laptop.connects()
    live = post(origin, 3, prefix="live")
    laptop.hears(3)
    assert laptop.stop(signal.SIGTERM) == 0
    missed = post(origin, 3, prefix="missed")
    laptop.start()
    laptop.hears(6)
    laptop.stop()
    assert laptop.ids() == sorted([*live, *missed])
    assert laptop.outcomes() == ["copied"] * 6


def test_since_asks_for_more_and_what_is_known_is_known(origin: Receiver, laptop: Laptop) -> None:
    posted = post(origin, 4, prefix="before")
    for outcome in ("copied", "known"):
        before = len(laptop.outcomes())
        laptop.start("--since", "1h")
        laptop.hears(before + 4)
        laptop.handles(posted)
        assert laptop.stop() == 0
        assert laptop.outcomes()[before:] == [outcome] * 4
    assert sorted(laptop.handled()) == sorted(posted)
    assert {event["duplicates"] for event in laptop.events()} == {0}


def test_filters_hold_and_each_choice_has_a_place_of_its_own(origin: Receiver, laptop: Laptop) -> None:
    post(origin, 8)
    laptop.start("--since", "1h", "--type", "video.failed")
    laptop.hears(2)
    laptop.stop()
    assert {event["type"] for event in laptop.events()} == {"video.failed"}
    laptop.start("--since", "1h")
    laptop.hears(10)
    laptop.stop()
    assert len(laptop.events()) == 8


def test_it_reconnects_and_says_so(receivers: Callable[..., Receiver], tmp_path: Path) -> None:
    origin = receivers(top=ADMIN).start()
    port = origin.url.rpartition(":")[2]
    laptop = Laptop(tmp_path / "laptop", origin)
    try:
        laptop.start()
        laptop.connects()
        origin.stop()
        until(lambda: laptop.logged("listener.disconnected"), what="a line about the loss")
        origin.configure(top=ADMIN + f"[server]\nport = {port}\n").begin("--port", port)
        laptop.connects(2, seconds=60)
        posted = post(origin, 3, prefix="again")
        laptop.handles(posted)
        assert laptop.stop() == 0
        assert laptop.ids() == sorted(posted)
    finally:
        laptop.end()


@pytest.mark.slow
def test_a_connection_that_died_silently_is_noticed_within_fifteen_seconds(
    origin: Receiver, laptop: Laptop
) -> None:
    laptop.start()
    laptop.connects()
    began = time.monotonic()
    os.kill(origin.pid, signal.SIGSTOP)
    try:
        until(lambda: laptop.logged("listener.disconnected"), seconds=25, what="a line about the loss")
        assert time.monotonic() - began < 17
    finally:
        os.kill(origin.pid, signal.SIGCONT)
    posted = post(origin, 2)
    laptop.handles(posted)


def test_a_handler_that_fails_blocks_nothing(origin: Receiver, laptop: Laptop) -> None:
    laptop.start()
    laptop.connects()
    posted = post(origin, 9)
    laptop.handles(posted)
    laptop.stop()
    assert laptop.states("hooks.fail") == ["ready"] * 3
    assert laptop.states("hooks.note") == ["done"] * 9


def test_a_gap_is_said_to_be_one(origin: Receiver, laptop: Laptop) -> None:
    laptop.start()
    laptop.connects()
    laptop.stop()
    post(origin, 3, prefix="gone")
    database = origin.folder / "data" / "receiver.db"
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as connection:
        connection.executescript("UPDATE events SET received_at = 1; UPDATE deliveries SET received_at = 1;")
    assert origin.run("prune").status == 0
    kept = post(origin, 1, prefix="kept")
    laptop.start()
    laptop.hears(1)
    assert laptop.stop() == 1
    (missed,) = laptop.logged("events.missed")
    assert (missed["reason"], missed["missing"]) == ("retention", 3)
    assert laptop.ids() == kept
    laptop.start()
    laptop.connects(3)
    assert laptop.stop() == 0  # it is said once


@pytest.mark.parametrize(
    ("token", "url", "status", "said"),
    [
        ("wrong", "", 1, "does not accept the token"),
        ("", "", 2, "no token"),
        (None, "", 2, "No such file"),
        ("tök", "", 2, "characters that no header can have"),
        (TOKEN, "http://192.0.2.1", 2, "plain http"),
        (TOKEN, "ftp://127.0.0.1", 2, "not https"),
        (TOKEN, "{origin}/somewhere", 1, "no API at this URL"),
    ],
)
def test_what_can_not_work_is_said_at_once(
    origin: Receiver, laptop: Laptop, token: str | None, url: str, status: int, said: str
) -> None:
    (laptop.folder / "token").unlink()
    if token is not None:
        (laptop.folder / "token").write_text(token)
    process = laptop.start(url=url.format(origin=origin.url))
    assert process.wait(30) == status
    assert said in laptop.log.read_text()
    assert processes_in(laptop.folder) == []
