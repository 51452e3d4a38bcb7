"""The shipped handler that saves videos, from an event to two files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from handlers import save_video as module
from receiver import Context, Event, Video
from receiver.errors import Hopeless
from receiver.event import StoredBody
from receiver.fetch import Fetcher
from receiver.model import Source
from receiver.sources.base import InlineVideo

MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(2000)


class Silent:
    """A log for which nobody asks."""

    def info(self, event: str, **fields: Any) -> None:
        """Say nothing."""


async def run(
    folder: Path, *, event_id: str = "evt_aaaaaaaa11111111", content: bytes = MP4, **settings: str
) -> tuple[dict[str, Any], Event]:
    payload = {"b64_video": base64.b64encode(content).decode()}
    event = Event(
        id=event_id,
        source="opennote",
        type="video.completed",
        key="vid:completed",
        received_at=datetime(2026, 1, 31, 12, 30, tzinfo=UTC),
        warnings=(),
        video=Video(
            id="vid",
            title="Cells / Zellen",
            transcript="Über Zellen.",
            sources=(Source(url="https://example.com", content="Cells."),),
            cost=0.5,
            model="picasso",
        ),
        payload={**payload},
        body=StoredBody(raw=json.dumps(payload).encode()),
    )
    context = Context(
        event=event,
        place=InlineVideo(("b64_video",)),
        fetcher=Fetcher(max_bytes=10**6),
        folder=folder,
        log=Silent(),
        attempt=1,
        attempts=20,
        idempotency_key="key",
        replay=None,
        settings=module.Settings(**settings),
        results={},
        deadline=datetime.now(UTC) + timedelta(minutes=1),
    )
    return await module.save_video(event, context), event


@pytest.mark.anyio
async def test_the_video_and_its_description_stand_side_by_side(tmp_path: Path) -> None:
    result, event = await run(tmp_path)
    path = tmp_path / "videos" / "Cells _ Zellen-vid.mp4"
    sha256 = hashlib.sha256(MP4).hexdigest()
    assert result == {"path": str(path), "bytes": len(MP4), "sha256": sha256}
    assert path.read_bytes() == MP4
    assert json.loads(path.with_suffix(".json").read_text()) == {
        "file": path.name,
        "bytes": len(MP4),
        "sha256": sha256,
        "title": "Cells / Zellen",
        "transcript": "Über Zellen.",
        "sources": [{"url": "https://example.com", "content": "Cells."}],
        "cost": 0.5,
        "model": "picasso",
        "event": event.id,
        "video": "vid",
        "source": "opennote",
        "received_at": "2026-01-31T12:30:00+00:00",
    }


@pytest.mark.anyio
async def test_running_again_changes_nothing(tmp_path: Path) -> None:
    first, _ = await run(tmp_path)
    again, _ = await run(tmp_path)
    assert first == again
    assert len(list((tmp_path / "videos").glob("*.*"))) == 3  # with .receiver


@pytest.mark.anyio
async def test_another_event_gets_files_of_its_own(tmp_path: Path) -> None:
    await run(tmp_path)
    other, event = await run(tmp_path, event_id="evt_bbbbbbbb22222222")
    description = Path(other["path"]).with_suffix(".json")
    assert description.name == "Cells _ Zellen-vid~22222222.json"
    assert json.loads(description.read_text())["event"] == event.id


@pytest.mark.anyio
async def test_folder_and_names_are_settings(tmp_path: Path) -> None:
    result, _ = await run(tmp_path, directory="courses/biology", template="{model} {date}")
    assert result["path"] == str(tmp_path / "courses/biology/picasso 2026-01-31.mp4")
    assert (tmp_path / "courses/biology/picasso 2026-01-31.json").exists()


@pytest.mark.anyio
async def test_an_error_page_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(Hopeless, match="HTML"):
        await run(tmp_path, content=b"<html>Sorry</html>")
    assert list((tmp_path / "videos").glob("[!.]*")) == []


def test_it_wants_completed_videos_of_every_source_and_has_an_hour() -> None:
    (handler,) = module.router.handlers
    assert (handler.name, handler.source) == ("save_video", None)
    assert handler.types == {"video.completed"}
    assert handler.timeout == timedelta(hours=1)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{titel}-{id}", "knows only {id}, {title}, {event}, {source}, {model}, {date}"),
        ("{title", "a brace that is not closed"),
        ("{date}/{title}", "the folder goes into `directory`"),
    ],
)
def test_a_template_that_no_video_could_use_is_refused_when_settings_are_read(
    template: str, said: str
) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        module.Settings(template=template)
