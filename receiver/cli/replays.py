"""`receiver replays`: what was run again before; and how a replay says what it did."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click
import orjson

from receiver.cli.events import with_store
from receiver.cli.options import Common, Text, common
from receiver.cli.output import age, brief, iso, json_line, local, now_ms, table
from receiver.errors import NotFound, StoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.record import Wish
    from receiver.replay import Standing
    from receiver.store.base import Store
    from receiver.store.values import Row

INTERRUPTED = 128 + signal.SIGINT


@click.command
@click.argument("replay_id", required=False, default="", type=Text(), metavar="[REPLAY]")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@common
def replays(options: Common, *, replay_id: str, limit: int) -> None:
    """List the last replays, newest first: who, when, of what, how far; of one, what became of its jobs."""
    rows = with_store(options.settings(), lambda store: store.replays.last(prefix=replay_id, limit=limit))
    if replay_id and not rows:
        raise NotFound(f"no replay {replay_id!r}")
    if options.as_json:
        for row in rows:
            times = {name: iso(row[name]) for name in ("began_at", "last_at", "ended_at")}
            json_line({**row, **times, "wanted": orjson.loads(row["wanted"])})
        return
    now = now_ms()
    lines = [
        (
            row["id"],
            brief(row["began_at"], now=now),
            row["made_by"],
            _status(row, now=now),
            f"{row['events']:,} of {row['selected']:,}",
            f"{row['jobs']:,}" + (f", {row['failed']:,} failed" if row["failed"] else ""),
            _of_what(row),
            " ".join(f"{state}:{count}" for state, count in row.get("states", {}).items()) or "-",
        )
        for row in rows
    ]
    columns = ("replay", "began", "by", "status", "events", "jobs", "of what", "states")
    table(columns, lines, empty="no replays")


def _status(row: Row, *, now: int) -> str:
    """One that was killed stays open: when it went on last tells it from one that runs."""
    is_open = row["status"] == "open"
    return f"open, went on {age(row['last_at'], now=now)} ago" if is_open else str(row["status"])


def _of_what(row: Row) -> str:
    """Which events and handlers, in words."""
    wanted = orjson.loads(row["wanted"])
    ids, chosen = wanted.get("ids"), wanted.get("filter", {})
    said = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "") if ids else ""
    said = said or " ".join(
        f"{name}={local(value) if name in ('since', 'until') else value}" for name, value in chosen.items()
    )
    parts = [said or "all", *wanted.get("handlers", []), *(["again"] if wanted.get("again") else [])]
    return "; ".join([*parts, *([f"to {row['target']}"] if row["target"] else [])])


@contextmanager
def reached(standing: Standing, *, as_json: bool, what: str) -> Iterator[Callable[[Standing], None]]:
    """Print at the end how far a replay came, whatever ended it; give what is to be told of each step."""
    standings = [standing]

    def told(standing: Standing) -> None:
        standings[0] = standing

    try:
        yield told
    finally:
        _tell(standings[0], as_json=as_json, what=what)


def _tell(standing: Standing, *, as_json: bool, what: str) -> None:
    if as_json:
        status = "finished" if standing.is_through else "stopped"
        json_line({**standing._asdict(), "status": status})
        return
    of = (
        f"{standing.events:,} events"
        if standing.is_through
        else (f"{standing.events:,} of {standing.selected:,} events")
    )
    click.echo(f"{standing.replay}: {standing.jobs:,} {what} of {of}")


async def tell_where(store: Store, seqs: Sequence[int], standing: Standing) -> None:
    """Say before which of its events a replay ended."""
    from receiver.record import Wish

    for at in await store.replays.plan([seqs[standing.events]], Wish(())):
        click.echo(f"stopped before event {at['id']}, received {local(at['received_at'])}", err=True)


async def tell_who_runs(store: Store, standing: Standing, wish: Wish, *, is_narrowed: bool) -> None:
    """Say what an operator would wait for in vain; `is_narrowed`: to handlers that were named."""
    with suppress(Unavailable, StoreError):  # the replay is through, whatever becomes of the store now
        await _tell_who_runs(store, standing, wish, is_narrowed=is_narrowed)


async def _tell_who_runs(store: Store, standing: Standing, wish: Wish, *, is_narrowed: bool) -> None:
    from receiver.store.remote import Remote

    if not standing.jobs:
        if standing.events:
            click.echo("nothing was to be run again; --dry-run says why", err=True)
    elif not isinstance(store, Remote):
        click.echo("no server runs: the jobs wait until one is started", err=True)
    elif not (await store.status())["workers"]:
        click.echo("the server has no worker: the jobs wait until there is one", err=True)
    elif is_narrowed:
        known = {card["name"] for card in await store.published()}
        strange = [card["name"] for card in wish.cards if card["name"] not in known]
        if strange:
            told = ", ".join(strange)
            click.echo(f"the server does not load {told}: jobs of it wait for a worker that does", err=True)
