"""A context that saves, fetches and logs as in a worker, and keeps what was done to be looked at."""

from __future__ import annotations

import json as json_
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from receiver import handler_settings
from receiver.context import Context, Saved
from receiver.event import Event
from receiver.model import Json
from receiver.router import Handler
from receiver.sources import places_of
from receiver.sources.base import InlineVideo, LinkedVideo, VideoFile, VideoPlace
from receiver.testing.canned import Asked, Canned, CannedFetcher
from receiver.testing.captured import CapturedEvent
from receiver.testing.events import sender
from receiver.testing.recorded import Line, RecordingLog
from receiver.testing.videos import sample_picture, sample_video


class RecordingContext(Context):
    """What a handler gets, without a network: requests meet the answers that the test has prepared.

    Videos are saved by the receiver's own code, below `folder`: without one, into a folder that is
    removed with the context. The video behind a link is `video`, a sample unless given, and so are its
    pictures; `answer` prepares other answers. `settings` is an instance of the router's model, or a
    table for it as it would stand in the configuration. `results` is what handlers returned that this
    one comes after.
    """

    saved: list[Saved]
    """Every file that was saved: `path`, `bytes`, `sha256`; videos and small files."""
    lines: list[Line]
    """Every line that was logged: `event`, `fields`, `level`."""

    def __init__(
        self,
        event: Event,
        *,
        folder: Path | None = None,
        video: bytes | None = None,
        settings: BaseModel | Mapping[str, Any] | None = None,
        results: Mapping[str, Json] | None = None,
        attempt: int = 1,
        attempts: int = 20,
        replay: str | None = None,
        kind: str | None = None,
    ) -> None:
        self.saved = []
        self.lines = []
        self._own_fetcher = CannedFetcher()
        places = _places(event, kind)
        super().__init__(
            event=event,
            place=places.get("video"),
            variants={variant: place for variant, place in places.items() if variant != "video"},
            fetcher=self._own_fetcher,
            folder=folder or _passing_folder(self),
            log=RecordingLog(self.lines),
            attempt=attempt,
            attempts=attempts,
            idempotency_key=f"{event.id}:handler",
            replay=replay,
            settings=settings,
            results=dict(results or {}),
            deadline=datetime.now(UTC) + timedelta(minutes=10),
        )
        for variant, place in places.items():
            if isinstance(place, LinkedVideo):
                plain = sample_video() if video is None else video
                content = plain if variant == "video" else sample_picture()
                self._own_fetcher.give_otherwise("GET", place.url, Canned(200, {}, content))

    @property
    def event(self) -> Event:
        """The event that the context belongs to."""
        return self._event

    @property
    def asked(self) -> list[Asked]:
        """Every request: `method`, `url`, `headers`, `content`; that for a linked video, too."""
        return self._own_fetcher.asked

    @property
    def unanswered(self) -> list[Asked]:
        """The requests that no answer was prepared for."""
        return self._own_fetcher.unanswered

    def answer(
        self,
        method: str,
        url: str,
        *,
        status: int = 200,
        json: Json = None,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the answer for a method and a URL, query string included.

        Several answers for the same are given one after the other, the last one for ever.
        """
        body = content if json is None else json_.dumps(json).encode()
        self._own_fetcher.give(method, url, Canned(status, headers or {}, body))

    async def save_video(
        self,
        template: str = "{title}-{id}",
        *,
        directory: str | Path | None = None,
        variant: str = "video",
    ) -> Saved:
        """Save the video as a worker does, and note it."""
        saved = await super().save_video(template, directory=directory, variant=variant)
        self.saved.append(saved)
        return saved

    async def save_json(self, name: str, value: Json, *, directory: str | Path | None = None) -> Saved:
        """Save a JSON value as a worker does, and note it."""
        saved = await super().save_json(name, value, directory=directory)
        self.saved.append(saved)
        return saved

    async def save_file(self, name: str, content: bytes, *, directory: str | Path | None = None) -> Saved:
        """Save a small file as a worker does, and note it."""
        saved = await super().save_file(name, content, directory=directory)
        self.saved.append(saved)
        return saved

    def prepare(self, handler: Handler) -> None:
        """Become the context of this handler: its number of attempts, deadline, key and settings.

        Raise HandlerError for settings that its router's model refuses.
        """
        self.attempts = handler.attempts
        self.deadline = datetime.now(UTC) + handler.timeout
        self.idempotency_key = f"{self._event.id}:{handler.name}"
        if not isinstance(self.settings, BaseModel):
            self.settings = handler_settings.validate(
                handler.settings_model,
                self.settings,
                name=handler.router_name,
                label=handler.where.partition(":")[0],
                folder=self._folder,
            )


def _places(event: Event, kind: str | None) -> dict[str, VideoPlace]:
    """Where the video is, and its other variants: in a file, if it came along in a capture."""
    captured = event if isinstance(event, CapturedEvent) else None
    source = sender(event.source, kind=captured.kind if captured is not None else kind)
    places = dict(places_of(source.kind, event.payload, source))
    if captured is not None and captured.video_file and not isinstance(places.get("video"), InlineVideo):
        places["video"] = VideoFile(captured.video_file)
    return places


def _passing_folder(context: RecordingContext) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="receiver-testing-"))
    weakref.finalize(context, shutil.rmtree, folder, ignore_errors=True)
    return folder
