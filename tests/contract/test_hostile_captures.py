"""Captures that strangers make: refused, with nothing written and no more unpacked than they say."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import Any

import pytest

from receiver.capture.reading import opened
from receiver.errors import BadCapture
from tests.contract.sides import DIGEST, NO_LINES, Side, fill, forged, manifest


def tree(folder: Path) -> list[Path]:
    """Whatever lies in a folder, at any depth."""
    return sorted(folder.rglob("*"))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("members", "info", "complaint"),
    [
        ([("other.json", b"{}")], {}, "does not begin with capture.json"),
        ([manifest(), NO_LINES, ("../../escaped", b"x")], {}, "has no place"),
        ([manifest(), NO_LINES, ("/tmp/escaped", b"x")], {}, "has no place"),
        ([manifest(bodies=1), NO_LINES, ("bodies/../../escaped", b"x")], {}, "has no place"),
        (
            [manifest(bodies=1), NO_LINES, (f"bodies/{DIGEST}", b"")],
            {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
            "not a plain file",
        ),
        (
            [manifest(bodies=1), NO_LINES, (f"bodies/{DIGEST}", b"")],
            {"type": tarfile.LNKTYPE, "linkname": "capture.json"},
            "not a plain file",
        ),
        (
            [manifest(bodies=1), NO_LINES, (f"bodies/{DIGEST}", b"")],
            {"type": tarfile.FIFOTYPE},
            "not a plain file",
        ),
        ([manifest(), NO_LINES, ("bodies/x", b"")], {"type": tarfile.DIRTYPE}, "not a plain file"),
        (
            [manifest(bodies=1), NO_LINES, (f"bodies/{DIGEST}", b"x")],
            {"pax_headers": {"GNU.sparse.realsize": "1000000"}},
            "not a plain file",
        ),
        (
            [manifest(bodies=1), NO_LINES, (f"bodies/{DIGEST}", b"x")],
            {"pax_headers": {"path": "../escaped"}},
            "has no place",
        ),
        (
            [manifest(bodies=1), NO_LINES, (f"bodies/{DIGEST}", b"x")],
            {"pax_headers": {"comment": "x" * 70_000}},
            "far too long",
        ),
        ([manifest(), NO_LINES, ("SHA256SUMS", b"")], {}, "something comes after SHA256SUMS"),
        ([manifest(), NO_LINES, ("x" * 200, b"")], {}, "not a plain file"),
        ([manifest(), NO_LINES, NO_LINES], {}, "a member twice"),
        (
            [manifest(), NO_LINES, (f"bodies/{DIGEST}", b"x")],
            {},
            "there are 1 bodies, and capture.json says 0",
        ),
        ([manifest(bodies=1), NO_LINES, (f"bodies/{DIGEST}", b"y")], {}, "another one than its name"),
        ([manifest(videos=1), NO_LINES], {}, "there are 0 videos, and capture.json says 1"),
        ([manifest(events=1), NO_LINES], {}, "there are 0 events, and capture.json says 1"),
        ([manifest(deliveries=1), ("deliveries.jsonl", b"nonsense\n")], {}, "line 1: it is not JSON"),
        (
            [manifest(bytes=2**52, bodies=1), NO_LINES, (f"bodies/{DIGEST}", b"x")],
            {"size": 2**40},
            "too large",
        ),
        ([("capture.json", b"{" * 2000)], {}, "capture.json is not JSON"),
        ([("capture.json", b"{}")], {}, "capture.json: "),
        ([("capture.json", b" " * 1_100_000)], {}, "does not begin"),
    ],
)
async def test_a_hostile_archive_is_refused_and_writes_nothing(
    there: Side, tmp_path: Path, members: list[tuple[str, bytes]], info: dict[str, Any], complaint: str
) -> None:
    path = forged(tmp_path / "evil.tar", members, **info)
    before = tree(tmp_path)

    for is_partial in (False, True):
        if not is_partial or "not a plain" in complaint or "no place" in complaint:
            with pytest.raises(BadCapture, match=complaint):
                await there.imported(path, is_partial=is_partial)

    assert tree(tmp_path) == before


@pytest.mark.anyio
async def test_a_bomb_unpacks_to_what_it_says_and_no_further(there: Side, tmp_path: Path) -> None:
    zeros = bytes(40_000_000)
    for bytes_announced, complaint in ((1000, "more than it says"), (2**50, "for which there is no room")):
        plain = forged(
            tmp_path / "bomb.tar",
            [manifest(bodies=1, bytes=bytes_announced), NO_LINES, (f"bodies/{DIGEST}", zeros)],
        )
        bomb = tmp_path / "bomb.tar.gz"
        bomb.write_bytes(gzip.compress(plain.read_bytes(), 9))
        plain.unlink()
        assert bomb.stat().st_size < 60_000
        with pytest.raises(BadCapture, match=complaint):
            await there.imported(bomb)


@pytest.mark.anyio
async def test_a_member_that_is_larger_than_allowed_is_refused(
    here: Side, there: Side, tmp_path: Path
) -> None:
    await fill(here)
    await here.exported(tmp_path / "a.tar")
    with pytest.raises(BadCapture, match="too large"), opened(tmp_path / "a.tar", largest=100_000):
        pass
