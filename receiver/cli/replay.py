"""`receiver replay`: stored events, or those of a capture, run again or are posted again."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver.cli import consent
from receiver.cli.events import with_store
from receiver.cli.filters import filters
from receiver.cli.options import Common, Rate, Text, common, specs
from receiver.cli.output import now_ms
from receiver.cli.plans import show_plan, show_requests
from receiver.cli.progress import bar, until_interrupted
from receiver.cli.replays import INTERRUPTED, reached, tell_where, tell_who_runs
from receiver.errors import UsageError

if TYPE_CHECKING:
    import httpx

    from receiver.record import Wish
    from receiver.replay import Occasion, Standing
    from receiver.settings import Settings
    from receiver.store.base import Store
    from receiver.store.values import Row


@dataclass(frozen=True, slots=True)
class _Order:
    """What was asked for beside the events."""

    options: Common
    occasion: Occasion
    named: tuple[str, ...]
    again: bool
    specs: tuple[str, ...]
    target: httpx.URL | None
    retries: int
    rate: float | None
    is_dry: bool
    is_sure: bool


@click.command
@click.argument("events", nargs=-1, type=Text(), metavar="[EVENT… | FILE]")
@filters
@click.option("--limit", type=click.IntRange(1), help="Of those, so many of the newest.")
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
@click.option("--to", "target", type=Text(), metavar="URL", help="Post the bodies there; run nothing here.")
@click.option("--send-credentials", is_flag=True, help="To another machine, too; https only.")
@click.option(
    "--retry",
    "retries",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="Post so many times more what was not accepted and may be.",
)
@click.option("--rate", type=Rate(), metavar="N/s", help="At most so many events a second (or /m, /h).")
@click.option("--dry-run", is_flag=True, help="Say what would be done with which event, and do nothing.")
@click.option("--yes", is_flag=True, help="Don't ask, however many events there are.")
@click.option("--partial", is_flag=True, help="Of a FILE that is unfinished or damaged, what is whole.")
@common
def replay(
    options: Common,
    *,
    events: tuple[str, ...],
    limit: int | None,
    is_all: bool,
    named: tuple[str, ...],
    again: bool,
    specs: tuple[str, ...],
    target: str | None,
    send_credentials: bool,
    retries: int,
    rate: float | None,
    dry_run: bool,
    yes: bool,
    partial: bool,
    **wanted: Any,
) -> None:
    """Run handlers again on stored events: new jobs beside the old ones, which stay as they are.

    EVENT is an id or its beginning. A handler that failed or never ran on an event runs; one that is
    done does so only when it is named by --handler, or with --again.

    With FILE, a capture, no server and no configuration is needed: the handlers run here, once each, and
    the exit status is 1 if any fails or ends its process. A breakpoint in a handler works.
    """
    from receiver.repost import target_of

    file = _file(events)
    order = _Order(
        options,
        _occasion(events[1:] if file else events, is_all, wanted, limit, target, is_file=file is not None),
        named,
        again,
        specs,
        None if target is None else target_of(target, sends_credentials=send_credentials),
        retries,
        rate,
        dry_run,
        yes,
    )
    if target is not None and (named or again or specs):
        raise UsageError("--to posts and runs no handler: leave out --handler, --handlers and --again")
    if target is None and (send_credentials or retries):
        raise UsageError("--send-credentials and --retry say how to post: where, is said by --to")
    if file is None and partial:
        raise UsageError("--partial is about a damaged FILE, and none is named")
    status = _from_store(order) if file is None else _from_file(order, file, is_partial=partial)
    if status:
        raise click.exceptions.Exit(status)


def _file(events: tuple[str, ...]) -> Path | None:
    """The capture that is meant, if one is: no id has a dot or a slash in it. A pipe is one, too."""
    if not events or not (
        events[0] == "-" or "." in events[0] or "/" in events[0] or Path(events[0]).is_file()
    ):
        return None
    file = Path("/dev/stdin" if events[0] == "-" else events[0])
    if not file.exists():
        raise UsageError(f"{file}: there is no such file")
    if file.is_dir():
        raise UsageError(f"{file}: it is a folder; name the capture in it")
    return file


def _occasion(
    events: tuple[str, ...],
    is_all: bool,
    wanted: dict[str, Any],
    limit: int | None,
    target: str | None,
    *,
    is_file: bool,
) -> Occasion:
    from receiver.replay import Occasion
    from receiver.store.values import EventFilter

    is_filtered = any(value is not None for value in (*wanted.values(), limit))
    if not (events or is_filtered or is_all or is_file):
        raise UsageError("which events? Name some, or choose them (--source, --since, …), or say --all")
    if bool(events) + is_filtered + is_all > 1:
        raise UsageError("say which events in one way: by their ids, by filters, or --all")
    shown = None if target is None else target.partition("?")[0]
    return Occasion(made_by(), events, None if events else EventFilter(**wanted), limit, shown)


def made_by() -> str:
    """Who says so: user and machine."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _from_file(order: _Order, file: Path, *, is_partial: bool) -> int:
    from receiver.cli import rehearse

    if order.occasion.wanted is not None and order.occasion.wanted.state is not None:
        raise UsageError("--state: the events of a capture have no jobs; leave it out")
    if order.target is not None:
        return rehearse.post(order.options, file, lambda c, s: _post(order, c, s), is_partial=is_partial)
    return rehearse.rehearse(
        order.options,
        file,
        order.occasion,
        named=order.named,
        specs=order.specs,
        is_partial=is_partial,
        is_dry=order.is_dry,
    )


def _from_store(order: _Order) -> int:
    config = order.options.settings()

    async def act(store: Store) -> int:
        return await (_run(order, config, store) if order.target is None else _post(order, config, store))

    return with_store(config, act)


async def _post(order: _Order, config: Settings, store: Store) -> int:
    from receiver.cli.repost import repost
    from receiver.replay import choose

    assert order.target is not None  # noqa: S101 - else handlers run
    seqs = await choose(store, order.occasion)
    if order.is_dry:
        await show_requests(store, seqs, config, as_json=order.options.as_json)
        return 0
    if len(seqs) > 1 and not order.is_sure:
        consent.ask(len(seqs), f"post the bodies of {len(seqs):,} events to {order.target.host}?")
    return await repost(
        order.options,
        config,
        store,
        seqs,
        order.occasion,
        target=order.target,
        retries=order.retries,
        rate=order.rate,
    )


async def _run(order: _Order, config: Settings, store: Store) -> int:
    from receiver.replay import choose, foresee

    wish = await _wish(order, config, store)
    seqs = await choose(store, order.occasion)
    if order.is_dry:
        await show_plan(store, seqs, wish, as_json=order.options.as_json)
        return 0
    if len(seqs) > 1 and not order.is_sure:
        consent.ask(len(seqs), "replay them?", await foresee(store, seqs, wish))
    return await _make(order, store, seqs, wish)


async def _wish(order: _Order, config: Settings, store: Store) -> Wish:
    """What is to run: of the handlers of the running server, else of those that would be loaded."""
    from receiver import sources
    from receiver.record import Wish
    from receiver.replay import firsts_of
    from receiver.store.remote import Remote

    if order.specs or not isinstance(store, Remote):
        from receiver.roster import cards_of_child

        cards: Sequence[Row] = [asdict(card) for card in await cards_of_child(config.file, order.specs)]
    else:
        cards = await store.published()
    check_names(order.named, [card["name"] for card in cards])
    return Wish(cards, order.named, order.again, firsts_of(sources.configured(config)))


def check_names(named: Sequence[str], known: Sequence[str]) -> None:
    """Refuse handlers that are not there. Raise UsageError."""
    from receiver.mistakes import did_you_mean

    for name in named:
        if name not in known:
            near = did_you_mean(name, known, otherwise="none is loaded")
            raise UsageError(f"--handler: there is no handler {name!r}; {near}")


async def _make(order: _Order, store: Store, seqs: Sequence[int], wish: Wish) -> int:
    from receiver import replay as replaying

    as_json = order.options.as_json
    with until_interrupted() as stop:
        begun = await replaying.begin(
            store, order.occasion, selected=len(seqs), wish=wish, now=now_ms(), random=os.urandom
        )
        with (
            reached(begun, as_json=as_json, what="jobs") as reach,
            bar("replaying", len(seqs), is_shown=not as_json) as show,
        ):

            def told(standing: Standing) -> None:
                reach(standing)
                show(standing.events)

            standing = await replaying.run(store, seqs, wish, begun, rate=order.rate, stop=stop, told=told)
    await tell_who_runs(store, standing, wish, is_narrowed=bool(order.specs))
    if standing.is_through:
        return 0
    await tell_where(store, seqs, standing)
    return INTERRUPTED
