"""Makes the pictures that go with a video: a thumbnail (WebP) and a spritesheet (JPEG) of its frames."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from receiver.sandbox.videos import MediaFile, identify

Run = Callable[[Sequence[str]], Awaitable[bool]]
"""Runs ffmpeg with arguments; says whether it is there and ended well."""
_FRAMES = (
    "[0:v]split=2[a][b];"
    r"[a]select=eq(n\,6)[thumbnail];"
    "[b]fps=3,scale=120:-2,tile=3x3[spritesheet]"
)
_SUFFIXES = {"thumbnail": "webp", "spritesheet": "jpg"}
_TYPES = {"thumbnail": "image/webp", "spritesheet": "image/jpeg"}
_START_OF_JPEG = b"\xff\xd8"


async def picture(video: MediaFile, *, run: Run) -> dict[str, MediaFile]:
    """Make both beside a video; where `run` has no ffmpeg they are packaged samples.

    Each has the name of the video inside, so that those of two videos differ. Raise OSError when one
    can't be written.
    """
    paths = {variant: video.path.with_suffix(f".{suffix}") for variant, suffix in _SUFFIXES.items()}
    is_made = await run(_arguments(video.path, paths))
    return await asyncio.to_thread(_finish, paths, video.path.stem, is_made=is_made)


def _arguments(video: Path, paths: Mapping[str, Path]) -> list[str]:
    return [
        *("-i", str(video), "-filter_complex", _FRAMES, "-threads", "1"),
        *("-map", "[thumbnail]", "-frames:v", "1", "-c:v", "libwebp", str(paths["thumbnail"])),
        *("-map", "[spritesheet]", "-frames:v", "1", "-q:v", "8", str(paths["spritesheet"])),
    ]


def _finish(paths: Mapping[str, Path], name: str, *, is_made: bool) -> dict[str, MediaFile]:
    for variant, path in paths.items():
        content = path.read_bytes() if is_made else packaged(variant)
        path.write_bytes(_MARKS[variant](content, name.encode()))
    return {variant: identify(path, _TYPES[variant]) for variant, path in paths.items()}


def packaged(variant: str) -> bytes:
    """Give the sample picture of this variant."""
    return resources.files("receiver.sandbox").joinpath(f"sample.{_SUFFIXES[variant]}").read_bytes()


def mark_webp(content: bytes, mark: bytes) -> bytes:
    """Add a chunk that no reader knows, and so skips (RFC 9649, section 2.3 and on)."""
    chunk = b"mark" + len(mark).to_bytes(4, "little") + mark + b"\0" * (len(mark) % 2)
    size = int.from_bytes(content[4:8], "little") + len(chunk)
    return content[:4] + size.to_bytes(4, "little") + content[8:] + chunk


def mark_jpeg(content: bytes, mark: bytes) -> bytes:
    """Add a comment at its beginning (ISO/IEC 10918-1, B.2.4.5)."""
    comment = b"\xff\xfe" + (2 + len(mark)).to_bytes(2, "big") + mark
    return _START_OF_JPEG + comment + content.removeprefix(_START_OF_JPEG)


_MARKS: Mapping[str, Callable[[bytes, bytes], bytes]] = {"thumbnail": mark_webp, "spritesheet": mark_jpeg}
