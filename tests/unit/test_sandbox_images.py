"""The pictures that go with a video, with and without ffmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from receiver.sandbox.images import packaged, picture
from receiver.sandbox.videos import MediaFile, VideoMaker, find_ffmpeg

STARTS = {"thumbnail": b"RIFF", "spritesheet": b"\xff\xd8\xff"}


def decode(path: Path) -> None:
    """Decode a picture; fail with what ffmpeg complains about."""
    program = find_ffmpeg()
    if program is None:
        pytest.skip("needs ffmpeg, on PATH or from the package imageio-ffmpeg")
    command = [program, "-nostdin", "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


async def pictures(maker: VideoMaker, name: str) -> dict[str, MediaFile]:
    return await picture(await maker.make(name), run=maker.run)


@pytest.mark.anyio
async def test_ffmpeg_makes_pictures_of_the_video(tmp_path: Path) -> None:
    if find_ffmpeg() is None:
        pytest.skip("needs ffmpeg, on PATH or from the package imageio-ffmpeg")
    made = await pictures(VideoMaker(tmp_path), "video_1")
    assert {variant: file.media_type for variant, file in made.items()} == {
        "thumbnail": "image/webp",
        "spritesheet": "image/jpeg",
    }
    for variant, file in made.items():
        content = file.path.read_bytes()
        assert (len(content), b"video_1" in content) == (file.bytes, True)
        assert content.startswith(STARTS[variant])
        assert packaged(variant)[100:] not in content
        decode(file.path)


@pytest.mark.anyio
@pytest.mark.parametrize("program", [None, "/bin/false"])
async def test_without_ffmpeg_they_are_samples_that_differ(tmp_path: Path, program: str | None) -> None:
    maker = VideoMaker(tmp_path, find=lambda: program)
    one, two = await pictures(maker, "video_1"), await pictures(maker, "video_22")
    for variant in ("thumbnail", "spritesheet"):
        assert packaged(variant)[100:] in one[variant].path.read_bytes()
        assert one[variant].path.read_bytes().startswith(STARTS[variant])
        assert one[variant].sha256 != two[variant].sha256
        decode(one[variant].path)
        decode(two[variant].path)


def test_the_samples_are_small() -> None:
    assert len(packaged("thumbnail")) + len(packaged("spritesheet")) < 20_000
