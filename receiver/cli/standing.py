"""How a video that was asked for stands, told by its events, their jobs and its watch: pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from receiver.store.values import Row
    from receiver.store.watches import Watch

_SAVING = "save_video"
_ENDED = ("done", "dead", "cancelled")


class Standing(NamedTuple):
    """Where a video is on its way."""

    said: str
    """In a few words."""
    percent: float | None = None
    ending: str | None = None
    """`saved` (there is a file), `completed` (nobody was to save it) or `failed`; None on the way."""
    event: str | None = None
    """The event that the ending is told by."""
    result: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default, which nobody changes
    """What the handler returned that saved it."""


def standing(events: Sequence[Row], watch: Watch | None) -> Standing:
    """Judge a video by its events (newest first) and its watch."""
    by_type = {event["type"]: event for event in reversed(events)}
    if completed := by_type.get("video.completed"):
        return _completed(completed)
    if failed := by_type.get("video.failed"):
        return Standing("failed", ending="failed", event=failed["id"])
    if watch is not None and watch.status is not None:
        return _under_way(watch.status, watch.progress)
    if progress := by_type.get("video.progress"):
        return _under_way(progress["status"] or "in progress", progress["progress"])
    if watch is not None and watch.last_error is not None:
        return Standing(f"waiting; asked in vain: {watch.last_error}")
    return Standing("waiting")


def _under_way(status: str, percent: float | None) -> Standing:
    return Standing(status if percent is None else f"{status}, {percent:.0f} %", percent)


def _completed(event: Row) -> Standing:
    """What its handlers make of it: the one that saves videos counts, without it all of them."""
    jobs = event["jobs"]
    counting = [job for job in jobs if job["handler"].split(".")[0] == _SAVING] or jobs
    on_its_way = [job for job in counting if job["state"] not in _ENDED]
    if on_its_way:
        return Standing(f"completed; {_job(on_its_way[0])}", 100.0)
    for job in counting:
        result = orjson.loads(job["result"] or "null")
        if job["state"] == "done" and isinstance(result, dict) and isinstance(result.get("path"), str):
            return Standing(result["path"], 100.0, "saved", event["id"], result)
    bad = [job for job in counting if job["state"] != "done"]
    if bad:
        said = f"{bad[0]['handler']} is {bad[0]['state']}: {bad[0]['last_error'] or 'it does not say why'}"
        return Standing(said, 100.0, "failed", event["id"])
    return Standing("completed; no handler saved it", 100.0, "completed", event["id"])


def _job(job: Row) -> str:
    said = f"{job['handler']} is {job['state']}"
    if job["state"] == "waiting":
        return f"{said} for {job['waits_for']}"
    return f"{said} after {job['last_error']}" if job["attempts"] and job["last_error"] else said
