"""Reading Range headers as RFC 9110, section 14 has it."""

from __future__ import annotations

import pytest

from receiver.sandbox.files import byte_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", range(1)),
        ("bytes=0-9", range(10)),
        ("bytes=3-5", range(3, 6)),
        ("bytes=3-", range(3, 10)),
        ("bytes=3-99", range(3, 10)),
        ("bytes=-4", range(6, 10)),
        ("bytes=-99", range(10)),
        ("BYTES= 3-5 ", range(3, 6)),
    ],
)
def test_a_range_within_the_file_is_read(header: str, expected: range) -> None:
    assert byte_range(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=99-", "bytes=-0"])
def test_a_range_beyond_the_file_is_empty(header: str) -> None:
    found = byte_range(header, 10)
    assert found is not None
    assert not found


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=5-3", "bytes=0-1,3-4", "bytes=a-b", "lines=0-1", "bytes=0-٣"],
)
def test_what_is_no_single_byte_range_is_ignored(header: str) -> None:
    assert byte_range(header, 10) is None
