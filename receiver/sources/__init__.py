"""The senders: what is believed, and what it means."""

from __future__ import annotations

from receiver.model import Payload, Video
from receiver.settings import OpennoteSettings, Settings
from receiver.sources import opennote
from receiver.sources.base import Source, VideoPlace

_VIDEO_OF = {opennote.Opennote.kind: opennote.video_of}
_PLACE_OF = {opennote.Opennote.kind: opennote.place_of}


def configured(settings: Settings, *, redactor_key: bytes = b"") -> dict[str, Source]:
    """Build every configured source, by its name.

    `redactor_key` keys the fingerprints of credentials; only what keeps headers needs it.
    """
    return {
        name: opennote.Opennote(name, table, redactor_key=redactor_key, max_body=settings.server.max_body)
        for name, table in settings.sources.items()
        if isinstance(table, OpennoteSettings)
    }


def video_of(kind: str, payload: Payload) -> Video:
    """Normalise a stored payload of a source of this kind, configured or not."""
    return _VIDEO_OF[kind](payload)


def place_of(kind: str, payload: Payload, source: Source | None) -> VideoPlace | None:
    """Say where the video of a stored payload is; a source that is gone gets its kind's defaults."""
    return source.place(payload) if source is not None else _PLACE_OF[kind](payload)
