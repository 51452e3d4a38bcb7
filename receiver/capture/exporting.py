"""From the store to a capture: the lines first, so that all is counted before the first byte is written."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, cast

import orjson

from receiver.bodies import Bodies
from receiver.capture import layout
from receiver.capture.layout import FORMAT, Manifest
from receiver.capture.videos import FoundVideo, Videos
from receiver.capture.writing import Writer, written
from receiver.copies import line_of
from receiver.errors import CommandFailed
from receiver.store.base import Store
from receiver.store.values import Row

_EVENTS_AT_ONCE = 100


class Exported(NamedTuple):
    """What is in a capture, and what could not be."""

    manifest: Manifest
    left: int
    """Deliveries whose bodies are gone."""


async def export(
    store: Store,
    bodies: Bodies,
    path: Path,
    *,
    events: Sequence[int],
    wanted: Mapping[str, Any],
    is_compressed: bool,
    videos: Videos | None = None,
    told: Callable[[int], None] = lambda events: None,
) -> Exported:
    """Write these events (`seq`, oldest first) into a new file; `wanted` is what was asked for.

    `told` hears how many events have been gone through. Raise CommandFailed when a body is damaged or
    goes away meanwhile, OSError, and whatever the store raises.
    """
    with tempfile.TemporaryFile(dir=path.parent) as lines:
        gathering = _Gathering(bodies, videos, lines)
        for start in range(0, len(events), _EVENTS_AT_ONCE):
            async for row in _deliveries(store, events[start : start + _EVENTS_AT_ONCE]):
                await gathering.add(row)
            told(min(len(events), start + _EVENTS_AT_ONCE))
        manifest = gathering.manifest(wanted)
        stop = threading.Event()
        try:
            await asyncio.to_thread(_write, path, manifest, gathering, is_compressed, stop)
        finally:
            stop.set()  # who breaks it off need not wait for the rest of a large file
    return Exported(manifest, gathering.left)


async def _deliveries(store: Store, events: Sequence[int]) -> AsyncIterator[Row]:
    after = (-1, 0)
    while rows := await store.copies.give(events, after=after):
        for row in rows:
            yield row
        after = (rows[-1]["place"], rows[-1]["seq"])


class _Gathering:
    """The lines of a capture, and which files belong to it."""

    def __init__(self, bodies: Bodies, videos: Videos | None, lines: IO[bytes]) -> None:
        self.folder = bodies
        self.lines = lines
        self.bodies: dict[str, int] = {}
        self.videos: dict[str, FoundVideo] = {}
        self.left = 0
        self._finder = videos
        self._events = self._deliveries = 0
        self._left_event = ""

    async def add(self, row: Row) -> None:
        """Take one delivery; without its body it is left out, and with the first one the whole event."""
        digest = row["body_sha256"]
        is_gone = digest is not None and (
            row["body_removed_at"] is not None or bool(self.folder.missing([digest]))
        )
        if is_gone or row["event"] == self._left_event:
            self.left += 1
            self._left_event = row["event"] if row["verdict"] == "accepted" else self._left_event
            return
        video = None
        if row["verdict"] == "accepted":
            self._events += 1
            video = await self._finder.find(row) if self._finder is not None else None
        if video is not None:
            self.videos[row["event"]] = video
        if digest is not None:
            self.bodies[digest] = row["bytes"]
        self._deliveries += 1
        line = line_of(row, video=None if video is None else video.kept)
        self.lines.write(orjson.dumps(line) + b"\n")

    def manifest(self, wanted: Mapping[str, Any]) -> Manifest:
        """What stands before all of it."""
        sizes = [*self.bodies.values(), *(video.kept.bytes for video in self.videos.values())]
        return Manifest(
            format=FORMAT,
            events=self._events,
            deliveries=self._deliveries,
            bodies=len(self.bodies),
            videos=len(self.videos),
            bytes=self.lines.tell() + sum(sizes),
            filter=dict(wanted),
        )


def _write(
    path: Path, manifest: Manifest, gathered: _Gathering, is_compressed: bool, stop: threading.Event
) -> None:
    with written(path, is_compressed=is_compressed, stop=stop) as writer:
        text = layout.manifest_text(manifest)
        writer.add(layout.MANIFEST, text, size=len(text))
        size = gathered.lines.tell()
        gathered.lines.seek(0)
        writer.add(layout.DELIVERIES, cast(BinaryIO, gathered.lines), size=size)
        for digest, length in sorted(gathered.bodies.items()):
            path_of_body = gathered.folder.path(digest)
            _add_file(writer, f"{layout.BODIES}{digest}", path_of_body, size=length, sha256=digest)
        for event, video in sorted(gathered.videos.items()):
            kept = video.kept
            _add_file(writer, f"{layout.VIDEOS}{event}", video.path, size=kept.bytes, sha256=kept.sha256)
        writer.finish()


def _add_file(writer: Writer, name: str, path: Path, *, size: int, sha256: str) -> None:
    try:
        with path.open("rb") as file:
            writer.add(name, file, size=size, sha256=sha256)
    except FileNotFoundError as error:
        raise CommandFailed(f"{name} went away while it was being written; begin again") from error
