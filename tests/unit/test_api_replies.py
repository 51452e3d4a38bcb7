"""Ranges: read as RFC 9110 says, one at a time, whatever is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.api.replies import Lines, Whole, is_known, wanted_part

ETAG = b'"e"'


def part(said: str, size: int, *more: tuple[bytes, bytes]) -> tuple[int, int] | int | None:
    """The part, or the status of a refusal."""
    found = wanted_part([(b"range", said.encode("latin-1")), *more], size=size, etag=ETAG)
    return found.status if isinstance(found, Whole) else found


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 60))
def test_a_range_is_what_slicing_would_give(first: int, last: int, size: int) -> None:
    content = bytes(range(size))
    found = part(f"bytes={first}-{last}", size)
    if last < first:
        assert found is None  # no range at all
    elif first >= size:
        assert found == 416
    else:
        assert isinstance(found, tuple)
        assert content[slice(*found)] == content[first : last + 1]
    open_end = part(f"bytes={first}-", size)
    assert open_end == (416 if first >= size else (first, size))


@given(st.integers(0, 99), st.integers(0, 60))
def test_a_suffix_is_the_end_of_it(length: int, size: int) -> None:
    found = part(f"bytes=-{length}", size)
    assert found == (416 if not (length and size) else (max(0, size - length), size))


@given(st.text(st.characters(max_codepoint=255), max_size=80))
def test_whatever_is_asked_for_there_is_a_part_or_all_or_a_refusal(said: str) -> None:
    found = part(said, 1000)
    assert found in (None, 416) or (isinstance(found, tuple) and 0 <= found[0] < found[1] <= 1000)


def test_a_part_is_given_only_of_the_file_that_was_meant() -> None:
    assert part("bytes=0-1", 9, (b"if-range", ETAG)) == (0, 2)
    assert part("bytes=0-1", 9, (b"if-range", b'"other"')) is None
    assert part("bytes=0-1", 9, (b"if-range", b"W/" + ETAG)) is None
    assert part("bytes=0-1", 9, (b"range", b"bytes=3-4")) == 416
    assert part("BYTES=0-1", 9) == (0, 2)


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ([], False),
        ([b'"e"'], True),
        ([b'W/"e"'], True),
        ([b'"a", "e" '], True),
        ([b'"a"', b'"e"'], True),
        ([b"*"], True),
        ([b'"a"', b"e", b""], False),
    ],
)
def test_what_a_reader_has_already_is_not_sent_again(said: list[bytes], known: bool) -> None:
    assert is_known([(b"if-none-match", value) for value in said], ETAG) is known


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "asked"), [("GET", 3), ("HEAD", 0)])
async def test_lines_are_asked_for_only_when_they_are_sent(method: str, asked: int) -> None:
    told: list[int] = []
    sent: list[Any] = []

    async def lines() -> AsyncIterator[bytes]:
        for number in range(3):
            told.append(number)
            yield b"{}\n"

    async def send(message: Any) -> None:
        sent.append(message)

    released = asyncio.Event()
    await Lines(lines(), released.set).send({"method": method}, asyncio.Event().wait, send)  # type: ignore[arg-type]

    assert len(told) == asked
    assert b"".join(message.get("body", b"") for message in sent) == b"{}\n" * asked
    assert "more_body" not in sent[-1]
    assert released.is_set()
