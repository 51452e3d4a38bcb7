"""The bytes of an event's video, wherever they are: behind a link, or as base64 in the body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Protocol

from receiver import inline
from receiver.errors import DeadLink, FileChanged, Hopeless, Unfinished
from receiver.event import Event
from receiver.fetch import Download, Fetcher, link_expired
from receiver.model import Json, Payload
from receiver.sources.base import InlineVideo, LinkedVideo, NoVideo, VideoFile, VideoPlace

_PIECE_BYTES = 1 << 20
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


class Kept(Protocol):
    """What of a linked video is there already; it is told what each answer is the beginning of."""

    @property
    def bytes(self) -> int:
        """How many bytes are there."""
        ...

    @property
    def etag(self) -> str | None:
        """The strong ETag of the file that they are the beginning of."""
        ...

    async def begin(self, offset: int, etag: str | None, total: int | None) -> None:
        """What follows begins at `offset` of a file of `total` bytes, if that is known."""
        ...


def open_stream(
    event: Event,
    place: VideoPlace | None,
    *,
    fetcher: Fetcher,
    seconds_left: Callable[[], float],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    kept: Kept | None = None,
) -> VideoStream:
    """Open the video of an event. `seconds_left` says how long a download may still take.

    Of a linked video only what is missing in `kept` is fetched, if the file is still the same; an
    offset of 0 says that it isn't. Nothing is read before the first iteration, which raises Hopeless
    or Unfinished.
    """
    if isinstance(place, LinkedVideo):
        chunks = _linked(place, fetcher, seconds_left, kept)
        return VideoStream(_explained(chunks, place, event.video.expires_at, now))
    if isinstance(place, VideoFile):
        return VideoStream(_kept(place.path))
    if isinstance(place, NoVideo):
        return VideoStream(_nothing(place.reason))
    return VideoStream(_nothing("the event names no video") if place is None else open_inline(event, place))


async def _explained(
    chunks: AsyncGenerator[bytes, None],
    place: LinkedVideo,
    expires_at: datetime | None,
    now: Callable[[], datetime],
) -> AsyncGenerator[bytes, None]:
    """Say of a link that is refused what is known of it: that it has expired, or that the key is wrong."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    except DeadLink as error:
        if error.status == HTTPStatus.UNAUTHORIZED and place.headers:
            raise Unfinished(f"{error}: the api_key of the source is wrong") from error
        is_late = expires_at is not None and now() >= expires_at
        if is_late and not str(error).startswith("link_expired"):
            raise Hopeless(link_expired(error.status)) from error
        raise


async def _linked(
    place: LinkedVideo, fetcher: Fetcher, seconds_left: Callable[[], float], kept: Kept | None
) -> AsyncGenerator[bytes, None]:
    """Download, and go on where a connection broke, as long as it is certainly the same file."""
    received, etag = (kept.bytes, kept.etag) if kept is not None else (0, None)
    has_begun, resumptions = False, 0
    while True:
        progress = 0
        try:
            async with fetcher.open(
                place.url,
                base=place.base,
                headers=place.headers,
                allow_private=place.allow_private,
                offset=received,
                if_range=etag,
                deadline_seconds=seconds_left(),
            ) as download:
                received = _where(download, received, etag, has_begun=has_begun)
                etag, has_begun = _strong(download.etag), True
                if kept is not None:
                    await kept.begin(received, etag, download.total)
                async for chunk in download:
                    progress += len(chunk)
                    yield chunk
                if download.total not in (None, received + progress):
                    raise Unfinished("another number of bytes arrived than the file has")
                return
        except FileChanged:
            if has_begun:
                raise
            received, etag = 0, None
            continue
        except Unfinished:
            # Without new bytes a resumption is only a retry, and those are paced by the job.
            if etag is None or not progress or resumptions == _MOST_RESUMPTIONS:
                raise
        received += progress
        resumptions += 1


def _where(download: Download, asked: int, etag: str | None, *, has_begun: bool) -> int:
    """Say at which byte of the file an answer begins; raise FileChanged when it doesn't fit."""
    if not asked:
        return 0
    if download.status == HTTPStatus.OK and not has_begun:
        return 0  # what is there was kept by an earlier attempt, and nobody has seen it yet
    if download.status != HTTPStatus.PARTIAL_CONTENT or download.etag != etag:
        raise FileChanged("the file changed while it was being downloaded")
    return asked


def _strong(etag: str | None) -> str | None:
    """A weak ETag promises the same meaning only; stitching needs the same bytes (RFC 9110, 13.1.5)."""
    return etag if etag and etag.startswith('"') else None


async def _kept(path: Path) -> AsyncGenerator[bytes, None]:
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except FileNotFoundError:
        raise Hopeless("the video that was kept with the event is gone") from None
    with file:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece


async def _nothing(reason: str) -> AsyncGenerator[bytes, None]:
    raise Hopeless(reason)
    yield b""  # which makes it a generator


async def open_inline(event: Event, place: InlineVideo) -> AsyncGenerator[bytes, None]:
    """Decode the video that the body itself carries. Raise Hopeless, also when its file is gone."""
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
