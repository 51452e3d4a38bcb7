"""What the store's verbs exchange. All times are unix milliseconds, UTC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]
"""A row as it is shown: column names and JSON values."""


class Receipt(NamedTuple):
    """The answer to an arrival, given after it is on disk."""

    verdict: str
    event_id: str
    """The first event of this key: the arrival's own id only when it was accepted."""


Recorded = Callable[[Receipt | Exception], None]
"""What is told of an arrival's fate: its receipt, or StoreDown, Unavailable or StoreError."""


class Rejection(NamedTuple):
    """A request that was not believed; it holds no value that was sent."""

    at: int
    source: str
    status: int
    reason: str
    peer: str
    repeated: int = 1
    """How many equal ones this entry stands for."""


class Settlement(NamedTuple):
    """How an attempt ended; valid only while `claim` is still the job's claim number."""

    job: int
    claim: int
    move: str
    ended_at: int
    run_at: int | None
    error: str | None
    result: str | None
    """JSON text, at most 64 KiB."""
    error_class: str | None = None
    """The class of what the handler raised, if it raised anything but an outcome."""


class Lost(NamedTuple):
    """A job that was taken from a worker that is gone."""

    job: int
    handler: str
    crashes: int
    """How often its process died; a job with any runs alone from now on."""
    is_dead: bool
    """Whether that was once too often."""


class EventFilter(NamedTuple):
    """Which events; None = any. `since` and `until` are unix milliseconds of their first arrival."""

    source: str | None = None
    type: str | None = None
    state: str | None = None
    since: int | None = None
    until: int | None = None
    video: str | None = None


class Stretch(NamedTuple):
    """A stretch of the record, in the order of commits."""

    events: list[Row]
    through: int
    """The `seq` up to which there is nothing else that is wanted."""
    removed: int
    """How many events, wanted or not, retention has removed from this stretch."""


class Keep(NamedTuple):
    """What may be removed: that which was over before these times, in unix milliseconds."""

    events_before: int
    dead_before: int
    """For events with a dead job, and their body files, when it is the earlier one."""
    bodies_before: int


class Pruned(NamedTuple):
    """What was removed in one step, or would be in all of them."""

    events: int = 0
    deliveries: int = 0
    jobs: int = 0
    attempts: int = 0
    digests: Sequence[str] = ()
    """Body files that no row names any more: the caller's to remove."""
    step: Sequence[Any] | None = None
    """Where to go on; None after the last step."""
    watches: int = 0
    submissions: int = 0
