"""What a claimed job becomes for its handler: the event that it is about, and the context of this attempt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import BaseModel

from receiver import sources
from receiver.bodies import Bodies
from receiver.context import Context
from receiver.event import Event, StoredBody
from receiver.fetch import Fetcher
from receiver.model import LongString, utc
from receiver.router import Handler
from receiver.settings import Settings
from receiver.sources.base import OWN_JOBS, InlineVideo, VideoFile
from receiver.store.values import Row


class Attempts:
    """Builds events and contexts from the rows of claimed jobs."""

    def __init__(
        self, config: Settings, handler_settings: Mapping[str, BaseModel | None], *, fetcher: Fetcher
    ) -> None:
        self._folder = config.folder
        self._sources = sources.configured(config)
        self._bodies = Bodies(config.bodies_folder)
        self._settings = handler_settings
        self._fetcher = fetcher

    def event(self, row: Row) -> Event:
        """Build the event that a claimed job is about."""
        body: str | None = row["body"]
        payload = orjson.loads(body) if body is not None else row["payload"]
        video = sources.video_of(row["kind"], row["object"] or payload)
        if video.id is None:
            video = video.model_copy(update={"id": row["video_id"]})
        strings = tuple(LongString.model_validate(string) for string in row["strings"] or ())
        digest = row["body_sha256"]
        stored = StoredBody(
            raw=None if body is None else body.encode(),
            path=None if digest is None else self._bodies.path(digest),
            strings=strings,
        )
        return Event(
            id=row["id"],
            source=row["source"],
            type=row["type"],
            key=f"{row['identity']}:{row['what']}",
            received_at=utc(row["received_at"]),
            warnings=tuple(row["warnings"]),
            video=video,
            payload=payload,
            body=stored,
        )

    def context(self, handler: Handler, event: Event, row: Row, *, log: Any) -> Context:
        """Build what the handler gets beside the event."""
        places = dict(sources.places_of(row["kind"], event.payload, self._sources.get(event.source)))
        place = places.pop("video", None)
        if row["video_sha256"] is not None and not isinstance(place, InlineVideo):
            place = VideoFile(self._bodies.path(row["video_sha256"]))
        return Context(
            event=event,
            place=place,
            variants=places,
            fetcher=self._fetcher,
            folder=self._folder,
            log=log,
            attempt=row["attempts"] + 1,
            attempts=handler.attempts,
            idempotency_key=f"{event.id}:{handler.name}",
            replay=row["replay"],
            settings=self._settings.get(handler.router_name),
            results={name: result for name, result in row["results"].items() if name not in OWN_JOBS},
            deadline=datetime.now(UTC) + handler.timeout,
        )
