"""Makes small MP4 files that play and that differ from one job to the next.

Not for load tests: a file has a few seconds and some ten kilobytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

_SECONDS = 3
_TIMEOUT_SECONDS = 20
_AT_ONCE = 2
_QUIETLY = ("-nostdin", "-v", "quiet", "-y")


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A finished file, and what identifies its bytes."""

    path: Path
    bytes: int
    sha256: str
    """Hexadecimal."""
    md5: str
    """Hexadecimal; what S3 gives as ETag of a simple upload."""
    media_type: str = "video/mp4"


def find_ffmpeg() -> str | None:
    """Find an ffmpeg: on PATH, else the one that the package imageio-ffmpeg carries."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ModuleNotFoundError, RuntimeError):  # RuntimeError: it has no program for this platform
        return None


class VideoMaker:
    """Makes files in `directory`, which belongs to the caller.

    Without ffmpeg, or when ffmpeg fails, a file is the packaged sample with a box of its own at the end.
    """

    def __init__(self, directory: Path, *, find: Callable[[], str | None] = find_ffmpeg) -> None:
        self._directory = directory
        self._find = find
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def make(self, name: str) -> MediaFile:
        """Make the file of the job `name`, a safe file name. Raise OSError when it can't be written."""
        path = self._directory / f"{name}.mp4"
        if not await self.run(_arguments(name, path)):
            await asyncio.to_thread(path.write_bytes, sample(name))
        return await asyncio.to_thread(identify, path)

    async def run(self, arguments: Sequence[str]) -> bool:
        """Run ffmpeg, a few at once; say whether it is there and ended well."""
        async with self._slots:
            program = await asyncio.to_thread(self._find)
            return program is not None and await _run(program, [*_QUIETLY, *arguments])


def _arguments(name: str, path: Path) -> list[str]:
    seed = hashlib.sha256(name.encode()).digest()
    hue, tone = seed[0] * 360 // 256, 220 + 4 * seed[1]
    return [
        *("-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=12:duration={_SECONDS}"),
        *("-f", "lavfi", "-i", f"sine=frequency={tone}:sample_rate=22050:duration={_SECONDS}"),
        *("-vf", f"hue=h={hue}", "-pix_fmt", "yuv420p"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-crf", "30"),
        *("-c:a", "aac", "-b:a", "32k", "-threads", "1", "-movflags", "+faststart"),
        # Two jobs may share hue and tone, but never this.
        *("-metadata", f"comment={name}", str(path)),
    ]


async def _run(program: str, arguments: Sequence[str]) -> bool:
    null = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            program, *arguments, stdin=null, stdout=null, stderr=null
        )
    except OSError:
        return False
    try:
        # Not wait_for: that swallows a cancellation which comes in the same turn as the end of the process.
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await process.wait() == 0
    except TimeoutError:
        return False
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def sample(mark: str = "") -> bytes:
    """Give the packaged sample; a mark makes it another file of the same pictures."""
    packaged = resources.files("receiver.sandbox").joinpath("sample.mp4").read_bytes()
    return packaged + _free_box(mark.encode()) if mark else packaged


def _free_box(content: bytes) -> bytes:
    # ISO/IEC 14496-12: a player skips a box of type `free`, whatever it holds.
    return (8 + len(content)).to_bytes(4, "big") + b"free" + content


def identify(path: Path, media_type: str = "video/mp4") -> MediaFile:
    """Describe a finished file."""
    content = path.read_bytes()
    return MediaFile(
        path=path,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        media_type=media_type,
    )
