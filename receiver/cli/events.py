"""`receiver events`, `show` and `rejections`: looking at what was recorded."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from receiver.cli.filters import filters
from receiver.cli.options import Common, Text, common
from receiver.cli.output import brief, last_seen, local, now_ms, table, view_line, window
from receiver.cli.progress import ended_by_signals
from receiver.cli.story import tell

if TYPE_CHECKING:
    from receiver.settings import Settings
    from receiver.store.base import Store
    from receiver.store.values import Row

T = TypeVar("T")
_LONGEST_WHY = 120


def with_store(config: Settings, action: Callable[[Store], Awaitable[T]]) -> T:
    """Run an action on the store of a running server, or on the database itself when none runs."""
    from receiver.store import opened

    async def run() -> T:
        async with opened(config.database, lease_seconds=config.worker.lease.total_seconds()) as store:
            return await action(store)

    with ended_by_signals():
        return asyncio.run(run())


@click.command
@filters
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many."
)
@common
def events(options: Common, *, limit: int, **wanted: Any) -> None:
    """List events, newest first."""
    from receiver.store.values import EventFilter
    from receiver.views import event_view

    rows = with_store(
        options.settings(), lambda store: store.events(EventFilter(**wanted), limit=limit, before=None)
    )
    if options.as_json:
        for row in rows:
            view_line(event_view(row))
        return
    now = now_ms()
    state = wanted["state"]
    lines = [
        (
            row["id"],
            brief(row["received_at"], now=now),
            row["source"],
            row["type"].removeprefix("video."),
            row["video_id"],
            row["title"] or "-",
            _marks(row),
            " ".join(f"{job['handler']}:{job['state']}" for job in row["jobs"]) or "no handler",
            *([_why(row, state)] if state else []),
        )
        for row in rows
    ]
    columns = ("event", "received", "source", "what", "video", "title", "marks", "jobs")
    table((*columns, "why") if state else columns, lines, empty="no events")


def _why(row: Row, state: str) -> str:
    """Why the jobs are in the state that was asked for, each in a few words."""
    said = []
    for job in row["jobs"]:
        if job["state"] != state:
            continue
        if state == "waiting":
            said.append(f"for {job['waits_for']}")
        elif job["last_error"]:
            text = job["last_error"]
            said.append(text if len(text) <= _LONGEST_WHY else f"{text[: _LONGEST_WHY - 1]}…")
    return "; ".join(said)


def _marks(row: Row) -> str:
    marks = [f"{row['duplicates']} duplicates"] if row["duplicates"] else []
    marks += ["conflict"] if row["conflict"] else []
    if row.get("watch_status"):
        marks.append(f"watched: {last_seen(row['watch_status'], row['watch_progress'])}")
    return ", ".join([*marks, *row["warnings"]])


@click.command
@click.argument("event", type=Text())
@click.option("--raw", is_flag=True, help="Write the original body, byte for byte, and nothing else.")
@common
def show(options: Common, *, event: str, raw: bool) -> None:
    """Show everything about one event; EVENT is its id or the beginning of it."""
    from receiver.views import event_story

    config = options.settings()
    row = with_store(config, lambda store: store.event(event))
    if raw:
        _write_body(config, row)
    elif options.as_json:
        view_line(event_story(row, reveals=True))
    else:
        tell(row, marks=_marks(row), now=now_ms(), width=window())


def _write_body(config: Settings, row: Row) -> None:
    from receiver.bodies import Bodies
    from receiver.errors import CommandFailed

    output = sys.stdout.buffer
    if row["body"] is not None:
        output.write(row["body"].encode())
        output.flush()
        return
    try:
        with Bodies(config.bodies_folder).open(row["body_sha256"]) as file:
            shutil.copyfileobj(file, output, 1 << 20)
    except FileNotFoundError as error:
        if row["body_removed_at"] is not None:
            when = local(row["body_removed_at"])
            raise CommandFailed(f"the body was removed {when}, as retention.bodies says") from error
        raise CommandFailed(f"the body file {row['body_sha256']} is gone") from error
    output.flush()


def payload_of(row: Row) -> Any:
    """The parsed body that an event was made of."""
    import orjson

    return orjson.loads(row["body"]) if row["body"] is not None else row["payload"]


@click.command
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many."
)
@common
def rejections(options: Common, *, limit: int) -> None:
    """List the last requests that were not believed, newest first: which check failed, never a value."""
    from receiver.views import rejection_view

    rows = with_store(options.settings(), lambda store: store.rejections(limit=limit))
    if options.as_json:
        for row in rows:
            view_line(rejection_view(row))
        return
    now = now_ms()
    lines = [
        (
            brief(row["at"], now=now),
            row["source"],
            str(row["status"]),
            row["peer"],
            str(row["repeated"]),
            row["reason"],
        )
        for row in rows
    ]
    table(("at", "source", "status", "peer", "times", "reason"), lines, empty="no rejections")
