"""`receiver listen` beside others: other listeners, a server, handlers of its own, a target to post to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.acceptance.asking import ADMIN
from tests.acceptance.conftest import Receiver, until
from tests.acceptance.laptops import ALL, CONFIGURATION, SOURCE, Laptop, Laptops, post

OTHERS = f"""
from receiver import Event, Router

router = Router(name="others")


@router.on({ALL})
def mine(event: Event) -> None:
    with open("mine", "a") as file:
        file.write(event.id + "\\n")
"""


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


def test_several_listeners_disturb_neither_each_other_nor_the_server(
    origin: Receiver, laptops: Laptops
) -> None:
    several = [laptops() for _ in range(3)]
    for laptop in several:
        laptop.start()
    for laptop in several:
        laptop.connects()
    posted = post(origin, 40)
    for laptop in several:
        laptop.handles(posted)
        assert laptop.stop() == 0
        assert laptop.ids() == sorted(posted)
    assert origin.log("server.failed") == []


def test_two_listeners_of_one_folder_share_its_store(origin: Receiver, laptops: Laptops) -> None:
    laptop = laptops()
    first = laptop.start()
    laptop.connects()
    second = laptop.start("--type", "video.failed")
    laptop.connects(2)
    posted = post(origin, 12)
    laptop.handles(posted)
    until(lambda: len(laptop.outcomes()) == 15, what="what both have heard")
    second.terminate()
    first.terminate()
    assert (second.wait(30), first.wait(30)) == (0, 0)
    assert laptop.ids() == sorted(posted)
    assert sorted(laptop.handled()) == sorted(posted)


def test_beside_a_server_its_store_and_its_workers_are_used(origin: Receiver, laptops: Laptops) -> None:
    laptop = laptops()
    laptop.configure(CONFIGURATION + SOURCE)
    with laptop.serving():
        laptop.start()
        laptop.connects()
        posted = post(origin, 8)
        laptop.handles(posted)
        assert laptop.stop() == 0
        assert laptop.ids() == sorted(posted)
        assert laptop.logged("worker.started") == []


def test_handlers_of_its_own_run_beside_a_server_that_does_not_know_them(
    origin: Receiver, laptops: Laptops
) -> None:
    laptop = laptops()
    laptop.configure(CONFIGURATION + SOURCE)
    (laptop.folder / "others.py").write_text(OTHERS)
    mine = laptop.folder / "mine"
    mine.touch()
    with laptop.serving():
        laptop.start("--handlers", "others.py")
        laptop.connects()
        posted = post(origin, 5)
        until(lambda: sorted(mine.read_text().split()) == sorted(posted), what="all handled")
        until(lambda: laptop.states("others.mine") == ["done"] * 5, what="all settled")
        assert laptop.stop() == 0
        assert laptop.states("hooks.note") == laptop.handled() == []
        assert laptop.ids() == sorted(posted)


@pytest.mark.parametrize("beside_a_server", [False, True])
def test_each_event_is_posted_onward_as_its_sender_would(
    origin: Receiver, laptops: Laptops, receivers: Callable[..., Receiver], beside_a_server: bool
) -> None:
    target = receivers("[handlers]\nload = []\n").start()
    laptop = laptops()
    laptop.configure(target.config.read_text().replace("load = []", 'load = ["hooks.py"]'))
    with laptop.serving() if beside_a_server else nullcontext():
        laptop.start("--to", f"{target.url}/webhooks/opennote")
        laptop.connects()
        posted = post(origin, 30)
        laptop.handles(posted)
        until(lambda: laptop.states("onward") == ["done"] * 30, what="all posted")
        assert laptop.stop() == 0
        assert laptop.ids() == sorted(posted)
    there = {event["event_key"]: event["bytes"] for event in target.events("--limit", "100")}
    assert there == {event["event_key"]: event["bytes"] for event in laptop.events()}


def test_a_target_that_is_not_this_machine_needs_leave_and_https(origin: Receiver, laptops: Laptops) -> None:
    laptop = laptops()
    for url, said in (
        ("https://hooks.example.com/x", "would get your credentials"),
        ("http://hooks.example.com/x", "plain http"),
    ):
        assert laptop.start("--to", url).wait(30) == 2
        assert said in laptop.log.read_text()
