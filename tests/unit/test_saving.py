"""What is written behind a stream stays in its order, and no piece follows one that is missing."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import AsyncGenerator, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from receiver.errors import Unfinished
from receiver.saving import PIECE_BYTES, Progress, Resumption, Saved, Target, save_stream
from receiver.stream import Kept, VideoStream
from tests.unit.test_context import MP4, Lines, leftovers, visible

EVENT = "evt_aaaaaaaa11111111"
VIDEO = MP4 + os.urandom(12 * PIECE_BYTES)


@pytest.fixture
def short_disk() -> Iterator[asyncio.Event]:
    """Happens when a file would grow beyond the limit; the limit is taken back in the end."""
    full = asyncio.Event()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, lambda *_: full.set())
    yield full
    signal.signal(signal.SIGXFSZ, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def pieces(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield VIDEO[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]


async def save(folder: Path, chunks: AsyncGenerator[bytes, None], kept: list[Kept]) -> Saved:
    def open_video(sink: Kept) -> VideoStream:
        kept.append(sink)
        return VideoStream(chunks)

    return await save_stream(
        open_video,
        target=Target("videos", folder, EVENT),
        name=lambda container: f"Cells.{container.extension}",
        progress=Progress(Lines()),
        resumption=Resumption("https://example.com/v.mp4", is_last=False),
    )


def part(folder: Path) -> Path:
    (found,) = (folder / "videos" / ".receiver" / "partial").glob("*.part")
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("size", [100, PIECE_BYTES - 1, 3 * PIECE_BYTES, len(VIDEO)])
async def test_what_is_written_behind_the_stream_is_the_stream(tmp_path: Path, size: int) -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, size, 700_001):
            yield VIDEO[start : min(start + 700_001, size)]

    saved = await save(tmp_path, chunks(), [])
    assert saved.path.read_bytes() == VIDEO[:size]
    assert (saved.bytes, saved.sha256) == (size, sha256(VIDEO[:size]).hexdigest())


async def failing(kept: list[Kept], full: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """Five pieces, of which the third can't be written, while there is room for the others."""
    await kept[0].begin(0, '"v1"', None)
    for number, piece in enumerate(pieces(5)):
        if number == 2:
            deadline = time.monotonic() + 10
            while kept[0].bytes < 2 * PIECE_BYTES:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.001)
            limit_files(2 * PIECE_BYTES + 100)
        yield piece
        if number == 2:
            await full.wait()
            limit_files(resource.RLIM_INFINITY)


@pytest.mark.anyio
@pytest.mark.fault("C4", "S11")
async def test_what_an_attempt_leaves_has_no_gap_where_a_write_failed(
    tmp_path: Path, short_disk: asyncio.Event
) -> None:
    is_waiting = asyncio.Event()

    async def stalling() -> AsyncGenerator[bytes, None]:
        async for piece in failing(kept, short_disk):
            yield piece
        is_waiting.set()
        await asyncio.sleep(60)

    kept: list[Kept] = []
    saving = asyncio.create_task(save(tmp_path, stalling(), kept))
    await is_waiting.wait()
    for _ in range(20):
        await asyncio.sleep(0.01)  # time enough for a piece that should not be written
    saving.cancel()
    await asyncio.wait([saving])
    assert part(tmp_path).read_bytes() == VIDEO[: 2 * PIECE_BYTES + 100]


@pytest.mark.anyio
@pytest.mark.fault("C4")
async def test_a_write_that_failed_is_told_even_when_the_stream_breaks_off(
    tmp_path: Path, short_disk: asyncio.Event
) -> None:
    async def breaking() -> AsyncGenerator[bytes, None]:
        async for piece in failing(kept, short_disk):
            yield piece
        raise Unfinished("the connection broke")

    kept: list[Kept] = []
    with pytest.raises(OSError, match="too large"):
        await save(tmp_path, breaking(), kept)
    assert visible(tmp_path) == []
    assert leftovers(tmp_path) == []
