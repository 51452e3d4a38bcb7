"""`receiver replay` and `replays`: stored events run again, and what was run again before."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.events import with_store
from receiver.cli.filters import filters
from receiver.cli.options import Common, Rate, Text, common, specs
from receiver.cli.output import iso, json_line, local, now_ms, table, when
from receiver.cli.progress import bar, until_interrupted
from receiver.errors import UsageError

if TYPE_CHECKING:
    from receiver.record import Wish
    from receiver.replay import Forecast, Occasion, Standing
    from receiver.settings import Settings
    from receiver.store.base import Row, Store

_SHOWN_AT_ONCE = 500
INTERRUPTED = 128 + signal.SIGINT


@click.command
@click.argument("events", nargs=-1, type=Text(), metavar="[EVENT…]")
@filters
@click.option("--all", "is_all", is_flag=True, help="All events.")
@click.option(
    "--handler",
    "named",
    multiple=True,
    metavar="NAME",
    help="Only this handler, whatever became of it, and those that come after it. Repeatable.",
)
@click.option("--again", is_flag=True, help="Handlers that are done or still to run, too.")
@specs
@click.option("--dry-run", is_flag=True, help="Say which handler would run on what, and do nothing.")
@click.option("--yes", is_flag=True, help="Don't ask, however many events there are.")
@click.option("--rate", type=Rate(), metavar="N/s", help="At most so many events a second (or /m, /h).")
@common
def replay(
    options: Common,
    *,
    events: tuple[str, ...],
    is_all: bool,
    named: tuple[str, ...],
    again: bool,
    specs: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    rate: float | None,
    **wanted: Any,
) -> None:
    """Run handlers again on stored events: new jobs beside the old ones, which stay as they are.

    EVENT is an id or its beginning. A handler that failed or never ran on an event runs; one that is
    done does so only when it is named by --handler, or with --again.
    """
    occasion = _occasion(events, is_all, wanted)
    config = options.settings()

    async def act(store: Store) -> int:
        from receiver.replay import choose, foresee

        wish = await _wish(config, store, specs, named, again)
        seqs = await choose(store, occasion)
        if dry_run:
            await _show_plan(store, seqs, wish, as_json=options.as_json)
            return 0
        forecast = await foresee(store, seqs, wish)
        if len(seqs) > 1 and not yes:
            _ask(len(seqs), forecast)
        return await _run(store, seqs, wish, occasion, rate, options)

    status = with_store(config, act)
    if status:
        raise click.exceptions.Exit(status)


def _occasion(events: tuple[str, ...], is_all: bool, wanted: dict[str, Any]) -> Occasion:
    from receiver.replay import Occasion
    from receiver.store.base import EventFilter

    is_filtered = any(value is not None for value in wanted.values())
    if not (events or is_filtered or is_all):
        raise UsageError("which events? Name some, or choose them (--source, --since, …), or say --all")
    if (events and (is_filtered or is_all)) or (is_filtered and is_all):
        raise UsageError("say which events in one way: by their ids, by filters, or --all")
    return Occasion(made_by(), events, None if events else EventFilter(**wanted))


def made_by() -> str:
    """Who says so: user and machine."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


async def _wish(
    config: Settings, store: Store, specs: tuple[str, ...], named: tuple[str, ...], again: bool
) -> Wish:
    """What is to run: of the handlers of the running server, else of those that would be loaded."""
    from receiver import sources
    from receiver.record import Wish
    from receiver.replay import firsts_of
    from receiver.store.remote import Remote

    if specs or not isinstance(store, Remote):
        from receiver.roster import cards_of_child

        cards: Sequence[Row] = [asdict(card) for card in await cards_of_child(config.file, specs)]
    else:
        cards = await store.published()
    check_names(named, [card["name"] for card in cards])
    return Wish(cards, named, again, firsts_of(sources.configured(config)))


def check_names(named: Sequence[str], known: Sequence[str]) -> None:
    """Refuse handlers that are not there. Raise UsageError."""
    from receiver.mistakes import did_you_mean

    for name in named:
        if name not in known:
            near = did_you_mean(name, known, otherwise="none is loaded")
            raise UsageError(f"--handler: there is no handler {name!r}; {near}")


def _ask(count: int, forecast: Forecast) -> None:
    """Let somebody say yes to so many. Raise UsageError where nobody can, and Abort for a no."""
    if not sys.stdin.isatty():
        raise UsageError(f"{count:,} events: say --yes, as there is nobody to ask")
    click.echo(f"{count:,} events, of which {forecast.events:,} get new jobs", err=True)
    for handler, jobs in forecast.jobs.items():
        click.echo(f"  {jobs:,} × {handler}", err=True)
    for reason, jobs in forecast.left.items():
        click.echo(f"  {jobs:,} not again: {reason}", err=True)
    click.confirm("replay them?", abort=True, err=True)


async def _show_plan(store: Store, seqs: Sequence[int], wish: Wish, *, as_json: bool) -> None:
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
            lines.append((event["id"], when(event["received_at"], now=now), *what, handler, how))
    table(("event", "received", "source", "what", "video", "handler", "runs"), lines, empty="no events")


def _how(state: str, after: str | None) -> str:
    if after is None:
        return "yes"
    return f"after {after}" if state == "waiting" else f"yes, with the result that {after} has left"


async def _run(
    store: Store,
    seqs: Sequence[int],
    wish: Wish,
    occasion: Occasion,
    rate: float | None,
    options: Common,
) -> int:
    from receiver import replay as replaying

    begun = await replaying.begin(
        store, occasion, selected=len(seqs), wish=wish, now=now_ms(), random=os.urandom
    )
    with until_interrupted() as stop, bar("replaying", len(seqs), is_shown=not options.as_json) as show:
        standing = await replaying.run(
            store, seqs, wish, begun, rate=rate, stop=stop, told=lambda standing: show(standing.events)
        )
    tell(standing, as_json=options.as_json, what="jobs")
    if standing.is_through:
        return 0
    for at in await store.replays.plan([seqs[standing.events]], wish):
        click.echo(f"stopped before event {at['id']}, received {local(at['received_at'])}", err=True)
    return INTERRUPTED


def tell(standing: Standing, *, as_json: bool, what: str) -> None:
    """Print how far a replay came."""
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


@click.command
@click.argument("replay_id", required=False, default="", type=Text(), metavar="[REPLAY]")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@common
def replays(options: Common, *, replay_id: str, limit: int) -> None:
    """List the last replays, newest first: who, when, of what, how far; of one, what became of its jobs."""
    rows = with_store(options.settings(), lambda store: store.replays.last(prefix=replay_id, limit=limit))
    times = ("began_at", "last_at", "ended_at")
    if options.as_json:
        for row in rows:
            json_line({name: iso(value) if name in times else value for name, value in row.items()})
        return
    now = now_ms()
    lines = [
        (
            row["id"],
            when(row["began_at"], now=now),
            row["made_by"],
            row["wanted"] if row["target"] is None else f"{row['wanted']} to {row['target']}",
            f"{row['events']:,} of {row['selected']:,}",
            f"{row['jobs']:,}" + (f", {row['failed']:,} failed" if row["failed"] else ""),
            row["status"],
            " ".join(f"{state}:{count}" for state, count in row.get("states", {}).items()) or "-",
        )
        for row in rows
    ]
    columns = ("replay", "began", "by", "of what", "events", "jobs", "status", "states")
    table(columns, lines, empty="no replays")
