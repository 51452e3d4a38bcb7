"""The videos behind links, for a capture: a file that is here already if it is the same, else a download."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from receiver import sources
from receiver.bodies import Bodies
from receiver.errors import VideoError
from receiver.fetch import Fetcher
from receiver.sources.base import LinkedVideo, Source
from receiver.store.base import Store
from receiver.store.copies import KeptVideo
from receiver.store.values import Row

_DEADLINE_SECONDS = 3600.0


class FoundVideo(NamedTuple):
    """A file that holds the video of an event."""

    path: Path
    kept: KeptVideo


class Videos:
    """Finds the videos of events; what it downloads goes into `scratch`, a folder of its own."""

    def __init__(
        self,
        store: Store,
        bodies: Bodies,
        fetcher: Fetcher,
        *,
        configured: Mapping[str, Source],
        scratch: Path,
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._fetcher = fetcher
        self._sources = configured
        self._scratch = scratch
        self.missing: list[str] = []
        """The videos that can't be had, each with the reason."""

    async def find(self, row: Row) -> FoundVideo | None:
        """The video of a delivery that `copies.give` told; None when it has none behind a link."""
        if row["video_sha256"] is not None:
            kept = KeptVideo(row["video_sha256"], row["video_bytes"])
            return FoundVideo(self._bodies.path(kept.sha256), kept)
        place = _link(row, self._sources)
        if place is None:
            return None
        saved = await self._saved(row["event"])
        if saved is not None:
            return saved
        try:
            return await self._downloaded(row["event"], place)
        except VideoError as error:
            self.missing.append(f"the video of event {row['event']} can't be had: {error}")
            return None

    async def _saved(self, event: str) -> FoundVideo | None:
        """What a handler has saved and nobody has changed since."""
        for job in (await self._store.event(event))["jobs"]:
            result = orjson.loads(job["result"]) if job["state"] == "done" and job["result"] else None
            found = await asyncio.to_thread(_unchanged, result)
            if found is not None:
                return found
        return None

    async def _downloaded(self, event: str, place: LinkedVideo) -> FoundVideo:
        path, digest, size = self._scratch / event, hashlib.sha256(), 0
        with await asyncio.to_thread(path.open, "xb") as file:
            async with self._fetcher.open(
                place.url, base=place.base, headers=place.headers, deadline_seconds=_DEADLINE_SECONDS
            ) as download:
                async for chunk in download:
                    digest.update(chunk)
                    size += len(chunk)
                    await asyncio.to_thread(file.write, chunk)
        return FoundVideo(path, KeptVideo(digest.hexdigest(), size))


async def count_left_behind(store: Store, events: Sequence[int], *, configured: Mapping[str, Source]) -> int:
    """How many of these events (`seq`) have their video behind a link only."""
    count, after = 0, (-1, 0)
    while rows := await store.copies.give(events, after=after):
        accepted = (row for row in rows if row["verdict"] == "accepted" and row["video_sha256"] is None)
        count += sum(_link(row, configured) is not None for row in accepted)
        after = (rows[-1]["place"], rows[-1]["seq"])
    return count


def _link(row: Row, configured: Mapping[str, Source]) -> LinkedVideo | None:
    """Where the video of a delivery that `copies.give` told lies elsewhere."""
    if row["type"] != "video.completed":
        return None
    payload = row["payload"] if row["body"] is None else orjson.loads(row["body"])
    place = sources.places_of(row["kind"], payload, configured.get(row["source"])).get("video")
    return place if isinstance(place, LinkedVideo) else None


def _unchanged(result: Any) -> FoundVideo | None:
    """The file that a result of `save_video` names, if it is still the same."""
    if not isinstance(result, dict) or not isinstance(result.get("sha256"), str):
        return None
    path, size = Path(str(result.get("path", ""))), result.get("bytes")
    try:
        if not path.is_file() or path.stat().st_size != size:
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    return FoundVideo(path, KeptVideo(digest, size)) if digest == result["sha256"] else None
