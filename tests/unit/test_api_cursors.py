"""Cursors: they come back as they went out, in their record only."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from receiver.api.cursors import PATTERN, Cursors

OURS, OTHERS = Cursors(b"k" * 32), Cursors(b"o" * 32)


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_is_read_as_it_was_written_and_by_no_other_record(seq: int) -> None:
    cursor = OURS.write(seq)
    assert re.fullmatch(PATTERN, cursor)
    assert OURS.read(cursor) == seq
    assert OTHERS.read(cursor) is None


@given(st.text(max_size=40))
def test_no_text_is_a_cursor_by_chance(text: str) -> None:
    assert OURS.read(text) is None


@given(st.integers(0, 2**63 - 1), st.integers(0, 19), st.sampled_from("AZaz09-_+/= é"))
def test_a_changed_cursor_is_none_or_another_place(seq: int, place: int, letter: str) -> None:
    cursor = OURS.write(seq)
    changed = cursor[:place] + letter + cursor[place + 1 :]
    read = OURS.read(changed)
    assert read is None or OURS.write(read) == changed
