"""Measure every saved video with ffprobe, or ffmpeg, and put a picture of it beside it.

The programs read what strangers made, so they get limits, one file, and formats that hold video:
no playlist that would lead them to other files or to the network.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from receiver import Cancel, Context, Duration, Ended, Event, Fail, Retry, Router

# What save_video saves, and nothing that refers to other files: no hls, dash, concat, sdp, image2.
_FORMATS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,ogg,flv,asf"
_INPUT = ("-protocol_whitelist", "file", "-format_whitelist", _FORMATS)
_SHOWN = (
    "format=duration,bit_rate"
    ":stream=codec_type,codec_name,width,height,duration"
    ":stream_disposition=attached_pic"
)
# Of what a program says of a file only these words are repeated, as the rest may quote the file.
_WELL_KNOWN = {
    "not on whitelist": "it is a playlist, or of another kind that is not opened",
    "moov atom not found": "moov atom not found",
    "Cannot allocate memory": "it would take too much memory",
    "Permission denied": "permission denied",
    "Invalid data found": "invalid data",
}
_CLOCK = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?),(?:.*bitrate: (\d+) kb/s)?", re.MULTILINE)
_STREAM = re.compile(r"^ +Stream #0:\d+(?:\[\w+\])?(?:\(\w*\))?: (Video|Audio): (\w+)(.*)$", re.MULTILINE)
_SIZE = re.compile(r", (\d{1,6})x(\d{1,6})\b")


class Settings(BaseModel):
    """`[handlers.probe]`"""

    thumbnail: bool = Field(True, description="Whether a JPEG is put beside each video.")
    second: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="What it shows; of a shorter video the middle."
    )
    width: int = Field(640, ge=16, le=4096, description="Its width in pixels, at most the video's.")
    timeout: Duration = Field(
        timedelta(seconds=30),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=2),
        description="How long one run of ffprobe or ffmpeg may take.",
    )


router = Router(settings=Settings)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a video is; None where the file does not say."""

    duration_seconds: float | None
    width: int
    height: int
    video_codec: str | None
    audio_codec: str | None
    """None also when it is silent."""
    bit_rate: int | None
    """Bits per second of the whole file."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs that this machine has, by absolute path."""

    ffprobe: str | None
    ffmpeg: str | None


@router.on("video.completed", after="save_video", attempts=5, timeout="10m", concurrency=2)
async def probe(event: Event, context: Context) -> dict[str, Any]:
    """Measure the saved video and make its thumbnail."""
    path = _saved_file(context.results)
    tools = await asyncio.to_thread(find_tools)
    measured = await _measure(path, tools, context)
    is_wanted = context.settings.thumbnail
    thumbnail = await _make_thumbnail(path, measured, tools, context) if is_wanted else None
    result = {**asdict(measured), "thumbnail": None if thumbnail is None else str(thumbnail)}
    context.log.info("video.probed", path=str(path), **result)
    return result


def find_tools() -> Tools:
    """Look on PATH; for ffmpeg also in the package imageio-ffmpeg. Blocks."""
    return Tools(_which("ffprobe"), _which("ffmpeg") or _packaged_ffmpeg())


def _which(name: str) -> str | None:
    found = shutil.which(name)
    return None if found is None else str(Path(found).absolute())


def _packaged_ffmpeg() -> str | None:
    try:
        return _which(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ModuleNotFoundError, RuntimeError):  # RuntimeError: it has no program for this platform
        return None


def _saved_file(results: Mapping[str, Any]) -> Path:
    saved = results.get("save_video")
    path = Path(str(saved.get("path", ""))) if isinstance(saved, dict) else Path()
    if not path.is_absolute():
        raise Fail("save_video did not say where it saved the video")
    if not path.is_file():
        raise Fail(f"the saved video is not there any more, or no file: {path}")
    return path


async def _measure(path: Path, tools: Tools, context: Context) -> Measured:
    timeout, input_file = context.settings.timeout, (*_INPUT, "-i", f"file:{path}")
    if tools.ffprobe is not None:
        shown = ("-v", "error", "-print_format", "json", "-show_entries", _SHOWN)
        ended = await context.run_program(tools.ffprobe, *shown, *input_file, timeout=timeout)
        _refuse("ffprobe", ended, path)
        measured = read_ffprobe(ended.output)
    elif tools.ffmpeg is not None:
        ended = await context.run_program(
            tools.ffmpeg, "-nostdin", "-hide_banner", *input_file, timeout=timeout, joins_errors=True
        )
        opened, _, said = ended.output.decode("utf-8", "replace").rpartition(f"'file:{path}':")
        if not opened:  # with nothing to write, its exit status is never 0
            _refuse("ffmpeg", ended, path)
        measured = read_ffmpeg(said)
    else:
        raise Cancel(
            "needs ffprobe or ffmpeg: install the Debian package ffmpeg, or pip install imageio-ffmpeg"
        )
    if measured is None:
        raise Fail(f"{path.name} has no pictures that move")
    return measured


def _refuse(program: str, ended: Ended, path: Path) -> None:
    """Raise Retry or Fail unless the program is done with the file and content."""
    if ended.status == 0 and ended.stopped is None:
        return
    if ended.may_differ_next_time:
        raise Retry(reason=f"{program}: {ended.how}")
    said = ended.errors or ended.output[-4096:].decode("utf-8", "replace")
    why = next((meaning for words, meaning in _WELL_KNOWN.items() if words in said), ended.how)
    raise Fail(f"{program} can't read {path.name}: {why}")


def read_ffprobe(output: bytes) -> Measured | None:
    """Read the JSON of ffprobe; None when there is no video in it."""
    shown = json.loads(output.decode("utf-8", "replace"))
    streams = [stream for stream in shown.get("streams", ()) if not _is_cover(stream)]
    video = next((stream for stream in streams if stream.get("codec_type") == "video"), None)
    if video is None or not (video.get("width") and video.get("height")):
        return None
    audio: Mapping[str, Any] = next((stream for stream in streams if stream.get("codec_type") == "audio"), {})
    whole = shown.get("format", {})
    bit_rate = _number(whole.get("bit_rate"))
    return Measured(
        duration_seconds=_number(whole.get("duration")) or _number(video.get("duration")),
        width=int(video["width"]),
        height=int(video["height"]),
        video_codec=video.get("codec_name"),
        audio_codec=audio.get("codec_name"),
        bit_rate=None if bit_rate is None else int(bit_rate),
    )


def _is_cover(stream: Mapping[str, Any]) -> bool:
    return bool(stream.get("disposition", {}).get("attached_pic"))


def _number(text: str | None) -> float | None:
    """Read a number that may be missing or "N/A"."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def read_ffmpeg(text: str) -> Measured | None:
    """Read what `ffmpeg -i` says of its input, behind the name; None when there is no video in it."""
    streams = list(_streams(text))
    video = next((stream for stream in streams if stream[0] == "Video" and _SIZE.search(stream[2])), None)
    if video is None or (size := _SIZE.search(video[2])) is None:
        return None
    clock = _CLOCK.search(text)
    seconds = None if clock is None else int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
    return Measured(
        duration_seconds=seconds or None,
        width=int(size[1]),
        height=int(size[2]),
        video_codec=video[1],
        audio_codec=next((codec for kind, codec, _ in streams if kind == "Audio"), None),
        bit_rate=int(clock[4]) * 1000 if clock is not None and clock[4] else None,
    )


def _streams(text: str) -> Iterator[tuple[str, str, str]]:
    for kind, codec, rest in _STREAM.findall(text):
        if "(attached pic)" not in rest:
            yield kind, codec, rest


async def _make_thumbnail(path: Path, measured: Measured, tools: Tools, context: Context) -> Path | None:
    """Put a JPEG of the video's name beside it; None, and a warning, when there is no picture to be had."""
    if tools.ffmpeg is None:
        context.log.warning("thumbnail.missed", reason="needs ffmpeg; there is only ffprobe")
        return None
    moment, length = context.settings.second, measured.duration_seconds
    if length is not None and moment >= length:
        moment = length / 2
    # A file may promise pictures that it does not hold; the first one is there, if any.
    for second in dict.fromkeys((moment, 0.0)):
        picture = await _picture_at(second, path, tools.ffmpeg, context)
        if picture is not None:
            saved = await context.save_file(f"{path.stem}.jpg", picture, directory=path.parent)
            return saved.path
    context.log.warning("thumbnail.missed", reason="ffmpeg finds no picture in it")
    return None


async def _picture_at(second: float, path: Path, ffmpeg: str, context: Context) -> bytes | None:
    settings: Settings = context.settings
    ended = await context.run_program(
        *(ffmpeg, "-nostdin", "-v", "error", *_INPUT, "-threads", "1"),
        *("-ss", f"{second:f}", "-i", f"file:{path}", "-map", "0:V:0", "-frames:v", "1"),
        *("-vf", f"scale=w='min({settings.width},iw)':h=-2", "-pix_fmt", "yuvj420p"),
        *("-c:v", "mjpeg", "-q:v", "4", "-threads", "1", "-f", "image2pipe", "pipe:1"),
        timeout=settings.timeout,
        max_output="8MiB",
    )
    if ended.may_differ_next_time:
        raise Retry(reason=f"ffmpeg: {ended.how}")
    is_whole = ended.output.startswith(b"\xff\xd8") and ended.output.endswith(b"\xff\xd9")
    return ended.output if ended.status == 0 and is_whole else None
