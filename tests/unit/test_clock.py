"""Jobs go on being due when the wall clock is set back."""

from __future__ import annotations

import pytest

from receiver.store.clock import DueClock

NOW = 1_700_000_000_000


class Clocks:
    """One that people set, and one that only goes on."""

    def __init__(self) -> None:
        self.wall, self.monotonic = NOW, 100.0
        self.due = DueClock(lambda: self.wall, lambda: self.monotonic)

    def pass_by(self, seconds: float) -> None:
        self.wall += round(seconds * 1000)
        self.monotonic += seconds


def test_it_is_the_wall_clock_while_nobody_sets_it() -> None:
    clocks = Clocks()
    clocks.pass_by(5)

    assert clocks.due() == NOW + 5000
    assert clocks.due.ahead_ms == 0


@pytest.mark.fault("O5")
def test_it_goes_on_where_it_was_when_the_wall_clock_is_set_back() -> None:
    clocks = Clocks()
    clocks.wall -= 3_600_000
    clocks.pass_by(2)

    assert clocks.due() == NOW + 2000
    assert clocks.due.ahead_ms == 3_600_000
    clocks.pass_by(3)
    assert clocks.due() == NOW + 5000


@pytest.mark.fault("O5")
def test_it_is_the_wall_clock_again_when_that_one_is_set_right() -> None:
    clocks = Clocks()
    clocks.wall -= 600_000
    clocks.due()
    clocks.wall += 600_000

    assert (clocks.due(), clocks.due.ahead_ms) == (NOW, 0)
    clocks.wall += 600_000
    assert (clocks.due(), clocks.due.ahead_ms) == (NOW + 600_000, 0), "what is set forward is believed"


def test_a_wall_clock_that_is_trimmed_is_followed() -> None:
    clocks = Clocks()
    for _ in range(100):
        clocks.pass_by(10)
        clocks.wall -= 5
        clocks.due()

    assert (clocks.due(), clocks.due.ahead_ms) == (clocks.wall, 0)
