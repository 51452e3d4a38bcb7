"""The shipped handler that measures saved videos: with ffprobe, with ffmpeg alone, and with neither."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from handlers import probe as module
from receiver.testing import Cancel, Done, Fail, Retry, run
from tests.handlers.conftest import FFMPEG, context_of, done, failure, probe

pytestmark = pytest.mark.debian
EMPTY = "Cells-vid.mp4 has no pictures that move"
BOTH, ONLY_FFMPEG = ("ffprobe", "ffmpeg"), ("ffmpeg",)


def make(path: Path, *arguments: str) -> Path:
    """Make a file with the real ffmpeg."""
    subprocess.run([str(FFMPEG), "-v", "error", "-y", *arguments, str(path)], check=True, timeout=30)
    return path


def pictures_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.jp*g"))


def size_of(jpeg: bytes) -> tuple[int, int]:
    """Width and height, from the frame header (ITU T.81, B.2.2)."""
    found = re.search(rb"\xff\xc0..\x08(..)(..)", jpeg, re.DOTALL)
    assert found
    return int.from_bytes(found[2], "big"), int.from_bytes(found[1], "big")


@pytest.mark.parametrize(("tools", "bit_rate"), [(BOTH, 113997), (ONLY_FFMPEG, 113000)])
def test_a_video_is_measured_and_its_thumbnail_stands_beside_it(
    having: Callable[..., Path], video: Path, tools: tuple[str, ...], bit_rate: int
) -> None:
    having(*tools)
    context = context_of(video)
    outcome = run("probe", context.event, context)

    thumbnail = video.with_suffix(".jpg")
    expected = {
        "duration_seconds": 3.0,
        "width": 320,
        "height": 180,
        "video_codec": "h264",
        "audio_codec": "aac",
        "bit_rate": bit_rate,
        "thumbnail": str(thumbnail),
    }
    assert isinstance(outcome, Done)
    assert outcome.result == expected
    assert [(line.event, line.fields) for line in context.lines] == [
        ("video.probed", {"path": str(video), **expected})
    ]
    assert size_of(thumbnail.read_bytes()) == (320, 180), "no larger than the video"
    assert stat.S_IMODE(thumbnail.stat().st_mode) == 0o600
    shown = subprocess.run(
        [str(FFMPEG), "-v", "error", "-i", str(thumbnail), "-f", "null", "-"], capture_output=True, check=True
    )
    assert shown.stderr == b""


def test_the_package_imageio_ffmpeg_is_enough(
    having: Callable[..., Path], video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    having()
    package = ModuleType("imageio_ffmpeg")
    vars(package)["get_ffmpeg_exe"] = lambda: FFMPEG
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", package)

    assert done(video)["thumbnail"]


def test_without_ffprobe_and_ffmpeg_the_job_is_cancelled_and_says_what_to_install(
    having: Callable[..., Path], video: Path
) -> None:
    having()
    outcome = probe(video)

    assert isinstance(outcome, Cancel)
    assert outcome.reason == (
        "needs ffprobe or ffmpeg: install the Debian package ffmpeg, or pip install imageio-ffmpeg"
    )


def test_with_ffprobe_alone_there_is_no_thumbnail(having: Callable[..., Path], video: Path) -> None:
    having("ffprobe")
    context = context_of(video)
    outcome = run(module, context.event, context)

    assert isinstance(outcome, Done)
    assert outcome.result is not None
    assert outcome.result["thumbnail"] is None
    assert [line.event for line in context.lines] == ["thumbnail.missed", "video.probed"]


def test_the_thumbnail_is_a_matter_of_settings(having: Callable[..., Path], video: Path) -> None:
    having(*BOTH)
    assert done(video, thumbnail=False)["thumbnail"] is None
    assert pictures_in(video.parent) == []

    seen = set()
    for second in (0, 2, 1000):
        picture = Path(done(video, width=64, second=second)["thumbnail"]).read_bytes()
        assert size_of(picture) == (64, 36)
        seen.add(picture)
    assert len(seen) == 3, "another moment is another picture; past the end it is the middle"
    assert pictures_in(video.parent) == ["Cells-vid.jpg"], "the same event writes the same name"


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"second": -1}, {"second": float("nan")}, {"timeout": "1h"}, {"timeout": "soon"}]
)
def test_settings_that_can_not_work_are_refused_when_they_are_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        module.Settings(**wrong)
    assert module.Settings(timeout="90s").timeout == timedelta(seconds=90)


def test_a_picture_of_somebody_elses_is_not_overwritten(having: Callable[..., Path], video: Path) -> None:
    having(*BOTH)
    theirs = video.with_suffix(".jpg")
    theirs.write_bytes(b"theirs")
    thumbnail = Path(done(video)["thumbnail"])

    assert theirs.read_bytes() == b"theirs"
    assert re.fullmatch(r"Cells-vid~[0-9a-f]{8}\.jpg", thumbnail.name)


@pytest.mark.parametrize("tools", [BOTH, ONLY_FFMPEG])
@pytest.mark.parametrize(
    "name",
    [
        "-i first.mp4",
        "two\nlines\n  Duration: 99:00:00.00, start: 0\n.mp4",
        "%03d*?[a].mp4",
        "http:__127.0.0.1:9_a.mp4",
        "'quoted' \"$(id)\";|concat:a.mp4",
        "Zellen – 細胞.mp4",
    ],
)
def test_odd_names_are_names(having: Callable[..., Path], video: Path, name: str, tools: list[str]) -> None:
    having(*tools)
    odd = video.rename(video.with_name(name))
    result = done(odd)

    assert (result["duration_seconds"], result["width"], result["height"]) == (3.0, 320, 180)
    assert Path(result["thumbnail"]).parent == odd.parent


def _riff(video: Path) -> bytes:
    return b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x44\xac\x00\x00" + bytes(40)


NO_VIDEOS: dict[str, Callable[[Path], bytes]] = {
    "nothing": lambda video: b"",
    "a page": lambda video: b"<html><body>Sorry</body></html>",
    "the beginning": lambda video: video.read_bytes()[:40],
    "sound": _riff,
    "a picture": lambda video: (
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01" + bytes(30)
    ),
    "noise": lambda video: bytes(range(1, 256)) * 40,
}


@pytest.mark.fault("B11")
@pytest.mark.parametrize("tools", [BOTH, ONLY_FFMPEG])
@pytest.mark.parametrize("what", NO_VIDEOS)
def test_what_is_no_video_is_dead_with_the_reason_and_stays(
    having: Callable[..., Path], video: Path, what: str, tools: tuple[str, ...]
) -> None:
    content = NO_VIDEOS[what](video)
    video.write_bytes(content)
    having(*tools)

    reason = failure(video)
    assert reason.startswith(f"{tools[0]} can't read Cells-vid.mp4: ") or reason == EMPTY
    assert video.read_bytes() == content
    assert pictures_in(video.parent) == []


@pytest.mark.fault("B11")
@pytest.mark.parametrize("tools", [BOTH, ONLY_FFMPEG])
def test_sound_with_a_cover_in_the_container_of_a_video_is_none(
    having: Callable[..., Path], video: Path, tools: tuple[str, ...]
) -> None:
    cover = make(video.with_suffix(".jpeg"), "-i", str(video), "-frames:v", "1")
    cover_too = ("-map", "0:a", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic", "-f", "mp4")
    sound = make(video.with_name("sound.mp4"), "-i", str(video), "-i", str(cover), *cover_too)
    having(*tools)

    assert failure(sound) == "sound.mp4 has no pictures that move"


def test_pictures_that_a_file_only_promises_are_missed_and_nothing_else(
    having: Callable[..., Path], video: Path
) -> None:
    content = video.read_bytes()
    start = content.index(b"mdat") + 4
    assert content.index(b"moov") < start
    video.write_bytes(content[:start] + bytes(len(content) - start))
    having(*BOTH)
    context = context_of(video)
    outcome = run(module, context.event, context)

    assert isinstance(outcome, Done)
    assert outcome.result is not None
    assert (outcome.result["width"], outcome.result["thumbnail"]) == (320, None)
    assert [line.event for line in context.lines] == ["thumbnail.missed", "video.probed"]
    assert pictures_in(video.parent) == []


def test_what_a_file_does_not_say_is_none() -> None:
    streams = '[{"codec_type": "video", "width": 2, "height": 4, "duration": "N/A"}]'
    shown = f'{{"streams": {streams}, "format": {{"duration": "nan", "bit_rate": "inf"}}}}'
    said = "  Duration: N/A, start: 0.0, bitrate: N/A\n  Stream #0:0(eng): Video: vp8, yuv420p, 2x4, 25 fps\n"

    assert module.read_ffprobe(shown.encode()) == module.Measured(None, 2, 4, None, None, None)
    assert module.read_ffmpeg(said) == module.Measured(None, 2, 4, "vp8", None, None)
    assert module.read_ffprobe(b"{}") is None
    assert module.read_ffmpeg("") is None


def test_a_video_that_is_gone_or_was_never_named_is_dead(
    having: Callable[..., Path], video: Path, tmp_path: Path
) -> None:
    having(*BOTH)
    video.unlink()
    assert failure(video).startswith("the saved video is not there any more")
    os.mkfifo(video)  # opening it would wait for ever
    assert failure(video).startswith("the saved video is not there any more")
    assert failure(Path("videos/relative.mp4")) == "save_video did not say where it saved the video"


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        ("exec sleep 60", Retry, "ffprobe: it took too long"),
        ("kill -9 $$", Retry, "ffprobe: it was killed by SIGKILL"),
        ("kill -11 $$", Fail, "ffprobe can't read Cells-vid.mp4: it was killed by SIGSEGV"),
        ("while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done", Fail, "it wrote too much"),
        (
            "echo secret http://inner/?key >&2; exit 9",
            Fail,
            "ffprobe can't read Cells-vid.mp4: exit status 9",
        ),
        ("echo 'x: Cannot allocate memory' >&2; exit 1", Fail, "it would take too much memory"),
    ],
)
def test_a_program_that_goes_wrong_is_told_and_nothing_of_what_it_said(
    having: Callable[..., Path], video: Path, script: str, kind: type[Retry] | type[Fail], reason: str
) -> None:
    having("ffmpeg", ffprobe=script)
    outcome = probe(video, timeout="1s")

    assert isinstance(outcome, kind)
    assert outcome.reason.endswith(reason)
    assert "secret" not in outcome.reason


def test_half_a_thumbnail_is_none(having: Callable[..., Path], video: Path) -> None:
    having("ffprobe", ffmpeg=f'"{FFMPEG}" "$@" | head -c 2000')

    assert done(video)["thumbnail"] is None
    assert list(video.parent.glob("**/*.jpg")) == []


def test_the_example_configuration_shows_every_setting_and_its_default() -> None:
    example = (Path(__file__).parents[2] / "deploy" / "receiver.toml").read_text("utf-8")
    table = re.split(r"^(?:# )?\[", example.partition("\n[handlers.probe]")[2], flags=re.MULTILINE)[0]
    shown = dict(re.findall(r"^# (\w+) = (.+)$", table, re.MULTILINE))

    assert shown == {"thumbnail": "true", "second": "1.0", "width": "640", "timeout": '"30s"'}
    assert module.Settings.model_fields.keys() == shown.keys()
    assert module.Settings() == module.Settings(second=1.0, width=640, timeout=timedelta(seconds=30))
