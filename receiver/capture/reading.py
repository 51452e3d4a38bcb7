"""Reading a capture that somebody else may have made: nothing is believed before it was looked at.

Nothing is ever unpacked by the names in it: members are read where they stand.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple, cast

from receiver.capture import layout
from receiver.capture.layout import Head, Manifest
from receiver.capture.unpacking import plain
from receiver.errors import BadCapture

_PIECE = 1 << 20
_LONGEST_LINE = 9 << 20
_SUM_LINE = re.compile(rb"([0-9a-f]{64}) [ *](?:\./)?([ -~]{1,100})")


class Member(NamedTuple):
    """Where the bytes of a member are."""

    offset: int
    size: int
    sha256: str
    """Hex; empty for one that is cut short."""


class Capture:
    """A capture that was looked through; to be used inside `opened`."""

    def __init__(self, descriptor: int, manifest: Manifest) -> None:
        self._descriptor = descriptor
        self.manifest = manifest
        self.members: dict[str, Member] = {}
        """Those that are whole."""
        self.problems: list[str] = []
        """What is not whole, a line each; empty when everything is."""

    def lines(self) -> Iterator[bytes]:
        """The lines of the deliveries, without their ends; a last one that is cut short is left out."""
        member = self.members.get(layout.DELIVERIES)
        if member is None:
            return
        with io.BufferedReader(_Slice(self._descriptor, member)) as file:
            while (line := file.readline(_LONGEST_LINE)).endswith(b"\n"):
                yield line[:-1]
        if len(line) == _LONGEST_LINE:
            raise BadCapture(f"{layout.DELIVERIES} has a line that is far too long")
        if line and member.sha256:
            yield line

    def open(self, name: str) -> BinaryIO:
        """Open a member that is whole, for reading."""
        return cast(BinaryIO, io.BufferedReader(_Slice(self._descriptor, self.members[name]), _PIECE))


class _Slice(io.RawIOBase):
    """A stretch of a file, to be read like a file of its own."""

    def __init__(self, descriptor: int, member: Member) -> None:
        self._descriptor = descriptor
        self._member = member
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        count = min(len(view), max(0, self._member.size - self._position))
        read = os.preadv(self._descriptor, [view[:count]], self._member.offset + self._position)
        self._position += read
        return read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._member.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position


@contextmanager
def opened(path: Path, *, is_partial: bool = False, largest: int) -> Iterator[Capture]:
    """Open a capture and look all of it through. Raise BadCapture for one that is hostile, and OSError.

    One that is unfinished or damaged is refused as such, unless `is_partial`: then what is whole can be
    used, and `problems` says what is not. No member may have more than `largest` bytes.
    """
    with path.open("rb") as file:
        try:
            with plain(file) as archive:
                capture = _Look(archive, largest).capture
                if capture.problems and not is_partial:
                    raise BadCapture(_refusal(capture))
                yield capture
        except BadCapture as error:
            lines = str(error).splitlines()
            raise BadCapture("\n".join(f"{path}: {line}" for line in lines)) from None


def _refusal(capture: Capture) -> str:
    mend = ["what is whole can be used with --partial"] if capture.members else []
    return "\n".join([*capture.problems, *mend])


class _Look:
    """One look through all of a capture, from its beginning to its end."""

    def __init__(self, file: IO[bytes], largest: int) -> None:
        self._file = file
        self._largest = largest
        self._sums: dict[str, str] = {}
        text = self._first()
        self.capture = Capture(file.fileno(), layout.read_manifest(text))
        self._manifest = self.capture.manifest
        self._note(layout.MANIFEST, text)
        told = self._members()
        if told is None:
            self.capture.problems.append(self._unfinished())
        else:
            self._compare(told)
            self._count()
        self._check_bodies()

    def _first(self) -> bytes:
        head = layout.first_head(self._file.read)
        text = self._file.read(head.padded)
        if len(text) < head.padded:
            raise BadCapture(f"it is unfinished: it ends within {layout.MANIFEST}")
        return text[: head.size]

    def _note(self, name: str, content: bytes) -> None:
        self._sums[name] = hashlib.sha256(content).hexdigest()

    def _members(self) -> dict[str, str] | None:
        """Hash every member; return the sums that stand in the file, None when they are missing."""
        while (head := layout.next_head(self._file.read)) is not None:
            if head.name in self._sums:
                raise BadCapture("it holds a member twice")
            if head.name == layout.SUMS:
                return self._read_sums(head)
            if head.size > self._largest:
                raise BadCapture("it holds a member that is too large")
            if len(self._sums) > layout.MOST_MEMBERS:
                raise BadCapture("it holds too many members")
            if not self._hash(head):
                return None
        return None

    def _hash(self, head: Head) -> bool:
        """Look at one member; False when the file ends within it."""
        offset, left = self._file.tell(), head.size
        digest = hashlib.sha256()
        while left and (piece := self._file.read(min(left, _PIECE))):
            digest.update(piece)
            left -= len(piece)
        if not left or head.name == layout.DELIVERIES:  # of which the lines that are there can be read
            whole = "" if left else digest.hexdigest()
            self.capture.members[head.name] = Member(offset, head.size - left, whole)
        if left:
            return False
        self._sums[head.name] = digest.hexdigest()
        self._file.seek(head.padded - head.size, os.SEEK_CUR)
        return True

    def _read_sums(self, head: Head) -> dict[str, str] | None:
        if head.size > layout.most_sums(len(self._sums) + self._manifest.members):
            raise BadCapture(f"{layout.SUMS} is larger than it can be")
        text = self._file.read(head.padded)[: head.size]
        if len(text) < head.size:
            return None
        if layout.next_head(self._file.read) is not None:
            raise BadCapture(f"something comes after {layout.SUMS}, which is the last member of a capture")
        told = {}
        for line in text.splitlines():
            found = _SUM_LINE.fullmatch(line)
            if found is None:
                raise BadCapture(f"{layout.SUMS} has a line that is none of sha256sum's")
            told[found[2].decode("ascii")] = found[1].decode("ascii")
        told.pop(layout.SUMS, None)  # of itself nobody can know it
        return told

    def _unfinished(self) -> str:
        bodies, videos = self._number(layout.BODIES), self._number(layout.VIDEOS)
        return (
            f"it is unfinished, or damaged after its beginning: {layout.SUMS} is missing; there are "
            f"{bodies} of {self._manifest.bodies} bodies and {videos} of {self._manifest.videos} videos"
        )

    def _number(self, folder: str) -> int:
        return sum(name.startswith(folder) for name in self._sums)

    def _count(self) -> None:
        told = {"bodies": self._manifest.bodies, "videos": self._manifest.videos}
        for name, number in told.items():
            found = self._number(f"{name}/")
            if found != number:
                self.capture.problems.append(f"there are {found} {name}, and {layout.MANIFEST} says {number}")

    def _compare(self, told: dict[str, str]) -> None:
        for name in sorted(told.keys() | self._sums.keys()):
            if name not in self._sums:
                self.capture.problems.append(f"{name} is missing")
            elif told.get(name) != self._sums[name]:
                self._give_up(name, f"its SHA-256 is another one than {layout.SUMS} says")

    def _check_bodies(self) -> None:
        for name in [name for name in self.capture.members if name.startswith(layout.BODIES)]:
            if self._sums[name] != name.removeprefix(layout.BODIES):
                self._give_up(name, "its SHA-256 is another one than its name")

    def _give_up(self, name: str, reason: str) -> None:
        self.capture.problems.append(f"{name} is damaged: {reason}")
        # A list of deliveries shows by itself which of its lines can be read.
        if name != layout.DELIVERIES:
            self.capture.members.pop(name, None)
