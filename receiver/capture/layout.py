"""What stands where in a capture: its members, their order, and the heads before each of them.

The heads that we write are those of tar as every tar reads them: plain files only, no extensions, nothing
that depends on who wrote them, or when. Read are also those that other programs put around the same members.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from receiver.errors import BadCapture

FORMAT = "receiver-capture/1"
MANIFEST, DELIVERIES, SUMS = "capture.json", "deliveries.jsonl", "SHA256SUMS"
BODIES, VIDEOS = "bodies/", "videos/"
BLOCK = 512
RECORD = 20 * BLOCK
"""tar fills a file up to a multiple of this."""
LARGEST_MANIFEST = 1 << 20
MOST_MEMBERS = 1_000_000
_LONGEST_SUM = 200
_LARGEST_EXTENSION = 64 * 1024
_MOST_HEADS = 6
"""Blocks before a member: its own head, that of an extension, and what stands in it."""

_NAME = re.compile(
    r"capture\.json|deliveries\.jsonl|SHA256SUMS|bodies/[0-9a-f]{64}|videos/evt_[0-9a-z]{1,60}"
)
_FOLDERS = (".", "", BODIES.rstrip("/"), VIDEOS.rstrip("/"))
_RECORD = re.compile(rb"([0-9]{1,5}) ([^=\n]{1,200})=")
_FORMAT = re.compile(r"receiver-capture/[0-9]{1,9}")
_Count = Annotated[int, Field(ge=0, le=2**53)]


class Manifest(BaseModel):
    """`capture.json`: what is in the file, said before it comes."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # what a later version may add is passed over
    format: Literal["receiver-capture/1"]
    events: _Count
    deliveries: _Count
    bodies: Annotated[int, Field(ge=0, le=MOST_MEMBERS)]
    videos: Annotated[int, Field(ge=0, le=MOST_MEMBERS)]
    bytes: _Count
    """Of all members but this one and the sums; so much is unpacked of a compressed file, and little more."""
    filter: dict[str, Any]
    """Which events were asked for; empty: all."""

    @property
    def members(self) -> int:
        """How many there may be between this one and the sums."""
        return self.bodies + self.videos + 1

    @property
    def most_bytes(self) -> int:
        """How many the whole file may have, when it is not compressed."""
        heads = (self.members + 2 + len(_FOLDERS)) * _MOST_HEADS * BLOCK
        return LARGEST_MANIFEST + self.bytes + most_sums(self.members) + heads + 2 * RECORD


def most_sums(members: int) -> int:
    """How many bytes the sums of so many members may have."""
    return (members + 2) * _LONGEST_SUM


def manifest_text(manifest: Manifest) -> bytes:
    """`capture.json` as it stands in the file."""
    return orjson.dumps(manifest.model_dump(), option=orjson.OPT_INDENT_2) + b"\n"


def read_manifest(text: bytes) -> Manifest:
    """Read `capture.json`. Raise BadCapture."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadCapture(f"{MANIFEST} is not JSON") from None
    found = value.get("format") if isinstance(value, dict) else None
    if isinstance(found, str) and found != FORMAT and _FORMAT.fullmatch(found):
        raise BadCapture(f"it has the format {found}, and this version of receiver reads {FORMAT} only")
    try:
        return Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BadCapture(f"{MANIFEST}: {where}: {first['msg']}") from None


class Head(NamedTuple):
    """A member's name and how many bytes follow."""

    name: str
    size: int

    @property
    def padded(self) -> int:
        """The bytes with what fills their last block."""
        return -(-self.size // BLOCK) * BLOCK


def head(name: str, size: int) -> bytes:
    """The block before a member."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.GNU_FORMAT)  # no extension, however large the size


def is_head(block: bytes) -> bool:
    """Whether a block is whole and the begin of something, by its checksum: zeros end a file."""
    try:
        tarfile.TarInfo.frombuf(block, "ascii", "replace")
    except tarfile.HeaderError:
        return False
    return True


def next_head(read: Callable[[int], bytes]) -> Head | None:
    """Read up to the bytes of the next member; None where the file ends, or can't be read any further.

    Folders that members lie in, `./` before a name and extended heads (POSIX) are read over. Raise BadCapture
    for whatever has no place in a capture: links, paths that lead elsewhere, files with holes, other names.
    """
    told: dict[bytes, bytes] = {}
    while is_head(block := read(BLOCK)):
        info = tarfile.TarInfo.frombuf(block, "ascii", "replace")
        if info.type in (tarfile.XHDTYPE, tarfile.XGLTYPE):
            extension = _extension(info.size, read)
            if extension is None:
                return None
            told = extension if info.type == tarfile.XHDTYPE else told
            continue
        name = told[b"path"].decode("ascii", "replace") if b"path" in told else info.name
        name = name.removeprefix("./")
        if info.type == tarfile.DIRTYPE and name.rstrip("/") in _FOLDERS and not info.size:
            told = {}
            continue
        return _member(info, name, told)
    return None


def _member(info: tarfile.TarInfo, name: str, told: Mapping[bytes, bytes]) -> Head:
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise BadCapture("it holds something that is not a plain file, which no capture does")
    if not _NAME.fullmatch(name):
        raise BadCapture("it holds a file that has no place in a capture")
    size = told.get(b"size", b"%d" % info.size)
    if not re.fullmatch(rb"[0-9]{1,18}", size):
        raise BadCapture("it holds a file of an impossible size")
    return Head(name, int(size))


def _extension(size: int, read: Callable[[int], bytes]) -> dict[bytes, bytes] | None:
    """What a POSIX head says of the member after it; None when the file ends in it. Raise BadCapture."""
    if not 0 <= size <= _LARGEST_EXTENSION:
        raise BadCapture("it holds a head that is far too long")
    text = read(size + len(filling(size)))
    if len(text) < size:
        return None
    told, position = {}, 0
    while position < size:
        found = _RECORD.match(text, position, size)
        end = position + int(found[1]) if found is not None else 0
        if found is None or not found.end() < end <= size or text[end - 1] != ord("\n"):
            raise BadCapture("it holds a head that can't be read")
        if found[2].startswith(b"GNU.sparse."):
            raise BadCapture("it holds something that is not a plain file, which no capture does")
        told[found[2]] = text[found.end() : end - 1]
        position = end
    return told


def first_head(read: Callable[[int], bytes]) -> Head:
    """Read up to the bytes of the member that a capture begins with. Raise BadCapture."""
    try:
        first = next_head(read)
    except BadCapture:
        first = None
    if first is None or first.name != MANIFEST or first.size > LARGEST_MANIFEST:
        raise BadCapture(f"it is no capture: it does not begin with {MANIFEST}")
    return first


def filling(size: int) -> bytes:
    """What follows the bytes of a member, up to the next block."""
    return bytes(-size % BLOCK)
