"""What every kind of source can do, without any I/O: judge headers, read a payload, place a video.

Verified and unverified data have different types: `admit` turns headers into an `Admission`, and
only an admitted delivery whose `conclude` is clean is ever given to `read`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, Protocol

from receiver.model import EventType, Payload

RETRIEVE = "receiver.retrieve"
"""The receiver's own job that looks a video up whose callback says next to nothing."""
CONFIRM = "receiver.confirm"
"""The receiver's own job that asks whether a callback is true."""
OWN_JOBS = frozenset({RETRIEVE, CONFIRM})

WATCH_EXPIRED = "watch_expired"
"""Status and code of a failure that the receiver itself has noticed: nothing was heard of a video."""

Headers = Sequence[tuple[bytes, bytes]]
"""Header names in lower case and values, as they arrived, in their order."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The delivery is not believed. `check` names what failed, never a value."""

    check: str


@dataclass(frozen=True, slots=True)
class Admission:
    """The headers are believed; a source that signs bodies still has to see the body."""

    request_id: str | None = None
    """What the sender calls this delivery, when it says so in a header."""
    warnings: tuple[str, ...] = ()
    """What is odd about the headers, for the event."""

    def feed(self, chunk: bytes) -> None:
        """Take the next raw bytes of the body, for sources that sign it."""

    def conclude(self) -> Denied | None:
        """Judge the whole body, for sources that sign it."""
        return None


class News(NamedTuple):
    """What a verified delivery says: which video, and what happened to it."""

    identity: str
    """Whose video: unique within the source, the same however the news arrives."""
    what: str
    """`progress`, `completed`, `failed`, or `other:<status>`."""
    type: EventType
    video_id: str
    status: str | None = None
    """The provider's own word."""
    progress: float | None = None
    """Percent."""
    title: str | None = None
    warnings: tuple[str, ...] = ()
    content: str | None = None
    """What a contradiction of a completed event is seen by: the link without its query string
    (`url …`) or a checksum of the inline video (`inline …`); None when the news carries neither."""

    expires_at: int | None = None
    """When the link of the video stops working, in unix milliseconds; None when that isn't known."""

    @property
    def key(self) -> str:
        """The event key."""
        return f"{self.identity}:{self.what}"


@dataclass(frozen=True, slots=True)
class InlineVideo:
    """The video is base64 text in the body, at `path` of the payload."""

    path: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class LinkedVideo:
    """The video is fetched from `url`, which must lie under `base`."""

    url: str
    base: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_private: bool = False
    """Whether its host may be in a private network: only for an address that the operator has configured."""


@dataclass(frozen=True, slots=True)
class VideoFile:
    """The video came along with a copied event and lies in a file here."""

    path: Path


@dataclass(frozen=True, slots=True)
class NoVideo:
    """The video can't be had from here, for a reason that an operator understands."""

    reason: str


VideoPlace = InlineVideo | LinkedVideo | VideoFile | NoVideo


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request to a provider's API; `url` must lie under `base`, which the operator has configured."""

    url: str
    base: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = field(default=None, repr=False)

    @property
    def path(self) -> str:
        """The path of its URL, without the query string."""
        _, _, rest = self.url.partition("://")
        return f"/{rest.partition('/')[2].partition('?')[0]}"


class Digests(NamedTuple):
    """What is known of a body besides its payload."""

    sha256: str | None
    """Hex SHA-256 of the raw bytes; None for a body that is small enough to be hashed when asked."""
    strings: Mapping[tuple[str | int, ...], str] = MappingProxyType({})
    """A checksum of the raw bytes of each long string, by its path."""


class Source(Protocol):
    """A configured sender."""

    name: str
    kind: str
    max_body: int
    receives_callbacks: bool
    """Whether there is an address for its callbacks."""
    variants: tuple[str, ...]
    """What a finished video can be had as; `video` is the first."""

    def admit(self, headers: Headers) -> Admission | Denied:
        """Judge the headers, before the first byte of the body is read."""
        ...

    def read(self, payload: Payload, admission: Admission, body: bytes | None, digests: Digests) -> News:
        """Say what a verified payload means. Raise BadBody for an id or status that can't be kept.

        `body` is the raw body when it is small, else None and `digests.sha256` is set.
        """
        ...

    def place(self, payload: Payload, *, variant: str = "video") -> VideoPlace | None:
        """Say where a variant of the video of a stored payload is; None when it names none."""
        ...

    def first_job(self, type: EventType, via: str) -> str | None:  # noqa: A002 - the event's own word
        """The receiver's own job that runs before all handlers of such an event, if there is one."""
        ...

    def status_request(self, video_id: str) -> ApiRequest | None:
        """Ask how a video stands; None when no key for that is configured, or there is no such request.

        The answer is read by `read`, with an admission whose `request_id` is the video's id.
        """
        ...

    def watch_expired(self, video_id: str, reason: str) -> Payload:
        """The body of a failure that nobody has told of: in this kind's own shape, its code `watch_expired`.

        Its status is `watch_expired`, too, and it is read by `read` like an answer to `status_request`.
        """
        ...

    def sign(
        self, headers: Mapping[str, str], *, video_id: str, body: BinaryIO, at: datetime
    ) -> dict[str, str] | None:
        """The headers of a callback as the sender makes them, with credentials of ours, as of `at`.

        `headers` are those that were kept, names in lower case: a delivery keeps its id. None when this
        kind sends no callbacks. The body may be read from where it stands; that takes its time.
        """
        ...

    def fingerprint(self, headers: Headers) -> str:
        """Write headers as a JSON array of [name, value], credentials as short keyed fingerprints."""
        ...
