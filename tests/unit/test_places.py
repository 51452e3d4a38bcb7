"""Places: never past what is not done, whatever order it is done in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from receiver.places import Places


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_the_place_is_behind_all_that_is_done_and_before_the_first_that_is_not(
    order: list[int], done_at_once: set[int]
) -> None:
    places = Places()
    under_way = [places.begin(str(number), is_done=number in done_at_once) for number in range(8)]
    last = None
    for number in order:
        under_way[number].is_done = True
        last = places.reached() or last
        done = [place.is_done for place in under_way]
        expected = done.index(False) - 1 if False in done else 7
        assert last == (None if expected < 0 else str(expected))
    assert (len(places), places.reached()) == (0, None)
