"""Leases on a clock that the test moves."""

from __future__ import annotations

from receiver.store.leases import Leases


class Clock:
    """A monotonic clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_lease_runs_for_its_time_and_not_longer() -> None:
    clock = Clock()
    leases = Leases(60.0, clock=clock)
    leases.renew("a")
    for seconds, is_over in ((0.0, False), (59.999, False), (60.0, True), (3600.0, True)):
        clock.now = 1000.0 + seconds
        assert leases.expired() == (["a"] if is_over else [])
        assert leases.living() == ([] if is_over else ["a"])


def test_a_renewal_begins_the_lease_anew() -> None:
    clock = Clock()
    leases = Leases(60.0, clock=clock)
    for _ in range(10):
        leases.renew("a")
        clock.now += 59.0
    assert leases.living() == ["a"]
    clock.now += 1.0
    assert leases.expired() == ["a"]
    leases.renew("a")
    assert leases.living() == ["a"]


def test_every_worker_has_a_lease_of_its_own() -> None:
    clock = Clock()
    leases = Leases(10.0, clock=clock)
    for worker in ("a", "b", "c"):
        leases.renew(worker)
        clock.now += 4.0
    assert leases.expired() == ["a"]
    assert leases.living() == ["b", "c"]


def test_a_worker_that_is_forgotten_neither_lives_nor_expires() -> None:
    clock = Clock()
    leases = Leases(10.0, clock=clock)
    leases.renew("a")
    leases.forget("a")
    leases.forget("nobody")
    assert leases.living() == []
    clock.now += 100.0
    assert leases.expired() == []


def test_it_is_known_how_long_ago_the_last_check_was() -> None:
    clock = Clock()
    leases = Leases(60.0, clock=clock)
    clock.now += 7.0
    assert leases.check_age == 7.0
    leases.note_check()
    clock.now += 2.0
    assert leases.check_age == 2.0
