"""What a handler gets beside the event: its video, a safe HTTP client, its settings, where it stands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from receiver import egress, names, programs
from receiver.errors import Hopeless
from receiver.event import Event
from receiver.media import PICTURE, VIDEO, Container
from receiver.model import Json
from receiver.saving import Progress, Resumption, Saved, Target, save_bytes, save_stream
from receiver.sources.base import LinkedVideo, NoVideo, VideoPlace
from receiver.stream import Kept, VideoStream, open_stream
from receiver.units import duration, size

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
        variants: Mapping[str, VideoPlace] = MappingProxyType({}),
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
        """`place` says where the video is, `variants` where else something of it is, by name; `folder` is
        where relative directories start from."""
        self.log = log
        self.attempt = attempt
        self.attempts = attempts
        self.idempotency_key = idempotency_key
        self.replay = replay
        self.settings = settings
        self.results = results
        self.deadline = deadline
        self._event = event
        self._places = {**({} if place is None else {"video": place}), **variants}
        self._fetcher = fetcher
        self._folder = folder
        self._directory = directory
        self._now = now

    @property
    def http(self) -> SafeClient:
        """A client for requests of the handler's own: public https hosts, or loopback by name."""
        from receiver.client import SafeClient

        return SafeClient(self._fetcher)

    @property
    def variants(self) -> tuple[str, ...]:
        """What of the video can be had: `video`, and for some sources `thumbnail` and `spritesheet`."""
        return tuple(self._places)

    def open_video(self, *, variant: str = "video") -> VideoStream:
        """Open the video, or another of its `variants`, as a stream of bytes, decoded, wherever it is.

        Read it with `async for chunk in context.open_video()`, or inside `async with
        context.open_video() as stream` when reading may stop early. Reading raises Hopeless when
        there is no video to be had, Unfinished when it may be there next time.
        """
        return self._open(variant)

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

    @staticmethod
    def check_url(url: str) -> str:
        """Return a URL that `http` can be sent to; raise ValueError, which does not repeat it."""
        try:
            egress.parse(url)
        except Hopeless as error:
            raise ValueError(str(error)) from error
        return url

    async def save_video(
        self,
        template: str = "{title}-{id}",
        *,
        directory: str | Path | None = None,
        variant: str = "video",
    ) -> Saved:
        """Save the video, whole or not at all, and return where it is.

        The template may name id, title, event, source, model and date; what they hold is made safe,
        a missing one is left out, and the extension comes from the bytes. `directory`, by default
        `videos`, is absolute or relative to the configuration file. The same event writes the same
        name again; a name that is somebody else's is never overwritten but gets a suffix. What came
        of a download that broke off is not fetched again by the next attempt, if the file host says
        that the file is still the same. Another of the `variants` is a picture, and its name ends in
        the variant's: `Cells-video_1-thumbnail.webp`. Raise Hopeless or Unfinished, and OSError for a
        full or broken disk.
        """
        names.parse_template(template)  # a mistake is told before the download, not after it
        fields = self._fields()
        is_video = variant == "video"

        def name(container: Container) -> str:
            ending = "" if is_video else f"-{variant}"
            return names.safe_name(template, fields, extension=container.extension, ending=ending)

        resumption = None
        place = self._places.get(variant)
        if isinstance(place, LinkedVideo):
            resumption = Resumption(place.url, is_last=self.attempt >= self.attempts)
        try:
            saved = await save_stream(
                partial(self._open, variant),
                target=self._target(directory),
                name=name,
                progress=Progress(self.log),
                resumption=resumption,
                medium=VIDEO if is_video else PICTURE,
            )
        except Hopeless as error:
            raise error if is_video else Hopeless(f"{variant}: {error}") from error
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
        return await self._save_bytes(f"{text}\n".encode(), file_name, directory)

    async def save_file(self, name: str, content: bytes, *, directory: str | Path | None = None) -> Saved:
        """Save a small file as a whole, under the same rules as a video.

        `name` is a file name with its extension, made safe like a template's field. Raise Hopeless
        for a name without an extension, and OSError.
        """
        stem, _, extension = name.rpartition(".")
        if not (stem and extension.isascii() and extension.isalnum()):
            raise Hopeless("a file needs a name with an extension")
        return await self._save_bytes(content, names.whole_name(stem, extension=extension), directory)

    async def run_program(
        self,
        program: str | Path,
        *arguments: str,
        timeout: str | float | timedelta = "30s",
        max_output: str | int = "1MiB",
        max_memory: str | int = "2GiB",
        joins_errors: bool = False,
    ) -> programs.Ended:
        """Run another program on what strangers made, and return how it ended, whatever its status.

        `program` is an absolute path. It gets so much time (and as much of one processor), address
        space and output, an empty standard input, no environment, and may write no file. It is killed
        with all that it started when it goes too far, or when this attempt ends. `joins_errors`: what
        it writes to standard error goes into the output.
        """
        return await programs.run(
            (str(program), *arguments),
            timeout_seconds=duration(timeout).total_seconds(),
            max_output=size(max_output),
            max_memory=size(max_memory),
            joins_errors=joins_errors,
        )

    async def _save_bytes(self, content: bytes, name: str, directory: str | Path | None) -> Saved:
        target = self._target(directory)
        return await asyncio.to_thread(save_bytes, content, target=target, name=name)

    def _open(self, variant: str, kept: Kept | None = None) -> VideoStream:
        return open_stream(
            self._event,
            self._place(variant),
            fetcher=self._fetcher,
            seconds_left=lambda: (self.deadline - self._now()).total_seconds(),
            now=self._now,
            kept=kept,
        )

    def _place(self, variant: str) -> VideoPlace | None:
        is_video = variant == "video"  # without one, the event names none
        missing = None if is_video else NoVideo(f"there is no {variant} of this video to be had")
        return self._places.get(variant, missing)

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
