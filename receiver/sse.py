"""Server-sent events, read as they arrive (WHATWG HTML, 9.2); nothing here has a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from receiver.errors import Hopeless

LONGEST_BLOCK = 4 * 2**20
"""Bytes of one message."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, or only its id when it has no data."""

    event: str
    data: str
    id: str
    """The last id that was said, here or before."""


class Messages:
    """Cuts a byte stream into messages; comments and unknown fields are passed over."""

    def __init__(self) -> None:
        self._rest = b""
        self._event = ""
        self._data: list[str] = []
        self._size = 0
        self._id = ""
        self._is_new = False

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Give every message that is complete now. Raise Hopeless for what is no such stream."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._check(len(self._rest))
        for raw in lines:
            try:
                line = raw.removesuffix(b"\r").decode()
            except UnicodeDecodeError:
                raise Hopeless("the stream is not UTF-8") from None
            if line:
                self._take(line)
            elif self._data or self._is_new:
                yield Message(self._event or "message", "\n".join(self._data), self._id)
                self._event, self._data, self._size, self._is_new = "", [], 0, False
            else:
                self._event = ""

    def _check(self, size: int) -> None:
        if size > LONGEST_BLOCK:
            raise Hopeless("the stream has a message that is too long")

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(value) + 1
            self._check(self._size)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._is_new = value != self._id
            self._id = value
