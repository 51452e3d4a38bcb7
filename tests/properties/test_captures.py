"""Whatever bytes a capture has: it is whole, or it is refused with a reason; nothing else ever happens."""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.capture import layout
from receiver.capture.layout import FORMAT, Manifest
from receiver.capture.reading import opened
from receiver.capture.writing import written
from receiver.copies import read_line
from receiver.errors import BadCapture, BadCopy

BODY = json.dumps({"status": "completed", "x": "y" * 70_000}).encode()
DIGEST = hashlib.sha256(BODY).hexdigest()


@cache
def whole(*, is_compressed: bool) -> bytes:
    """A small capture with a body of its own."""
    lines = b'{"event":"evt_1"}\n{"event":"evt_2"}\n'
    manifest = Manifest(
        format=FORMAT, events=2, deliveries=2, bodies=1, videos=0, bytes=len(lines) + len(BODY), filter={}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        with written(path, is_compressed=is_compressed) as writer:
            text = layout.manifest_text(manifest)
            writer.add(layout.MANIFEST, text, size=len(text))
            writer.add(layout.DELIVERIES, lines, size=len(lines))
            writer.add(f"{layout.BODIES}{DIGEST}", BODY, size=len(BODY))
            writer.finish()
        return path.read_bytes()


def look(content: bytes, *, is_partial: bool) -> tuple[list[str], list[bytes]]:
    """Open it, read all that is whole; the names and the lines. Raise BadCapture."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        with opened(Path(file.name), is_partial=is_partial, largest=2**20) as capture:
            for name in capture.members:
                with capture.open(name) as member:
                    if name.startswith(layout.BODIES):
                        assert hashlib.sha256(member.read()).hexdigest() == DIGEST
            return sorted(capture.members), list(capture.lines())


def test_a_whole_one_is_read_as_it_was_written() -> None:
    for is_compressed in (False, True):
        names, lines = look(whole(is_compressed=is_compressed), is_partial=False)
        assert names == [f"bodies/{DIGEST}", "deliveries.jsonl"]
        assert len(lines) == 2


@settings(max_examples=300, deadline=None)
@given(
    st.booleans(),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5),
    st.floats(0, 1),
)
def test_a_mutilated_one_is_refused_or_says_what_is_whole(
    is_compressed: bool, changes: list[tuple[float, int]], cut: float
) -> None:
    content = bytearray(whole(is_compressed=is_compressed))
    for where, value in changes:
        content[int(where * len(content))] = value
    mutilated = bytes(content[: int(cut * len(content)) or None])
    for is_partial in (False, True):
        try:
            names, _ = look(mutilated, is_partial=is_partial)
        except BadCapture:
            continue
        assert set(names) <= {f"bodies/{DIGEST}", "deliveries.jsonl"}
        assert is_partial or len(names) == 2


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_no_capture(content: bytes) -> None:
    for wrapped in (content, gzip.compress(content)):
        with pytest.raises(BadCapture):
            look(wrapped, is_partial=True)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda each: (
            st.lists(each)
            | st.dictionaries(st.sampled_from(["event", "news", "headers", "body", "via", "x"]), each)
        ),
    )
)
def test_any_json_is_no_delivery(value: object) -> None:
    with pytest.raises(BadCopy):
        read_line(json.dumps(value).encode("utf-8", "surrogatepass"))
