"""Identifiers that sort by time; durations and sizes as people write them."""

from __future__ import annotations

import random
import re
from datetime import timedelta

import pytest

from receiver.ids import RANDOM_BYTES, event_id, replay_id
from receiver.units import duration, in_words, rate, size

NOW = 1_700_000_000_000


def test_an_id_is_a_prefix_and_lower_case_letters_and_digits() -> None:
    for filler in (b"\x00", b"\xff", b"\x5a"):
        assert re.fullmatch("evt_[0-9a-z]{26,32}", event_id(NOW, filler * RANDOM_BYTES))


def test_ids_sort_by_time_whatever_their_random_part() -> None:
    luck = random.Random(1)
    times = [*sorted(luck.sample(range(2**44), 500)), 2**44, 2**44 + 1]
    made = [event_id(moment, luck.randbytes(RANDOM_BYTES)) for moment in times]
    assert made == sorted(made)
    assert event_id(NOW, b"\xff" * RANDOM_BYTES) < event_id(NOW + 1, bytes(RANDOM_BYTES))


def test_every_bit_of_chance_and_of_time_is_in_the_id() -> None:
    zero = event_id(NOW, bytes(RANDOM_BYTES))
    flipped = [event_id(NOW, (1 << bit).to_bytes(RANDOM_BYTES, "big")) for bit in range(RANDOM_BYTES * 8)]
    moved = [event_id(NOW ^ (1 << bit), bytes(RANDOM_BYTES)) for bit in range(44)]
    assert len({zero, *flipped, *moved}) == 1 + len(flipped) + len(moved)
    assert len({len(each) for each in (zero, *flipped, *moved)}) == 1


def test_the_random_part_leaves_no_room_for_accidents() -> None:
    assert RANDOM_BYTES >= 8


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1.5h", 5400),
        ("30d", 2_592_000),
        ("2w", 1_209_600),
        ("250ms", 0.25),
        (" 5 M ", 300),
        ("7", 7),
        (7, 7),
        (0.5, 0.5),
        (0, 0),
        (timedelta(minutes=2), 120),
        ("36500d", 36500 * 86400),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str | float | timedelta, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", "s", "-1s", "1 s 2", "1y", "1e3s", "½h", "٣s", "1,5h", "1.h", ".5h", "10 minutes", "36501d"),
        *(-1, float("nan"), float("inf"), -0.1, True, None, [], timedelta(seconds=-1)),
    ],
    ids=repr,
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"duration|expected a number and a unit"):
        duration(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("64KiB", 65536),
        ("1GiB", 2**30),
        ("1.5GB", 1_500_000_000),
        ("2 mib", 2**21),
        ("1kb", 1000),
        ("3TB", 3 * 10**12),
        ("1TiB", 2**40),
        ("12b", 12),
        ("12", 12),
        (12, 12),
        (0, 0),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str | int, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "KiB", "-1", "1 K", "1GiB!", "1e3", "0x10", "٣b", "5000000TiB", 2**63, -1, 1.5, True, None],
    ids=repr,
)
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"size|expected a number and a unit"):
        size(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1, "1s"),
        (30, "30s"),
        (60, "1m"),
        (90, "90s"),
        (600, "10m"),
        (3600, "1h"),
        (5400, "90m"),
        (86400, "1d"),
        (604800, "1w"),
        (30 * 86400, "30d"),
    ],
)
def test_a_duration_is_written_for_people_and_read_back(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
    assert duration(words) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "per_second"), [("10/s", 10), ("90/m", 1.5), ("900 / h", 0.25), ("0.5/s", 0.5), (7, 7), ("3", 3)]
)
def test_a_rate_is_so_many_a_second(text: str | int, per_second: float) -> None:
    assert rate(text) == per_second


@pytest.mark.parametrize("text", ["", "/s", "0/s", "-1/s", "10/d", "ten/s", "inf", "nan/s", "1/2/s"])
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example '10/s'"):
        rate(text)


def test_ids_of_replays_sort_by_time_too() -> None:
    assert replay_id(1, bytes(8)) == "rpl_0000000000010000000000000000"
    assert replay_id(1, b"\xff" * 8) < replay_id(2, bytes(8))
