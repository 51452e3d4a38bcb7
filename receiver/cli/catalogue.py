"""What `receiver send` can send: every event type and known oddity of every kind of source, by its name.

Each name stands for one or several callbacks, as the provider would make them, and for the status that the
receiver should answer with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from receiver.cli import sample
from receiver.cli.sample import Sample
from receiver.signing import Signer
from receiver.sources.opennote import callback_headers

if TYPE_CHECKING:
    from receiver.settings import OpenaiSettings, OpennoteSettings

_WRONG_KEY = "not-one-of-the-keys"
_WRONG_SECRET = "whsec_bm90IG9uZSBvZiB0aGUgc2VjcmV0cw=="  # noqa: S105 - it is meant to be refused
_LINK = "https://videofs-opennote-us-east-1.s3.us-east-1.amazonaws.com/{}.mp4"


@dataclass(frozen=True, slots=True)
class Call:
    """One callback."""

    body: Sample | bytes
    headers: Mapping[str, str] = field(repr=False)
    expected: int = 200
    """What the receiver should answer."""

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.length

    def __iter__(self) -> Iterator[bytes]:
        return iter((self.body,)) if isinstance(self.body, bytes) else iter(self.body)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a callback is made of."""

    video_id: str
    at: datetime
    video: Path | None = None
    """A file to be carried inline."""
    url: str | None = None
    """A link to be carried instead."""


class Entry(NamedTuple):
    """One name of the catalogue."""

    says: str
    calls: Callable[[Any, Wish], Sequence[Call]]
    """Of the source's table of settings and a wish."""
    carries: bool = False
    """Whether the wished video is in it, or the link to it."""


# Opennote: the status object, and four headers.


def _opennote(
    table: OpennoteSettings,
    wish: Wish,
    what: str = "completed",
    *,
    changes: Mapping[str, Any] | None = None,
    response: Mapping[str, Any] | None = None,
    headers: Mapping[str, str | None] | None = None,
    expected: int = 200,
    has_video: bool = True,
) -> Call:
    """A status object; `changes` to it and to its response, and to the headers; None takes one away."""
    is_done = what == "completed"
    video = wish.video if is_done and has_video else None
    url, timestamp = wish.url if is_done else None, wish.at.isoformat()
    plain = sample.opennote(what, video_id=wish.video_id, video=video, url=url, timestamp=timestamp)
    is_changed = bool(changes or response)
    body = _changed(plain, changes or {}, response or {}) if is_changed else plain
    key = table.api_keys[0].get_secret_value()
    documented = callback_headers(table.organization_id, key, video_id=wish.video_id)
    merged = {**documented, **(headers or {})}
    return Call(body, {name: value for name, value in merged.items() if value is not None}, expected)


def _changed(body: Sample, changes: Mapping[str, Any], response: Mapping[str, Any]) -> bytes:
    payload = json.loads(b"".join(body))
    payload = {name: value for name, value in {**payload, **changes}.items() if value is not ...}
    if response:
        payload["response"] = {**payload.get("response", {}), **response}
    return json.dumps(payload).encode()


def _signed_link(wish: Wish, *, age: timedelta) -> str:
    """A link as S3 signs it, for an hour, some time ago."""
    date = (wish.at - age).strftime("%Y%m%dT%H%M%SZ")
    return f"{_LINK.format(wish.video_id)}?X-Amz-Date={date}&X-Amz-Expires=3600&X-Amz-Signature=00"


def _by_link(table: OpennoteSettings, wish: Wish, url: str) -> Call:
    return _opennote(table, wish, response={"s3_url": url, "b64_video": None}, has_video=False)


_OPENNOTE: dict[str, Entry] = {
    "completed": Entry(
        "a finished video, inline or behind --url", lambda t, w: [_opennote(t, w)], carries=True
    ),
    "failed": Entry("a video that could not be made", lambda t, w: [_opennote(t, w, "failed")]),
    "progress": Entry("a video that is being made", lambda t, w: [_opennote(t, w, "progress")]),
    "unknown": Entry("a status that nobody has heard of", lambda t, w: [_opennote(t, w, "unknown")]),
    "cancelled": Entry(
        "ended in another word than failed",
        lambda t, w: [_opennote(t, w, "failed", changes={"status": "cancelled"})],
    ),
    "guide-progress": Entry(
        "progress under the name that the provider's guide shows",
        lambda t, w: [_opennote(t, w, "progress", changes={"completion_percentage": ..., "progress": 40})],
    ),
    "no-id": Entry(
        "no id in the body, only in X-Request-Id",
        lambda t, w: [_opennote(t, w, changes={"video_id": ...})],
        carries=True,
    ),
    "no-id-at-all": Entry(
        "no id anywhere: its identity is the body's checksum",
        lambda t, w: [_opennote(t, w, changes={"video_id": ...}, headers={"X-Request-Id": None})],
        carries=True,
    ),
    "rewritten-id": Entry(
        "an X-Request-Id that a proxy has replaced",
        lambda t, w: [_opennote(t, w, headers={"X-Request-Id": "00000000-of-a-proxy"})],
        carries=True,
    ),
    "both": Entry(
        "inline and behind a link at once",
        lambda t, w: [_opennote(t, w, response={"s3_url": w.url or _LINK.format(w.video_id)})],
        carries=True,
    ),
    "neither": Entry(
        "finished, and no video in it",
        lambda t, w: [
            _opennote(t, w, response={"s3_url": None, "b64_video": None, "note": 0}, has_video=False)
        ],
    ),
    "expiring": Entry(
        "a link that works for half an hour more",
        lambda t, w: [_by_link(t, w, _signed_link(w, age=timedelta(minutes=30)))],
    ),
    "expired": Entry(
        "a link that has expired", lambda t, w: [_by_link(t, w, _signed_link(w, age=timedelta(hours=2)))]
    ),
    "foreign": Entry(
        "practice problems, which are no video",
        lambda t, w: [
            Call(
                json.dumps({"set_id": w.video_id, "status": "completed", "total_problems": 5}).encode(),
                _opennote(t, w, "failed").headers,
            )
        ],
    ),
    "twice": Entry(
        "the same callback two times", lambda t, w: [_opennote(t, w), _opennote(t, w)], carries=True
    ),
    "late-progress": Entry(
        "finished, and then still being made",
        lambda t, w: [_opennote(t, w), _opennote(t, w, "progress")],
        carries=True,
    ),
    "after-failure": Entry(
        "failed, and then finished",
        lambda t, w: [_opennote(t, w, "failed"), _opennote(t, w)],
        carries=True,
    ),
    "contradiction": Entry(
        "finished, and then failed",
        lambda t, w: [_opennote(t, w), _opennote(t, w, "failed")],
        carries=True,
    ),
    "not-json": Entry(
        "a body that is no JSON object: refused with 400",
        lambda t, w: [Call(b"[]", _opennote(t, w, "failed").headers, expected=400)],
    ),
    "wrong-key": Entry(
        "a key that is not configured: refused with 401",
        lambda t, w: [_opennote(t, w, "failed", headers={"X-API-Key": _WRONG_KEY}, expected=401)],
    ),
    "wrong-organization": Entry(
        "another organisation's id: refused with 401",
        lambda t, w: [_opennote(t, w, "failed", headers={"X-Organization-Id": "org_other"}, expected=401)],
    ),
}


# OpenAI: thin events, signed by Standard Webhooks.


def _openai(
    table: OpenaiSettings,
    wish: Wish,
    what: str = "completed",
    *,
    body: bytes | None = None,
    secret: str | None = None,
    age: timedelta = timedelta(),
    more: str = "",
    expected: int = 200,
) -> Call:
    content = sample.openai(what, video_id=wish.video_id, at=int(wish.at.timestamp()))
    content = content if body is None else body
    signer = Signer([secret or table.webhook_secrets[0].get_secret_value()])
    headers = signer.headers(_message(wish, what), at=wish.at - age, body=content)
    headers["webhook-signature"] += more
    return Call(content, {"Content-Type": "application/json", **headers}, expected)


def _message(wish: Wish, what: str) -> str:
    """The same video's has the same id of the message, as when it is sent again."""
    return f"wh_{hashlib.sha256(f'{wish.video_id} {what}'.encode()).hexdigest()[:24]}"


_OPENAI: dict[str, Entry] = {
    "completed": Entry("a finished video, to be looked up", lambda t, w: [_openai(t, w)]),
    "failed": Entry("a video that could not be made", lambda t, w: [_openai(t, w, "failed")]),
    "unknown": Entry("an event type that nobody has heard of", lambda t, w: [_openai(t, w, "unknown")]),
    "no-data": Entry(
        "an event without data: its identity is the message's id",
        lambda t, w: [
            _openai(t, w, body=json.dumps({"object": "event", "type": "video.completed"}).encode())
        ],
    ),
    "twice": Entry("the same message two times", lambda t, w: [_openai(t, w), _openai(t, w)]),
    "contradiction": Entry(
        "finished, and then failed", lambda t, w: [_openai(t, w), _openai(t, w, "failed")]
    ),
    "after-failure": Entry(
        "failed, and then finished", lambda t, w: [_openai(t, w, "failed"), _openai(t, w)]
    ),
    "more-signatures": Entry(
        "signatures of other versions and secrets beside the right one",
        lambda t, w: [_openai(t, w, more=" v1a,c2lnbmVk v2,x v1,bm90IGl0")],
    ),
    "old": Entry(
        "signed six minutes ago: refused with 401",
        lambda t, w: [_openai(t, w, age=timedelta(minutes=6), expected=401)],
    ),
    "early": Entry(
        "signed in six minutes: refused with 401",
        lambda t, w: [_openai(t, w, age=timedelta(minutes=-6), expected=401)],
    ),
    "wrong-secret": Entry(
        "signed with another secret: refused with 401",
        lambda t, w: [_openai(t, w, secret=_WRONG_SECRET, expected=401)],
    ),
    "not-json": Entry(
        "signed, and no JSON object: refused with 400",
        lambda t, w: [_openai(t, w, body=b"[]", expected=400)],
    ),
}

CATALOGUE: Mapping[str, Mapping[str, Entry]] = {"opennote": _OPENNOTE, "openai": _OPENAI}
"""Kind of source → name → what it is. Gateways (`openai-compatible`) never call."""

REFUSED = frozenset({"not-json", "wrong-key", "wrong-organization", "wrong-secret", "old", "early"})
"""Names of what a receiver must not believe."""


def own(kind: str, table: Any, wish: Wish, file: Path) -> Call:
    """A body from a file, with the headers that make it believed."""
    body = Sample(file.stat().st_size, b"", file, b"", is_encoded=False)
    if kind == "opennote":
        return Call(body, _opennote(table, wish, "failed").headers)
    signer = Signer([table.webhook_secrets[0].get_secret_value()])
    with file.open("rb") as content:
        headers = signer.headers(_message(wish, "own"), at=wish.at, body=content)
    return Call(body, {"Content-Type": "application/json", **headers})
