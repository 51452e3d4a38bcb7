"""Bad credentials are counted for each peer; the peer behind a trusted proxy is the one it forwarded."""

from __future__ import annotations

import pytest

from receiver.peers import BURST, BadCredentials, TrustedProxies, peer_of


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_told_401_and_what_follows_has_to_wait() -> None:
    limit = BadCredentials(clock=Clock(), burst=100, per_second=10)

    waits = [limit.seconds_to_wait("a") for _ in range(102)]

    assert waits == [0.0] * 100 + [0.1, 0.1]


def test_the_burst_that_ships_is_at_least_a_hundred() -> None:
    limit = BadCredentials(clock=Clock())

    assert BURST >= 100
    assert sum(limit.seconds_to_wait("a") == 0 for _ in range(2 * BURST)) == BURST


def test_waiting_as_long_as_told_is_enough() -> None:
    clock = Clock()
    limit = BadCredentials(clock=clock, burst=1, per_second=4)
    limit.seconds_to_wait("a")

    wait = limit.seconds_to_wait("a")
    clock.now += wait

    assert wait == 0.25
    assert limit.seconds_to_wait("a") == 0
    assert limit.seconds_to_wait("a") > 0


def test_a_limited_peer_that_goes_on_asking_still_earns_its_turn() -> None:
    clock = Clock()
    limit = BadCredentials(clock=clock, burst=1, per_second=1)
    waits = []
    for _ in range(40):
        waits.append(limit.seconds_to_wait("a"))
        clock.now += 0.25

    assert waits.count(0.0) == 10


def test_silence_never_earns_more_than_the_burst() -> None:
    clock = Clock()
    limit = BadCredentials(clock=clock, burst=3, per_second=1)
    limit.seconds_to_wait("a")
    clock.now += 1e6

    assert [limit.seconds_to_wait("a") > 0 for _ in range(5)] == [False, False, False, True, True]


def test_one_peer_does_not_use_up_the_burst_of_another() -> None:
    limit = BadCredentials(clock=Clock(), burst=1, per_second=1)
    limit.seconds_to_wait("a")

    assert limit.seconds_to_wait("a") > 0
    assert limit.seconds_to_wait("b") == 0


def test_memory_is_bounded_and_the_peer_that_was_silent_longest_is_forgotten() -> None:
    limit = BadCredentials(clock=Clock(), burst=1, per_second=1)
    limit.seconds_to_wait("first")
    for number in range(20_000):
        limit.seconds_to_wait(f"peer {number}")
        if number < 9000:
            assert limit.seconds_to_wait("often") >= 0

    assert len(limit._buckets) == 10_000
    assert limit.seconds_to_wait("peer 19999") > 0
    assert limit.seconds_to_wait("first") == 0


PROXY = "10.0.0.1"
TRUSTED = frozenset({PROXY, "10.0.0.2"})


def forwarded(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *((b"x-forwarded-for", value) for value in values)]


@pytest.mark.parametrize(
    ("client", "headers", "peer"),
    [
        (None, [], "unknown"),
        (("203.0.113.9", 1), [], "203.0.113.9"),
        (("203.0.113.9", 1), forwarded(b"1.2.3.4"), "203.0.113.9"),
        ((PROXY, 1), [], PROXY),
        ((PROXY, 1), forwarded(b"1.2.3.4"), "1.2.3.4"),
        ((PROXY, 1), forwarded(b"6.6.6.6, 1.2.3.4"), "1.2.3.4"),
        ((PROXY, 1), forwarded(b"6.6.6.6", b"1.2.3.4"), "1.2.3.4"),
        ((PROXY, 1), forwarded(b"1.2.3.4, 10.0.0.2"), "1.2.3.4"),
        ((PROXY, 1), forwarded(b"1.2.3.4", b"10.0.0.2, 10.0.0.1"), "1.2.3.4"),
        ((PROXY, 1), forwarded(b"10.0.0.2"), PROXY),
        ((PROXY, 1), forwarded(b""), PROXY),
        ((PROXY, 1), forwarded(b"1.2.3.4,"), PROXY),
        ((PROXY, 1), forwarded(b"\x1b[2J"), PROXY),
        ((PROXY, 1), forwarded(b"\xff\x80"), PROXY),
        ((PROXY, 1), forwarded(b"2001:db8::1"), "2001:db8::1"),
    ],
)
def test_only_what_a_trusted_proxy_adds_is_believed(
    client: tuple[str, int] | None, headers: list[tuple[bytes, bytes]], peer: str
) -> None:
    assert peer_of(client, headers, TRUSTED) == peer


def test_a_forwarded_address_is_never_long() -> None:
    assert len(peer_of((PROXY, 1), forwarded(b"9" * 10_000), TRUSTED)) == 64


def test_nobody_is_trusted_unless_configured() -> None:
    assert peer_of(("127.0.0.1", 1), forwarded(b"1.2.3.4"), frozenset()) == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("10.0.0.1", True),
        ("10.255.0.9", True),
        ("::ffff:10.1.2.3", True),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("2001:db8:0:1::5", True),
        ("2001:db8:0:2::5", False),
        ("unknown", False),
        ("", False),
    ],
)
def test_proxies_are_trusted_by_address_and_by_network(address: str, is_trusted: bool) -> None:
    proxies = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "2001:db8:0:1::/64"])

    assert (address in proxies) is is_trusted
    assert address not in TrustedProxies([])


def test_the_peer_behind_a_chain_of_proxies_of_a_network_is_the_first_outside() -> None:
    headers = forwarded(b"6.6.6.6, 203.0.113.9, 10.3.3.3")

    assert peer_of(("10.1.1.1", 1), headers, TrustedProxies(["10.0.0.0/8"])) == "203.0.113.9"
