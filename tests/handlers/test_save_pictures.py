"""What `save_video` keeps beside the video: pictures, where settings ask for them and a source has them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from handlers import save_video as module
from receiver.router import Handler
from receiver.testing import (
    Cancel,
    Done,
    Fail,
    Outcome,
    RecordingContext,
    Retry,
    by_link,
    looked_up,
    run,
    sample_picture,
)

CONTENT = "https://api.openai.com/v1/videos/vid_sample/content"


def declared(*variants: str) -> tuple[Handler, ...]:
    return module.router.handlers_with(module.Settings(variants=variants))


def pictures(folder: Path, *variants: str, event: Any = None) -> tuple[Outcome, RecordingContext]:
    """Run the handler of the pictures after that of the video."""
    event = event or looked_up()
    settings = {"variants": ["video", *variants]}
    results = {"save_video": {"path": "somewhere"}}
    context = RecordingContext(event, folder=folder, settings=settings, results=results)
    _, handler = declared("video", *variants)
    return run(handler, event, context), context


def test_the_video_of_openai_is_fetched_by_its_id_with_the_key(tmp_path: Path) -> None:
    event = looked_up(model="sora-2")
    context = RecordingContext(event, folder=tmp_path)

    outcome = run(module.router, event, context)

    assert isinstance(outcome, Done)
    assert context.saved[0].path == tmp_path / "videos" / "vid_sample.mp4"
    (asked,) = context.asked
    assert (asked.url, asked.headers) == (CONTENT, {"Authorization": "Bearer key_sample"})


def test_without_more_in_the_settings_there_is_no_other_handler() -> None:
    assert [handler.name for handler in declared("video")] == ["save_video"]
    assert [handler.name for handler in module.router.handlers_with(module.Settings())] == ["save_video"]


def test_the_pictures_have_a_handler_of_their_own_after_the_video() -> None:
    _, handler = declared("video", "thumbnail", "thumbnail")

    assert (handler.name, handler.after) == ("save_video.pictures", "save_video")
    assert handler.types == {"video.completed"}
    assert handler.summary


def test_pictures_stand_beside_the_video_under_names_of_their_own(tmp_path: Path) -> None:
    outcome, context = pictures(tmp_path, "thumbnail", "spritesheet")

    assert isinstance(outcome, Done)
    sha256 = hashlib.sha256(sample_picture()).hexdigest()
    assert outcome.result == {
        variant: {
            "path": str(tmp_path / "videos" / f"vid_sample-{variant}.jpg"),
            "bytes": len(sample_picture()),
            "sha256": sha256,
        }
        for variant in ("thumbnail", "spritesheet")
    }
    assert [asked.url for asked in context.asked] == [
        f"{CONTENT}?variant=thumbnail",
        f"{CONTENT}?variant=spritesheet",
    ]


def test_running_again_writes_the_same_files(tmp_path: Path) -> None:
    for _ in range(2):
        pictures(tmp_path, "thumbnail")

    assert [path.name for path in (tmp_path / "videos").glob("[!.]*")] == ["vid_sample-thumbnail.jpg"]


def test_a_source_without_pictures_is_no_business_of_theirs(tmp_path: Path) -> None:
    outcome, context = pictures(tmp_path, "thumbnail", "spritesheet", event=by_link())

    assert isinstance(outcome, Cancel)
    assert outcome.reason == "this source has no thumbnail and no spritesheet"
    assert context.asked == []


@pytest.mark.parametrize(
    ("status", "content", "kind", "reason"),
    [
        (404, b"", Fail, "thumbnail: 404 Not Found"),
        (200, b"<html>", Fail, "thumbnail: what arrived is not a picture (HTML)"),
        (503, b"", Retry, "503 Service Unavailable"),
    ],
)
def test_a_picture_that_can_not_be_had_is_named(
    tmp_path: Path, status: int, content: bytes, kind: type, reason: str
) -> None:
    event = looked_up()
    settings = {"variants": ["video", "thumbnail"]}
    context = RecordingContext(event, folder=tmp_path, settings=settings, results={"save_video": None})
    context.answer("GET", f"{CONTENT}?variant=thumbnail", status=status, content=content)

    outcome = run(declared("video", "thumbnail")[1], event, context)

    assert type(outcome) is kind
    assert getattr(outcome, "reason", "") == reason
    assert list(tmp_path.glob("videos/[!.]*")) == []


def test_the_video_itself_is_always_kept() -> None:
    with pytest.raises(ValidationError, match='must hold "video"'):
        module.Settings(variants=("thumbnail",))
    with pytest.raises(ValidationError, match="Input should be 'video', 'thumbnail' or 'spritesheet'"):
        module.Settings(variants=("video", "audio"))
