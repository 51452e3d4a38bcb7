"""What another receiver recorded: one JSON line for each delivery, and what it becomes in the record here.

deploy/CAPTURES.md explains every field. Nothing is decided anew: event, verdict, times and way in stay
those of the original. What a body holds, though, is read from the body itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from receiver import sources
from receiver.bodies import Bodies
from receiver.body import ReceivedBody, read_body
from receiver.errors import BadCopy, Refused, Unavailable
from receiver.model import EventType, utc
from receiver.record import Arrival, JobRow
from receiver.scanner import Scanner
from receiver.sources.base import Admission
from receiver.sources.verify import KEPT_HEADERS
from receiver.store.copies import Copy, Finding, KeptVideo
from receiver.store.values import Row
from receiver.strict import parse_small

LONGEST_LINE = 8 * 2**20
"""Bytes of JSON: a body in it has at most 64 KiB, headers as many, and a provider's object a few MiB."""
_LARGEST_TIME = 253_402_300_799_999
_REDACTED = re.compile(r"redacted(:[0-9a-f]{8})?")
_TYPES = {"completed": "video.completed", "failed": "video.failed", "progress": "video.progress"}


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has characters that can't be printed")
    return text


def _within(moment: datetime) -> datetime:
    if not 0 <= _milliseconds(moment) <= _LARGEST_TIME or moment.microsecond % 1000:
        raise ValueError("it is no time in whole milliseconds since 1970")
    return moment


_Moment = Annotated[AwareDatetime, AfterValidator(_within)]
_Text = Annotated[str, Field(max_length=8192), AfterValidator(_printable)]
_Name = Annotated[_Text, Field(min_length=1)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Header = tuple[str, str]


class _Copied(BaseModel):
    """Fields that a later version may add are passed over; nothing that ingress lets in is too long."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class CopiedNews(_Copied):
    """What the first delivery of an event made of it, as it stands now."""

    type: EventType
    identity: _Name
    what: _Name
    video_id: _Name
    status: Annotated[str, Field(max_length=1024)] | None
    progress: Annotated[float, Field(allow_inf_nan=False)] | None
    title: Annotated[str, Field(max_length=1000)] | None
    warnings: Annotated[tuple[_Name, ...], Field(max_length=100)]
    content: str | None
    object: dict[str, Any] | None = None
    """What the provider said of the video when it was looked up."""
    refuted_at: _Moment | None = None
    """When the provider denied what the event says."""


class CopiedVideo(_Copied):
    """The file behind the link, which travels beside the deliveries."""

    sha256: _Sha256
    bytes: Annotated[int, Field(ge=0)]


class CopiedDelivery(_Copied):
    """One delivery, as it travels."""

    event: Annotated[str, Field(pattern=r"^evt_[0-9a-z]{1,60}$")]
    verdict: Literal["accepted", "duplicate", "conflict"]
    source: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    kind: _Name
    via: Literal["callback", "poll", "import"]
    received_at: _Moment
    method: Annotated[str, Field(pattern=r"^[A-Z]{0,16}$")]
    """Empty, as the path is, for what nobody sent: a watch that was given up."""
    path: _Text
    headers: Annotated[tuple[_Header, ...], Field(max_length=256)]
    bytes: Annotated[int, Field(ge=0)]
    body_sha256: _Sha256
    body: str | None = None
    """The text itself; a larger one lies elsewhere."""
    news: CopiedNews | None = None
    """Of the delivery that was accepted only."""
    video: CopiedVideo | None = None
    """The same; None when the video does not come along."""


# Going out.


def line_of(row: Row, *, video: KeptVideo | None = None) -> dict[str, Any]:
    """One delivery, as `store.copies.give` tells it, as the JSON object that travels."""
    line = {name: row[name] for name in ("event", "verdict", "source", "kind", "via")}
    line["received_at"] = utc(row["received_at"]).isoformat(timespec="milliseconds")
    line |= {"method": row["method"], "path": row["path"], "headers": orjson.loads(row["headers"])}
    line["bytes"] = row["bytes"]
    if row["body"] is None:
        line["body_sha256"] = row["body_sha256"]
    else:
        line["body_sha256"] = hashlib.sha256(row["body"].encode()).hexdigest()
        line["body"] = row["body"]
    if row["verdict"] == "accepted":
        names = ("type", "identity", "what", "video_id", "status", "progress", "title", "warnings", "content")
        line["news"] = {name: row[name] for name in names}
        if row["object"] is not None:
            line["news"]["object"] = row["object"]
        if row["refuted_at"] is not None:
            line["news"]["refuted_at"] = utc(row["refuted_at"]).isoformat(timespec="milliseconds")
    if video is not None:
        line["video"] = video._asdict()
    return line


# Coming in.


def read_line(text: bytes) -> CopiedDelivery:
    """Read one line. Raise BadCopy, which says what is wrong and repeats nothing of it."""
    if len(text) > LONGEST_LINE:
        raise BadCopy(f"it is longer than {LONGEST_LINE} bytes")
    try:
        delivery = CopiedDelivery.model_validate(orjson.loads(text))
    except orjson.JSONDecodeError:
        raise BadCopy("it is not JSON") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise BadCopy(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
    _check(delivery)
    return delivery


def _check(delivery: CopiedDelivery) -> None:
    """What a model can't say."""
    news = delivery.news
    if (news is None) != (delivery.verdict != "accepted"):
        raise BadCopy("news: a delivery that was accepted has it, and no other")
    if news is not None and news.type != _TYPES.get(news.what, "video.unknown"):
        raise BadCopy("news.type: it does not fit to what happened")
    if news is not None and news.object is not None:
        _check_object(news.object)
    if news is None and delivery.video is not None:
        raise BadCopy("video: a delivery that was accepted may have it, and no other")
    if delivery.kind not in sources.KINDS:
        raise BadCopy(f"kind: this version knows {', '.join(sorted(sources.KINDS))} only")
    if delivery.body is None:
        return
    raw = delivery.body.encode("utf-8", "surrogatepass")
    if len(raw) != delivery.bytes:
        raise BadCopy("body: it has another length than it should")
    if hashlib.sha256(raw).hexdigest() != delivery.body_sha256:
        raise BadCopy("body: its SHA-256 is another one")


def _check_object(value: dict[str, Any]) -> None:
    """What a provider said came here as a body once."""
    try:
        parse_small(orjson.dumps(value))
    except Refused as error:
        raise BadCopy(f"news.object: {error.reason}") from None
    except orjson.JSONEncodeError:
        raise BadCopy("news.object: it is nested too deeply") from None


def judge(chunks: Iterable[bytes]) -> None:
    """Say by BadCopy that a body is no strict JSON object; nothing is kept of it."""
    scanner = Scanner()
    try:
        for chunk in chunks:
            scanner.feed(chunk)
        scanner.finish()
    except Refused as error:
        raise BadCopy(f"body: {error.reason}") from None


async def take_body(
    delivery: CopiedDelivery, chunks: AsyncIterator[bytes] | None, *, bodies: Bodies, limit: int
) -> ReceivedBody:
    """Judge the body of a delivery: that in its line, or else `chunks`, at most `limit` bytes.

    A body over 64 KiB is on disk, durably, when this returns. Raise BadCopy for one that is not what the
    line says or no strict JSON object, Unavailable when it can't be kept.
    """
    if delivery.body is not None:
        chunks = _once(delivery.body.encode())
    if chunks is None:
        raise BadCopy("body: it is missing")
    try:
        body = await read_body(
            _receiving(chunks), admission=Admission(), limit=limit, bodies=bodies, declared=delivery.bytes
        )
    except Unavailable:
        raise
    except Refused as error:
        raise BadCopy(f"body: {error.reason}") from None
    digest = body.sha256 or hashlib.sha256(body.raw or b"").hexdigest()
    if (body.size, digest) != (delivery.bytes, delivery.body_sha256):
        raise BadCopy("body: it is not the one that belongs to the delivery")
    return body


def _receiving(chunks: AsyncIterator[bytes]) -> Callable[[], Any]:
    """Hand over chunks as an ASGI server does those of a request."""

    async def receive() -> dict[str, Any]:
        chunk = await anext(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    return receive


async def _once(chunk: bytes) -> AsyncIterator[bytes]:
    yield chunk


def copy_of(
    delivery: CopiedDelivery,
    body: ReceivedBody,
    *,
    now: int,
    nth: int = 1,
    jobs: Sequence[JobRow] = (),
    video: KeptVideo | None = None,
) -> Copy:
    """What is to be recorded of a delivery, here and `now` (unix milliseconds).

    `nth` says how many equal deliveries of the event came before it, itself included. `jobs` are those
    that the event gets here, if it is new here; `video` is the file that came along with it.
    """
    news = delivery.news
    is_small = body.raw is not None
    expires_at, found = None, None
    if news is not None:
        expires_at = sources.video_of(delivery.kind, news.object or body.payload).expires_at
        refuted_at = None if news.refuted_at is None else _milliseconds(news.refuted_at)
        found = Finding(None if news.object is None else orjson.dumps(news.object).decode(), refuted_at)
    arrival = Arrival(
        event_id=delivery.event,
        source=delivery.source,
        kind=delivery.kind,
        identity=news.identity if news else "",
        what=news.what if news else "",
        type=news.type if news else "",
        video_id=news.video_id if news else "",
        status=news.status if news else None,
        progress=news.progress if news else None,
        title=news.title if news else None,
        content=news.content if news else None,
        warnings=list(news.warnings) if news else [],
        received_at=_milliseconds(delivery.received_at),
        via=delivery.via,
        method=delivery.method,
        path=delivery.path,
        headers=orjson.dumps([_redacted(name, value) for name, value in delivery.headers]).decode(),
        size=body.size,
        body=None if body.raw is None else body.raw.decode(),
        body_sha256=body.sha256,
        payload=None if is_small else orjson.dumps(body.payload).decode(),
        strings=None if is_small else orjson.dumps([string.model_dump() for string in body.strings]).decode(),
        jobs=list(jobs),
        expires_at=None if expires_at is None else _milliseconds(expires_at),
    )
    return Copy(arrival, delivery.verdict, nth, now, video, found)


def _redacted(name: str, value: str) -> tuple[str, str]:
    """A header as a receiver keeps it, whoever wrote the line: credentials come to no disk."""
    is_kept = name.lower().encode("latin-1", "replace") in KEPT_HEADERS or _REDACTED.fullmatch(value)
    return name, value if is_kept else "redacted"


def _milliseconds(moment: datetime) -> int:
    whole = int(moment.astimezone(UTC).replace(microsecond=0).timestamp())
    return whole * 1000 + moment.microsecond // 1000
