"""Cursors: they come back as they went out, in their record only, and say of which event they are."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from receiver.api.cursors import PATTERN, Cursors, Spot

OURS, OTHERS = Cursors(b"k" * 32), Cursors(b"o" * 32)
EVENT = "evt_01a219d727d794500952a3cc2124"
SEQS = st.integers(0, 2**63 - 1)
EVENTS = st.sampled_from([None, EVENT])


@given(SEQS, EVENTS)
def test_a_cursor_is_read_as_it_was_written_and_by_no_other_record(seq: int, event: str | None) -> None:
    cursor = OURS.write(seq, event)
    assert re.fullmatch(PATTERN, cursor)
    assert OURS.read(cursor) == Spot(seq, OURS.mark(event) if event else None)
    assert OTHERS.read(cursor) is None


def test_another_event_has_another_mark() -> None:
    assert OURS.mark(EVENT) != OURS.mark(EVENT[:-1] + "5")
    assert OURS.write(7, EVENT)[:20] == OURS.write(7)


@given(st.text(max_size=40))
def test_no_text_is_a_cursor_by_chance(text: str) -> None:
    assert OURS.read(text) is None


@given(SEQS, EVENTS, st.integers(0, 24))
def test_a_cursor_that_was_cut_is_none_but_where_the_mark_begins(
    seq: int, event: str | None, length: int
) -> None:
    cut = OURS.write(seq, event)[:length]
    assert (OURS.read(cut) is not None) == (length >= 20 and len(cut) in (20, 24))


@given(SEQS, EVENTS, st.integers(0, 23), st.sampled_from("AZaz09-_+/= é"))
def test_a_changed_cursor_is_none_or_another_place(
    seq: int, event: str | None, place: int, letter: str
) -> None:
    cursor = OURS.write(seq, event)
    changed = cursor[:place] + letter + cursor[place + 1 :]
    read = OURS.read(changed)
    assert read is None or OURS.write(read.seq) == changed[:20]
