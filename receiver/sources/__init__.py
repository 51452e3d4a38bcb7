"""The senders: what is believed, and what it means."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from receiver.model import Payload, Video
from receiver.settings import CompatibleSettings, OpenaiSettings, Settings, SourceSettings
from receiver.sources import opennote, video_object
from receiver.sources.base import NoVideo, Source, VideoPlace
from receiver.sources.openai import Gateway, Openai
from receiver.sources.opennote import Opennote

_VIDEO_OF: dict[str, Callable[[Payload], Video]] = {
    Opennote.kind: opennote.video_of,
    Openai.kind: video_object.video_of,
    Gateway.kind: video_object.video_of,
}
KINDS = frozenset(_VIDEO_OF)
"""What is understood, wherever it was recorded."""
_NO_KEY = "its source is not configured any more, and without a key the video can't be fetched"


def configured(
    settings: Settings, *, redactor_key: bytes = b"", clock: Callable[[], float] = time.time
) -> dict[str, Source]:
    """Build every configured source, by its name.

    `redactor_key` keys the fingerprints of credentials; only what keeps headers needs it. `clock` gives
    unix seconds, for signatures that may not be old.
    """
    return {
        name: _built(name, table, settings.server.max_body, redactor_key, clock)
        for name, table in settings.sources.items()
    }


def _built(
    name: str, table: SourceSettings, max_body: int, redactor_key: bytes, clock: Callable[[], float]
) -> Source:
    if isinstance(table, OpenaiSettings):
        return Openai(name, table, redactor_key=redactor_key, clock=clock)
    if isinstance(table, CompatibleSettings):
        return Gateway(name, table, redactor_key=redactor_key)
    return Opennote(name, table, redactor_key=redactor_key, max_body=max_body)


def video_of(kind: str, payload: Payload) -> Video:
    """Normalise a stored payload of a source of this kind, configured or not."""
    return _VIDEO_OF[kind](payload)


def places_of(kind: str, payload: Payload, source: Source | None) -> Mapping[str, VideoPlace]:
    """Say where each variant of the video of a stored payload is.

    A source that is gone gets its kind's defaults, as far as those need no key.
    """
    if source is not None and source.kind == kind:
        found = {variant: source.place(payload, variant=variant) for variant in source.variants}
    elif kind == Opennote.kind:
        found = {"video": opennote.place_of(payload)}
    else:
        found = {"video": NoVideo(_NO_KEY) if video_object.content_id(payload) else None}
    return {variant: place for variant, place in found.items() if place is not None}
