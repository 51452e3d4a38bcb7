"""What a handler is given: the event, and the body that reported it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from receiver.errors import Hopeless
from receiver.model import EventType, LongString, Payload, Video


@dataclass(frozen=True, slots=True)
class StoredBody:
    """A body as it was kept: its bytes when it is small, else the path of its body file.

    Exactly one of `raw` and `path` is set. `strings` are the places of the strings that are left
    out of the payload; a body that fits into its row has none.
    """

    raw: bytes | None = None
    path: Path | None = None
    strings: tuple[LongString, ...] = ()

    def open(self) -> BinaryIO:
        """Open the original bytes for reading. Raise OSError when the body file is gone."""
        if self.path is None:
            return io.BytesIO(self.raw or b"")
        return self.path.open("rb")

    def long_string(self, path: tuple[str | int, ...]) -> LongString | None:
        """Find the long string that stands at `path`, if there is one."""
        return next((string for string in self.strings if string.path == path), None)


@dataclass(frozen=True, slots=True)
class Event:
    """A distinct thing that a source reported about a video."""

    id: str
    """The receiver's own id."""
    source: str
    """The name of the configured sender."""
    type: EventType
    """One of the four event types."""
    key: str
    """The event key: whose video, and what happened to it."""
    received_at: datetime
    """When the first delivery arrived, UTC."""
    warnings: tuple[str, ...]
    """What was odd about it, for example `request_id_rewritten`."""
    video: Video
    """What is said about the video, under the same names for every provider."""
    payload: Payload
    """The body as parsed; a string over 64 KiB appears as `{"$long_string": {"bytes": n}}`."""
    body: StoredBody = field(repr=False)
    """Where the original is kept; read it with `open_body()`."""

    def open_body(self) -> BinaryIO:
        """Open the original body, byte for byte, as a binary file; close it after use.

        Raise Hopeless when its file is gone: retention may have removed it before a replay.
        """
        try:
            return self.body.open()
        except FileNotFoundError:
            raise Hopeless("the body file is gone") from None
