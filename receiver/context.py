"""What a handler gets beside the event: its video, a safe HTTP client, its settings, where it stands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver import names
from receiver.errors import Hopeless
from receiver.event import Event
from receiver.media import Container
from receiver.model import Json
from receiver.saving import Saved, Target, save_bytes, save_stream
from receiver.sources.base import VideoPlace
from receiver.stream import VideoStream, open_stream

if TYPE_CHECKING:
    from receiver.client import SafeClient
    from receiver.fetch import Fetcher

__all__ = ["Context", "Saved", "VideoStream"]


class Context:
    """One attempt of a handler. Its methods are async; a plain function uses its attributes only."""

    log: Any
    """A structured logger: `log.info("noun.verb", key=value)`; it names event, job and attempt."""
    attempt: int
    """The number of this attempt, from 1."""
    attempts: int
    """How many there are at most."""
    idempotency_key: str
    """The same for every attempt and replay of this handler on this event."""
    replay: str | None
    """The id of the replay that made the job; None when the event itself did."""
    settings: Any
    """The router's settings, an instance of the model that it declares; else None."""
    results: Mapping[str, Json]
    """What handlers returned that were done before this one, by name."""
    deadline: datetime
    """When this attempt is out of time, UTC."""

    def __init__(
        self,
        *,
        event: Event,
        place: VideoPlace | None,
        fetcher: Fetcher,
        folder: Path,
        log: Any,
        attempt: int,
        attempts: int,
        idempotency_key: str,
        replay: str | None,
        settings: Any,
        results: Mapping[str, Json],
        deadline: datetime,
        directory: str | Path = "videos",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`place` says where the video is, `folder` is where relative directories start from."""
        self.log = log
        self.attempt = attempt
        self.attempts = attempts
        self.idempotency_key = idempotency_key
        self.replay = replay
        self.settings = settings
        self.results = results
        self.deadline = deadline
        self._event = event
        self._place = place
        self._fetcher = fetcher
        self._folder = folder
        self._directory = directory
        self._now = now

    @property
    def http(self) -> SafeClient:
        """A client for requests of the handler's own: public https hosts, or loopback by name."""
        from receiver.client import SafeClient

        return SafeClient(self._fetcher)

    def open_video(self) -> VideoStream:
        """Open the video as a stream of bytes, decoded, wherever it is.

        Read it with `async for chunk in context.open_video()`, or inside `async with
        context.open_video() as stream` when reading may stop early. Reading raises Hopeless when
        there is no video to be had, Unfinished when it may be there next time.
        """
        return open_stream(
            self._event,
            self._place,
            fetcher=self._fetcher,
            seconds_left=lambda: (self.deadline - self._now()).total_seconds(),
        )

    @staticmethod
    def check_template(template: str) -> str:
        """Return a template that `save_video` can use; raise ValueError for another.

        For validators of settings, so that a mistake is told when they are read.
        """
        try:
            names.parse_template(template)
        except Hopeless as error:
            raise ValueError(str(error)) from error
        return template

    async def save_video(
        self, template: str = "{title}-{id}", *, directory: str | Path | None = None
    ) -> Saved:
        """Save the video, whole or not at all, and return where it is.

        The template may name id, title, event, source, model and date; what they hold is made safe,
        a missing one is left out, and the extension comes from the bytes. `directory`, by default
        `videos`, is absolute or relative to the configuration file. The same event writes the same
        name again; a name that is somebody else's is never overwritten but gets a suffix. Raise
        Hopeless or Unfinished, and OSError for a full or broken disk.
        """
        names.parse_template(template)  # a mistake is told before the download, not after it
        fields = self._fields()

        def name(container: Container) -> str:
            return names.safe_name(template, fields, extension=container.extension)

        async with self.open_video() as stream:
            saved = await save_stream(aiter(stream), target=self._target(directory), name=name)
        self.log.info("video.saved", path=str(saved.path), bytes=saved.bytes, sha256=saved.sha256)
        return saved

    async def save_json(self, name: str, value: Json, *, directory: str | Path | None = None) -> Saved:
        """Save a JSON value as a file, under the same rules as a video.

        `name` is a file name with or without ".json", made safe like a template's field. Raise
        Hopeless for a value that is not JSON, and OSError.
        """
        try:
            text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise Hopeless(f"a {type(value).__name__} could not be saved, as it is not JSON") from error
        file_name = names.whole_name(name.removesuffix(".json"), extension="json")
        content = f"{text}\n".encode()
        target = self._target(directory)
        return await asyncio.to_thread(save_bytes, content, target=target, name=file_name)

    def _target(self, directory: str | Path | None) -> Target:
        chosen = self._directory if directory is None else directory
        return Target(directory=chosen, folder=self._folder, event_id=self._event.id)

    def _fields(self) -> dict[str, str | None]:
        event, video = self._event, self._event.video
        return {
            "id": video.id or event.id,
            "title": video.title,
            "event": event.id,
            "source": event.source,
            "model": video.model,
            "date": event.received_at.astimezone(UTC).date().isoformat(),
        }
