"""The bytes of an event's video, wherever they are: behind a link, or as base64 in the body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType

from receiver import inline
from receiver.errors import Hopeless, Unfinished
from receiver.event import Event
from receiver.fetch import Fetcher
from receiver.model import Json, Payload
from receiver.sources.base import InlineVideo, LinkedVideo, VideoPlace

_MOST_RESUMPTIONS = 3


class VideoStream:
    """The bytes of one video, to be read once: `async for chunk in stream`.

    Used with `async with` it gives connection and file back at the end of the block, even when the
    reader stops early; without, they are given back when everything is read.
    """

    def __init__(self, chunks: AsyncGenerator[bytes, None]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._chunks

    async def __aenter__(self) -> VideoStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._chunks.aclose()


def open_stream(
    event: Event, place: VideoPlace | None, *, fetcher: Fetcher, seconds_left: Callable[[], float]
) -> VideoStream:
    """Open the video of an event. `seconds_left` says how long a download may still take.

    Nothing is read before the first iteration, which raises Hopeless or Unfinished.
    """
    if isinstance(place, LinkedVideo):
        return VideoStream(_linked(place, fetcher, seconds_left))
    return VideoStream(_inline(event, place))


async def _linked(
    place: LinkedVideo, fetcher: Fetcher, seconds_left: Callable[[], float]
) -> AsyncGenerator[bytes, None]:
    """Download, and go on where a connection broke, as long as it is certainly the same file."""
    received, etag, resumptions = 0, None, 0
    while True:
        progress = 0
        try:
            async with fetcher.open(
                place.url,
                base=place.base,
                headers=place.headers,
                offset=received,
                if_range=etag,
                deadline_seconds=seconds_left(),
            ) as download:
                if received and (download.status != 206 or download.etag != etag):
                    raise Unfinished("the file changed while it was being downloaded")
                etag = _strong(download.etag)
                async for chunk in download:
                    progress += len(chunk)
                    yield chunk
                return
        except Unfinished:
            # Without new bytes a resumption is only a retry, and those are paced by the job.
            if etag is None or not progress or resumptions == _MOST_RESUMPTIONS:
                raise
        received += progress
        resumptions += 1


def _strong(etag: str | None) -> str | None:
    """A weak ETag promises the same meaning only; stitching needs the same bytes (RFC 9110, 13.1.5)."""
    return etag if etag and etag.startswith('"') else None


async def _inline(event: Event, place: InlineVideo | None) -> AsyncGenerator[bytes, None]:
    if place is None:
        raise Hopeless("the event names no video")
    string = event.body.long_string(place.path)
    if string is None:
        yield inline.decode_text(_text_at(event.payload, place.path))
        return
    pieces = inline.decode(inline.open_slice(event.body, string))
    try:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
    except FileNotFoundError:
        raise Hopeless("the body file that carries the video is gone") from None


def _text_at(payload: Payload, path: tuple[str | int, ...]) -> str:
    value: Json = payload
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            raise Hopeless("the body carries no video where it should") from None
    if not isinstance(value, str):
        raise Hopeless("the body carries no video where it should")
    return value
