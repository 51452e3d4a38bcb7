"""What is claimed ahead: of quick jobs a tenth of a second, of slow ones nothing; handlers take turns."""

from __future__ import annotations

import pytest

from receiver.backlog import Backlog


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backlog(clock: Clock) -> Backlog:
    return Backlog(clock)


def put(backlog: Backlog, *handlers: str) -> None:
    for number, handler in enumerate(handlers):
        backlog.put({"job": number, "handler": handler})


def work(backlog: Backlog, clock: Clock, *, per_second: float, seconds: float) -> int:
    """Let so many jobs end, and ask after each how many may be claimed ahead."""
    ahead = 0
    for _ in range(round(per_second * seconds)):
        clock.now += 1 / per_second
        backlog.note_done()
        ahead = backlog.ahead()
    return ahead


def test_nothing_is_claimed_ahead_at_first(backlog: Backlog) -> None:
    assert (backlog.ahead(), len(backlog), backlog.is_stale()) == (0, 0, False)


@pytest.mark.parametrize(("per_second", "ahead"), [(20, 0), (90, 0), (1000, 100), (2500, 250), (50_000, 512)])
def test_a_tenth_of_a_second_of_quick_jobs_is_claimed_ahead(
    backlog: Backlog, clock: Clock, per_second: int, ahead: int
) -> None:
    assert work(backlog, clock, per_second=per_second, seconds=1) == pytest.approx(ahead, rel=0.1)


def test_nothing_is_claimed_ahead_when_the_jobs_have_become_slow(backlog: Backlog, clock: Clock) -> None:
    assert work(backlog, clock, per_second=5000, seconds=1) > 0

    assert work(backlog, clock, per_second=10, seconds=2) == 0


def test_handlers_take_turns_and_none_begins_without_a_slot(backlog: Backlog) -> None:
    put(backlog, "a", "a", "a", "b", "c")
    taken = [backlog.take(lambda name: name != "c") for _ in range(5)]

    assert [row and row["handler"] for row in taken] == ["a", "b", "a", "a", None]
    assert (len(backlog), backlog.of("a"), backlog.of("c"), backlog.jobs()) == (1, 0, 1, [4])


def test_jobs_of_a_handler_keep_their_order(backlog: Backlog) -> None:
    put(backlog, "a", "a", "a")

    assert [backlog.take(lambda _: True) for _ in range(3)] == [{"job": n, "handler": "a"} for n in range(3)]


def test_what_has_waited_for_seconds_is_stale_until_it_is_cleared(backlog: Backlog, clock: Clock) -> None:
    put(backlog, "a", "b")
    clock.now += 1.9
    assert not backlog.is_stale()
    clock.now += 0.2
    assert backlog.is_stale()

    backlog.clear()
    assert (len(backlog), backlog.jobs(), backlog.is_stale()) == (0, [], False)
