"""The time of a denial says nothing about the key; a short form of `make timing`."""

from __future__ import annotations

import statistics

import pytest

from receiver.sources.base import Denied
from tests.faults.timing import careless, guesses, t_of
from tests.samples.reading import API_KEY, opennote, sample

SAMPLES = 3000
LOOSE = 10.0
"""Above what a busy machine does by itself, far below what a careless comparison gives."""


@pytest.mark.fault("A2")
def test_how_much_of_a_key_is_right_does_not_show_in_the_time_of_the_denial() -> None:
    source = opennote()
    assert isinstance(source.admit(sample("opennote", "completed_s3").headers[:-1]), Denied)

    found = [abs(t_of(source.admit, samples=SAMPLES, seed=seed)) for seed in range(3)]

    assert statistics.median(found) < LOOSE


def test_the_measurement_sees_a_comparison_that_ends_early() -> None:
    assert abs(t_of(careless, samples=SAMPLES, seed=0)) > 5 * LOOSE


def test_the_two_classes_differ_from_the_key_where_they_should() -> None:
    key = API_KEY.encode()
    early, late = guesses(key)

    assert all(len(guess) == len(key) and guess[0] != key[0] for guess in early)
    assert all(guess[:-1] == key[:-1] and guess[-1] != key[-1] for guess in late)
    assert len(early) == len(late) > 50
