"""What is kept of an event as bytes: the original body, and its video, wherever that is."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from receiver import inline, sources
from receiver.api.replies import JSON
from receiver.bodies import Bodies
from receiver.errors import Hopeless, NotFound
from receiver.event import StoredBody
from receiver.files import open_own
from receiver.life import JobState
from receiver.media import HEAD_BYTES, sniff
from receiver.model import LongString, iso
from receiver.sources.base import InlineVideo
from receiver.store.values import Row

_PIECE = 256 * 1024
_UNKNOWN = b"application/octet-stream"
_MOST_MEASURED = 256


class FileContent:
    """The bytes of a file."""

    def __init__(self, file: BinaryIO, *, size: int, kind: bytes, name: str, etag: bytes) -> None:
        self._file = file
        self.size = size
        self.kind = kind
        self.name = name
        self.etag = etag

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """See `Content`."""
        self._file.seek(begin)
        left = end - begin
        while left:
            piece = self._file.read(min(_PIECE, left))
            if not piece:
                raise OSError("the file has become shorter")
            left -= len(piece)
            yield piece

    def close(self) -> None:
        """See `Content`."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Measured:
    """What had to be decoded once to be known of an inline video."""

    size: int
    kind: bytes
    extension: str
    begins_at: int | None
    """Where its base64 begins, when every four letters from there on are three bytes."""


class InlineContent:
    """A video that is base64 in a body file, decoded while it is read."""

    def __init__(self, body: StoredBody, string: LongString, measured: Measured, *, event: str) -> None:
        self._body = body
        self._string = string
        self._begins_at = measured.begins_at
        self.size = measured.size
        self.kind = measured.kind
        self.name = f"{event}.{measured.extension}"
        self.etag = f'"{event}"'.encode()

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """See `Content`."""
        at, chunks = self._from(begin, end)
        for chunk in chunks:
            piece = chunk[max(0, begin - at) : max(0, end - at)]
            at += len(chunk)
            if piece:
                yield piece
            if at >= end:
                return

    def _from(self, begin: int, end: int) -> tuple[int, Iterator[bytes]]:
        """Decoded chunks, and which byte of the video they begin with."""
        if self._begins_at is None:
            return 0, inline.decode(inline.open_slice(self._body, self._string, piece=_PIECE))
        groups = begin // 3
        offset = self._begins_at + 4 * groups
        length = min(self._string.length - offset, 4 * (-(-end // 3) - groups))
        part = self._string.model_copy(update={"offset": self._string.offset + offset, "length": length})
        return 3 * groups, inline.decode(inline.open_slice(self._body, part, piece=_PIECE))

    def close(self) -> None:
        """See `Content`: a file is only open while it is read."""


class Contents:
    """Opens bodies and videos. Every method blocks; the caller runs it in a thread.

    Raise NotFound, with the reason, for what is not there (any more).
    """

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._measured: OrderedDict[tuple[str, int], Measured] = OrderedDict()

    def body(self, row: Row) -> FileContent:
        """The original body of an event, byte for byte."""
        event = row["id"]
        if row["body"] is not None:
            raw = row["body"].encode()
            return _bytes(raw, kind=JSON, name=f"{event}.json", event=event)
        file = self._body_file(row)
        size = os.fstat(file.fileno()).st_size
        etag = f'"{row["body_sha256"]}"'.encode()
        return FileContent(file, size=size, kind=JSON, name=f"{event}.json", etag=etag)

    def video(self, row: Row, *, kept: str | None = None) -> FileContent | InlineContent:
        """The video of an event: out of its body, or the file that was saved, or was `kept` among bodies."""
        payload = orjson.loads(row["body"]) if row["body"] is not None else row["payload"]
        place = sources.places_of(row["kind"], payload, None).get("video")
        if not isinstance(place, InlineVideo):
            return self._linked(row, kept, is_named=place is not None)
        string = _long_string(row, place)
        try:
            if string is None:
                return _small(row["id"], payload, place)
            self._body_file(row).close()  # says why, if it is not there
            body = StoredBody(path=self._bodies.path(row["body_sha256"]))
            return InlineContent(body, string, self._measure(row, body, string), event=row["id"])
        except Hopeless as error:
            raise NotFound(str(error)) from error

    def _body_file(self, row: Row) -> BinaryIO:
        try:
            return self._bodies.open(row["body_sha256"])
        except FileNotFoundError as error:
            removed_at = iso(row["body_removed_at"])
            when = f"was removed at {removed_at}, as retention.bodies says" if removed_at else "is gone"
            raise NotFound(f"the body {when}") from error

    def _linked(self, row: Row, kept: str | None, *, is_named: bool) -> FileContent:
        """The file that a handler saved last for this event, or the one that came along with a copy."""
        paths = [path for job in reversed(row["jobs"]) if (path := _path_in(job)) is not None]
        for path in paths:
            with suppress(FileNotFoundError):
                return _video_file(open_own(path, event_id=row["id"]), event=row["id"])
        if kept is not None:
            with suppress(FileNotFoundError):
                return _video_file(self._bodies.open(kept), event=row["id"])
        if not is_named:
            raise NotFound("the event names no video")
        raise NotFound("the video came as a link, and no handler has saved it here, or its file is gone")

    def _measure(self, row: Row, body: StoredBody, string: LongString) -> Measured:
        place = (row["body_sha256"], string.offset)
        if place not in self._measured:
            self._measured[place] = measure(body, string)
            if len(self._measured) > _MOST_MEASURED:
                self._measured.popitem(last=False)
        return self._measured[place]


def measure(body: StoredBody, string: LongString) -> Measured:
    """Decode a video once, to know how many bytes it has. Raise Hopeless or OSError."""
    stream = inline.Base64Stream()
    size, head, first = 0, b"", b""
    is_plain = True
    for raw in inline.open_slice(body, string):
        first = first or raw[:HEAD_BYTES]
        is_plain = is_plain and b" " not in raw and b"\\" not in raw
        decoded = stream.feed(raw)
        head += decoded[: HEAD_BYTES - len(head)]
        size += len(decoded)
    last = stream.finish()
    size += len(last)
    found = sniff(head + last)
    begins_at = first.find(b",") + 1 if first[:5].lower() == b"data:" else 0
    return Measured(
        size=size,
        kind=found.mime.encode() if found else _UNKNOWN,
        extension=found.extension if found else "bin",
        begins_at=begins_at if is_plain else None,
    )


def _video_file(file: BinaryIO, *, event: str) -> FileContent:
    status = os.fstat(file.fileno())
    found = sniff(file.read(HEAD_BYTES))
    return FileContent(
        file,
        size=status.st_size,
        kind=found.mime.encode() if found else _UNKNOWN,
        name=f"{event}.{found.extension if found else 'bin'}",
        etag=f'"{status.st_size:x}-{status.st_mtime_ns:x}"'.encode(),
    )


def _small(event: str, payload: Any, place: InlineVideo) -> FileContent:
    text = payload
    for part in place.path:
        text = text[part]
    if not isinstance(text, str):
        raise NotFound("the body carries no video where it should")
    video = inline.decode_text(text)
    found = sniff(video[:HEAD_BYTES])
    kind = found.mime.encode() if found else _UNKNOWN
    return _bytes(video, kind=kind, name=f"{event}.{found.extension if found else 'bin'}", event=event)


def _bytes(content: bytes, *, kind: bytes, name: str, event: str) -> FileContent:
    etag = f'"{event}"'.encode()
    return FileContent(io.BytesIO(content), size=len(content), kind=kind, name=name, etag=etag)


def _long_string(row: Row, place: InlineVideo) -> LongString | None:
    strings = (LongString.model_validate(string) for string in row["strings"] or ())
    return next((string for string in strings if string.path == place.path), None)


def _path_in(job: Row) -> Path | None:
    """Where a handler that is done says that it saved something."""
    if job["state"] != JobState.DONE or not job["result"]:
        return None
    result = orjson.loads(job["result"])
    path = result.get("path") if isinstance(result, dict) else None
    return Path(path) if isinstance(path, str) else None
