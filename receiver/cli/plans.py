"""What a replay would do, shown before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.output import brief, bytes_in_words, iso, json_line, now_ms, table

if TYPE_CHECKING:
    from receiver.record import Wish
    from receiver.settings import Settings
    from receiver.store.base import Store
    from receiver.store.values import Row

_SHOWN_AT_ONCE = 500


async def show_plan(store: Store, seqs: Sequence[int], wish: Wish, *, as_json: bool) -> None:
    jobs = 0
    for start in range(0, len(seqs), _SHOWN_AT_ONCE):
        planned = await store.replays.plan(seqs[start : start + _SHOWN_AT_ONCE], wish)
        jobs += sum(len(event["jobs"]) for event in planned)
        if as_json:
            for event in planned:
                json_line(_plan_json(event))
        else:
            _plan_table(planned)
    if not as_json:
        click.echo(f"would be made: {jobs:,} jobs of {len(seqs):,} events", err=True)


def _plan_json(event: Row) -> dict[str, Any]:
    return {
        "event": event["id"],
        "source": event["source"],
        "type": event["type"],
        "video_id": event["video_id"],
        "received_at": iso(event["received_at"]),
        "jobs": [{"handler": job[0], "state": job[1], "after": job[2]} for job in event["jobs"]],
        "left": [{"handler": handler, "reason": reason} for handler, reason in event["left"]],
    }


def _plan_table(planned: Sequence[Row]) -> None:
    now = now_ms()
    lines = []
    for event in planned:
        what = (event["source"], event["type"].removeprefix("video."), event["video_id"])
        said = [(job[0], _how(job[1], job[2])) for job in event["jobs"]]
        said += [(handler, f"no: {reason}") for handler, reason in event["left"]]
        for handler, how in said or [("-", "no handler wants it")]:
            lines.append((event["id"], brief(event["received_at"], now=now), *what, handler, how))
    table(("event", "received", "source", "what", "video", "handler", "runs"), lines, empty="no events")


def _how(state: str, after: str | None) -> str:
    if after is None:
        return "yes"
    return f"after {after}" if state == "waiting" else f"yes, with the result that {after} has left"


async def show_requests(store: Store, seqs: Sequence[int], config: Settings, *, as_json: bool) -> None:
    """Say which deliveries would be posted, in which order, and which can't be."""
    from receiver import sources
    from receiver.bodies import Bodies
    from receiver.repost import hindrance, numbered

    configured, bodies = sources.configured(config), Bodies(config.bodies_folder)
    lines, posted = [], 0
    async for row, number, _ in numbered(store, seqs):
        reason = hindrance(row, configured, bodies)
        posted += reason is None
        if as_json:
            names = ("event", "source", "verdict", "via", "bytes")
            json_line({**{name: row[name] for name in names}, "delivery": number, "error": reason})
        else:
            what = (row["source"], row["video_id"], row["verdict"], bytes_in_words(row["bytes"]))
            lines.append((row["event"], str(number), *what, f"no: {reason}" if reason else "yes"))
    if not as_json:
        columns = ("event", "delivery", "source", "video", "was", "size", "posted")
        table(columns, lines, empty="no events")
        click.echo(f"would be posted: {posted:,} deliveries of {len(seqs):,} events", err=True)
