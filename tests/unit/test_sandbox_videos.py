"""Making files with and without ffmpeg."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from receiver.sandbox.videos import MediaFile, VideoMaker, find_ffmpeg


def decode(path: Path) -> None:
    """Decode every frame and sample of a file; fail with what ffmpeg complains about."""
    program = find_ffmpeg()
    if program is None:
        pytest.skip("needs ffmpeg, on PATH or from the package imageio-ffmpeg")
    command = [program, "-nostdin", "-v", "error", "-xerror", "-i", str(path), "-map", "0:v", "-map", "0:a"]
    ended = subprocess.run([*command, "-f", "null", "-"], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


async def make_two(maker: VideoMaker) -> list[MediaFile]:
    return list(await asyncio.gather(maker.make("the-job-one"), maker.make("the-job-two")))


@pytest.mark.anyio
async def test_ffmpeg_makes_files_that_play_and_differ(tmp_path: Path) -> None:
    if find_ffmpeg() is None:
        pytest.skip("needs ffmpeg, on PATH or from the package imageio-ffmpeg")
    one, two = await make_two(VideoMaker(tmp_path))
    assert one.sha256 != two.sha256
    assert b"the-job-one" in one.path.read_bytes(), "a chance match of picture and tone is no match of files"
    assert not one.path.read_bytes().startswith(sample())
    decode(one.path)


@pytest.mark.anyio
async def test_without_ffmpeg_the_sample_plays_and_differs(tmp_path: Path) -> None:
    one, two = await make_two(VideoMaker(tmp_path, find=lambda: None))
    assert one.sha256 != two.sha256
    assert one.path.read_bytes().startswith(sample())
    decode(one.path)
    decode(two.path)


@pytest.mark.anyio
@pytest.mark.parametrize("program", ["/bin/false", "/no/such/ffmpeg"])
async def test_an_ffmpeg_that_fails_gives_way_to_the_sample(tmp_path: Path, program: str) -> None:
    made = await VideoMaker(tmp_path, find=lambda: program).make("one")
    assert made.path.read_bytes().startswith(sample())


@pytest.mark.anyio
async def test_a_file_is_described_by_its_own_bytes(tmp_path: Path) -> None:
    made = await VideoMaker(tmp_path, find=lambda: None).make("one")
    content = (tmp_path / "one.mp4").read_bytes()
    assert (made.path, made.bytes) == (tmp_path / "one.mp4", len(content))
    assert made.sha256 == hashlib.sha256(content).hexdigest()
    assert made.md5 == hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.anyio
async def test_a_folder_that_is_gone_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await VideoMaker(tmp_path / "gone", find=lambda: None).make("one")


def test_the_sample_is_small() -> None:
    assert len(sample()) <= 60_000


def sample() -> bytes:
    return resources.files("receiver.sandbox").joinpath("sample.mp4").read_bytes()
