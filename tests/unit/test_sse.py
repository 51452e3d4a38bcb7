"""Server-sent events: the same messages however the stream is cut, and nothing without an end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import Hopeless
from receiver.sse import LONGEST_BLOCK, Message, Messages

STREAM = (
    b"retry: 2000\n\n: hello\n\n"
    b"id: a\n\n"
    b'id: b\ndata: {"x":1}\n\n'
    b": nothing new\nid: b\n\n"
    b"event: gap\ndata:one\ndata: two\r\n\r\n"
    b"event: left out\n\n"
    b"unknown: field\nid: c\0d\ndata\n\n"
    b"id: \xc3\xa9\ndata: \xe2\x86\x92: b\n\n"
)
MEANT = [
    Message("message", "", "a"),
    Message("message", '{"x":1}', "b"),
    Message("gap", "one\ntwo", "b"),
    Message("message", "", "b"),
    Message("message", "→: b", "é"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_a_stream_means_the_same_wherever_it_is_cut(cuts: list[int]) -> None:
    messages, found = Messages(), list[Message]()
    places = [0, *sorted(cuts), len(STREAM)]
    for begin, end in pairwise(places):
        found += messages.feed(STREAM[begin:end])
    assert found == MEANT


def test_a_message_is_there_only_when_it_has_ended() -> None:
    messages = Messages()
    assert list(messages.feed(b"data: x\n")) == []
    assert list(messages.feed(b"\n")) == [Message("message", "x", "")]


LONG = [b"data: " + b"x" * LONGEST_BLOCK + b"x", b"data: xxxxxxxx\n" * (LONGEST_BLOCK // 8)]


@pytest.mark.parametrize("chunk", LONG, ids=["a line", "a message"])
def test_what_has_no_end_is_refused(chunk: bytes) -> None:
    with pytest.raises(Hopeless, match="too long"):
        list(Messages().feed(chunk))


def test_what_is_not_utf8_is_refused() -> None:
    with pytest.raises(Hopeless, match="UTF-8"):
        list(Messages().feed(b"data: \xff\n\n"))
