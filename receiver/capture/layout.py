"""What stands where in a capture: its members, their order, and the heads before each of them.

The heads are those of tar as every tar reads them: plain files only, no extensions, nothing that depends on
who wrote them, or when.
"""

from __future__ import annotations

import re
import tarfile
from contextlib import suppress
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

_NAME = re.compile(
    r"capture\.json|deliveries\.jsonl|SHA256SUMS|bodies/[0-9a-f]{64}|videos/evt_[0-9a-z]{1,60}"
)
_ORDER = {MANIFEST: 0, DELIVERIES: 1, BODIES: 2, VIDEOS: 3, SUMS: 4}
_Count = Annotated[int, Field(ge=0, le=2**53)]


class Manifest(BaseModel):
    """`capture.json`: what is in the file, said before it comes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal["receiver-capture/1"]
    events: _Count
    deliveries: _Count
    bodies: Annotated[int, Field(ge=0, le=MOST_MEMBERS)]
    videos: Annotated[int, Field(ge=0, le=MOST_MEMBERS)]
    bytes: _Count
    """Of all members but this one and the sums."""
    filter: dict[str, Any]
    """Which events were asked for; empty: all."""

    @property
    def members(self) -> int:
        """How many there may be between this one and the sums."""
        return self.bodies + self.videos + 1

    @property
    def most_sums(self) -> int:
        """How many bytes the sums may have."""
        return (self.members + 1) * _LONGEST_SUM

    @property
    def most_bytes(self) -> int:
        """How many the whole file may have, when it is not compressed."""
        heads = (self.members + 2) * 2 * BLOCK
        return LARGEST_MANIFEST + self.bytes + self.most_sums + heads + 2 * RECORD


def manifest_text(manifest: Manifest) -> bytes:
    """`capture.json` as it stands in the file."""
    return orjson.dumps(manifest.model_dump(), option=orjson.OPT_INDENT_2) + b"\n"


def read_manifest(text: bytes) -> Manifest:
    """Read `capture.json`. Raise BadCapture."""
    try:
        return Manifest.model_validate(orjson.loads(text))
    except orjson.JSONDecodeError:
        raise BadCapture(f"{MANIFEST} is not JSON") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadCapture(f"{MANIFEST}: {where}: {first['msg']}") from None


class Head(NamedTuple):
    """A member's name and how many bytes follow."""

    name: str
    size: int

    @property
    def padded(self) -> int:
        """The bytes with what fills their last block."""
        return -(-self.size // BLOCK) * BLOCK

    @property
    def place(self) -> int:
        """Where it may stand: those of a lower place come first."""
        return _ORDER[self.name if self.name in _ORDER else self.name.partition("/")[0] + "/"]


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


def read_head(block: bytes) -> Head:
    """Read the block before a member.

    Raise BadCapture for whatever we never write: links, folders, paths that lead elsewhere, extensions.
    """
    info = tarfile.TarInfo.frombuf(block, "ascii", "replace")
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise BadCapture("it holds something that is not a plain file, which no capture does")
    if not _NAME.fullmatch(info.name):
        raise BadCapture("it holds a file that has no place in a capture")
    if info.size < 0:
        raise BadCapture("it holds a file of an impossible size")
    return Head(info.name, info.size)


def first_head(block: bytes) -> Head:
    """Read the block that a capture begins with. Raise BadCapture."""
    with suppress(BadCapture):
        first = read_head(block) if is_head(block) else None
        if first is not None and first.name == MANIFEST and first.size <= LARGEST_MANIFEST:
            return first
    raise BadCapture(f"it is no capture: it does not begin with {MANIFEST}")


def filling(size: int) -> bytes:
    """What follows the bytes of a member, up to the next block."""
    return bytes(-size % BLOCK)
