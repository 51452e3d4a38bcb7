"""What a verified delivery does to what is known of its video: pure decisions, no storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

JobRow = tuple[str, str, str | None, str | None]
"""A planned job as it travels: handler, state, what it waits for, why it is cancelled."""


class Verdict(StrEnum):
    """What a delivery is, next to the events that are known."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Arrival(NamedTuple):
    """A verified delivery on its way into the record; travels as an array, in this order."""

    event_id: str
    """The id of the event, should it become one."""
    source: str
    kind: str
    identity: str
    what: str
    type: str
    video_id: str
    status: str | None
    progress: float | None
    title: str | None
    content: str | None
    """What a contradiction is seen by (`News.content`)."""
    warnings: list[str]
    received_at: int
    """Unix milliseconds."""
    via: str
    """callback, poll or import."""
    method: str
    path: str
    headers: str
    """Redacted, as a JSON array of [name, value]."""
    size: int
    """Bytes of the body."""
    body: str | None
    """The body itself, when it is at most 64 KiB."""
    body_sha256: str | None
    """The name of the body file otherwise; then `payload` and `strings` are set, too."""
    payload: str | None
    """The payload as JSON, long strings left out."""
    strings: str | None
    """The places of the long strings, as a JSON array."""
    jobs: list[JobRow]
    expires_at: int | None = None
    """When the link of the video stops working, in unix milliseconds."""
    watch: tuple[int, int] | None = None
    """When the provider is asked, should nothing more be heard of a video that is still being made, and
    until when, in unix milliseconds; None when it can't be asked, or needn't be."""


First = tuple[str, str, str, str, str]
"""Of a source, its kind, an event type and a way in (`via`): the receiver's own job before all handlers."""


class Wish(NamedTuple):
    """What is to run again; travels as an array, in this order."""

    cards: Sequence[Mapping[str, Any]]
    """The handlers that there are (the fields of a `HandlerCard`), each as a JSON object."""
    handlers: Sequence[str] = ()
    """Only these, whatever became of them, and what comes after them; none = all that are not done."""
    again: bool = False
    """All of them, those that are done or still to run, too."""
    firsts: Sequence[First] = ()


class Known(NamedTuple):
    """An event of the same video that is recorded already."""

    seq: int
    id: str
    content: str | None


class Decision(NamedTuple):
    """What to do with an arrival: a new event, or one more delivery of event `of`."""

    verdict: Verdict
    of: Known | None = None
    warnings: tuple[str, ...] = ()
    updates_progress: bool = False


def decide(what: str, content: str | None, known: Mapping[str, Known]) -> Decision:
    """Compare news with the events of the same video, by what happened to it.

    `completed` ends a video: nothing after it makes an event, and what contradicts it is a
    conflict. `completed` after `failed` is news, with a warning. Progress after an end is late.
    """
    same = known.get(what)
    completed = known.get("completed")
    if completed is not None:
        return _after_completed(what, content, same=same, completed=completed)
    if same is not None:
        is_live = what == "progress" and "failed" not in known
        return Decision(Verdict.DUPLICATE, of=same, updates_progress=is_live)
    failed = known.get("failed")
    if what == "progress" and failed is not None:
        return Decision(Verdict.DUPLICATE, of=failed)
    if what == "completed" and failed is not None:
        return Decision(Verdict.ACCEPTED, warnings=("after_failure",))
    return Decision(Verdict.ACCEPTED)


def _after_completed(what: str, content: str | None, *, same: Known | None, completed: Known) -> Decision:
    if what == "completed" and _contradicts(content, completed.content):
        return Decision(Verdict.CONFLICT, of=completed)
    if what == "failed" and same is None:
        return Decision(Verdict.CONFLICT, of=completed)
    return Decision(Verdict.DUPLICATE, of=same or completed)


def _contradicts(content: str | None, first: str | None) -> bool:
    """Two contents of one sort ("url …", "inline …") that differ; another sort proves nothing."""
    if content is None or first is None or content == first:
        return False
    return content.partition(" ")[0] == first.partition(" ")[0]
