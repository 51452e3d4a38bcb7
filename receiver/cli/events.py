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
from receiver.cli.output import age, bytes_in_words, iso, json_line, local, now_ms, plain, table

if TYPE_CHECKING:
    from receiver.settings import Settings
    from receiver.store.base import Row, Store

T = TypeVar("T")


def with_store(config: Settings, action: Callable[[Store], Awaitable[T]]) -> T:
    """Run an action on the store of a running server, or on the database itself when none runs."""
    from receiver.store import opened

    async def run() -> T:
        async with opened(config.database, lease_seconds=config.worker.lease.total_seconds()) as store:
            return await action(store)

    return asyncio.run(run())


@click.command
@filters
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many."
)
@common
def events(options: Common, *, limit: int, **wanted: Any) -> None:
    """List events, newest first."""
    from receiver.store.base import EventFilter

    rows = with_store(
        options.settings(), lambda store: store.events(EventFilter(**wanted), limit=limit, before=None)
    )
    if options.as_json:
        for row in rows:
            json_line(event_json(row))
        return
    now = now_ms()
    lines = [
        (
            row["id"],
            age(row["received_at"], now=now),
            row["source"],
            row["type"].removeprefix("video."),
            row["video_id"],
            row["title"] or "-",
            _marks(row),
            " ".join(f"{job['handler']}:{job['state']}" for job in row["jobs"]) or "no handler",
        )
        for row in rows
    ]
    table(("event", "age", "source", "what", "video", "title", "marks", "jobs"), lines, empty="no events")


def _marks(row: Row) -> str:
    marks = [f"{row['duplicates']} duplicates"] if row["duplicates"] else []
    marks += ["conflict"] if row["conflict"] else []
    return ", ".join([*marks, *row["warnings"]])


def event_json(row: Row) -> dict[str, Any]:
    """The fixed fields of an event."""
    return {
        "id": row["id"],
        "source": row["source"],
        "type": row["type"],
        "event_key": f"{row['identity']}:{row['what']}",
        "video_id": row["video_id"],
        "status": row["status"],
        "title": row["title"],
        "received_at": iso(row["received_at"]),
        "duplicates": row["duplicates"],
        "conflict": bool(row["conflict"]),
        "warnings": row["warnings"],
        "bytes": row["bytes"],
        "jobs": [
            {
                "id": job["id"],
                "handler": job["handler"],
                "state": job["state"],
                "attempts": job["attempts"],
                "run_at": iso(job["run_at"]),
                "last_error": job["last_error"],
            }
            for job in row["jobs"]
        ],
    }


@click.command
@click.argument("event", type=Text())
@click.option("--raw", is_flag=True, help="Write the original body, byte for byte, and nothing else.")
@common
def show(options: Common, *, event: str, raw: bool) -> None:
    """Show everything about one event; EVENT is its id or the beginning of it."""
    config = options.settings()
    row = with_store(config, lambda store: store.event(event))
    if raw:
        _write_body(config, row)
    elif options.as_json:
        json_line(_whole_json(row))
    else:
        _tell(row)


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
        raise CommandFailed(f"the body file {row['body_sha256']} is gone") from error
    output.flush()


def _whole_json(row: Row) -> dict[str, Any]:
    from receiver import sources

    payload = _payload(row)
    times = ("received_at", "started_at", "ended_at", "run_at")

    def readable(part: Row) -> Row:
        return {key: iso(value) if key in times else value for key, value in part.items() if key != "seq"}

    return {
        **event_json(row),
        "video": sources.video_of(row["kind"], payload).model_dump(mode="json"),
        "payload": payload,
        "body_sha256": row["body_sha256"],
        "jobs": [readable(job) for job in row["jobs"]],
        "attempts": [readable(attempt) for attempt in row["attempts"]],
        "deliveries": [readable(delivery) for delivery in row["deliveries"]],
    }


def _payload(row: Row) -> Any:
    import orjson

    return orjson.loads(row["body"]) if row["body"] is not None else row["payload"]


def _tell(row: Row) -> None:
    click.echo(plain(f"{row['id']}  {row['type']}  {row['source']}"))
    facts = {
        "video": row["video_id"],
        "title": row["title"] or "-",
        "status": row["status"] or "-",
        "received": local(row["received_at"]),
        "body": bytes_in_words(row["bytes"]),
        "event key": f"{row['identity']}:{row['what']}",
        "marks": _marks(row) or "-",
    }
    for name, value in facts.items():
        click.echo(plain(f"  {name:10} {value}"))
    click.echo("deliveries:")
    for delivery in row["deliveries"]:
        size = bytes_in_words(delivery["bytes"])
        click.echo(
            plain(f"  {local(delivery['received_at'])}  {delivery['verdict']:9}  {delivery['via']}  {size}")
        )
    click.echo("jobs:" if row["jobs"] else "jobs: none; no handler wants such an event")
    for job in row["jobs"]:
        _tell_job(job, [attempt for attempt in row["attempts"] if attempt["job"] == job["id"]])


def _tell_job(job: Row, attempts: list[Row]) -> None:
    said = f"  {job['handler']}: {job['state']}"
    if job["state"] == "ready" and job["attempts"]:
        said += f", again at {local(job['run_at'])}"
    if job["state"] == "waiting":
        said += f" for {job['waits_for']}"
    click.echo(plain(said + (f": {job['last_error']}" if job["last_error"] else "")))
    for attempt in attempts:
        seconds = (attempt["ended_at"] - attempt["started_at"]) / 1000
        began = local(attempt["started_at"])
        line = f"    attempt {attempt['number']}: {began}, {seconds:.1f} s, {attempt['outcome']}"
        click.echo(plain(line + (f": {attempt['error']}" if attempt["error"] else "")))
    if job["result"]:
        click.echo(plain(f"    result: {job['result']}"))


@click.command
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many."
)
@common
def rejections(options: Common, *, limit: int) -> None:
    """List the last requests that were not believed, newest first: which check failed, never a value."""
    rows = with_store(options.settings(), lambda store: store.rejections(limit=limit))
    if options.as_json:
        for row in rows:
            json_line({**row, "at": iso(row["at"])})
        return
    lines = [
        (
            local(row["at"]),
            row["source"],
            str(row["status"]),
            row["peer"],
            str(row["repeated"]),
            row["reason"],
        )
        for row in rows
    ]
    table(("at", "source", "status", "peer", "times", "reason"), lines, empty="no rejections")
