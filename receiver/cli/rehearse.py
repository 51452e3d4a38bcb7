"""`receiver replay FILE`: a capture's events against today's handlers, without a server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from receiver.cli.apart import Slate, run_apart
from receiver.cli.capture import take_capture
from receiver.cli.options import Common
from receiver.cli.output import json_line, now_ms, table
from receiver.cli.progress import bar, ended_by_signals, is_terminal
from receiver.cli.scratch import scratch
from receiver.errors import CommandFailed
from receiver.life import FINAL_STATES

if TYPE_CHECKING:
    from receiver.loading import Loaded
    from receiver.rehearsal import Rehearsed
    from receiver.replay import Occasion
    from receiver.router import HandlerCard
    from receiver.settings import Settings
    from receiver.store.service import Service

_LEASE_SECONDS = 86400.0
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be run on what."""

    options: Common
    file: Path
    occasion: Occasion
    named: Sequence[str]
    specs: tuple[str, ...]
    is_partial: bool
    is_dry: bool


def rehearse(
    options: Common,
    file: Path,
    occasion: Occasion,
    *,
    named: Sequence[str],
    specs: tuple[str, ...],
    is_partial: bool,
    is_dry: bool,
) -> int:
    """Run the handlers on the events of a capture, and print what became of each; return the exit status."""
    order = _Order(options, file, occasion, named, specs, is_partial, is_dry)
    config = options.settings(is_needed=False)
    crashed: dict[int, str] = {}
    with scratch("replay") as folder:
        while True:
            ending = run_apart(partial(_rehearse, order, config, folder, dict(crashed)))
            if not ending.how:
                return ending.status
            if not ending.job or ending.job in crashed:
                raise CommandFailed(f"{ending.how}, not within a handler")
            crashed[ending.job] = ending.how  # its failure; the others run in a new process


def _rehearse(order: _Order, config: Settings, folder: Path, crashed: dict[int, str], slate: Slate) -> int:
    """Do so in this process, which a handler may end; `crashed` are the jobs that have ended former ones."""
    from receiver import logs
    from receiver.cli.replay import check_names

    options = order.options
    plain = "plain" if config.log.format.endswith("plain") else "text"
    logs.configure(style="json" if options.as_json else plain, level=config.log.level)
    with _aside(is_needed=options.as_json):
        loaded = _loaded(config, order.specs)
    cards = [handler.card for handler in loaded.handlers]
    check_names(order.named, [card.name for card in cards])

    async def act() -> list[Rehearsed]:
        async with _opened(folder, config) as (store, here):
            if crashed:
                return await _run(order, store, here, loaded, crashed, slate)
            await take_capture(order.file, store, here, is_partial=order.is_partial, as_json=options.as_json)
            return await _begin(order, store, here, loaded, cards, slate)

    with ended_by_signals():
        rehearsed = asyncio.run(act())
    return int(any(one.has_failed for one in rehearsed))


def post(
    options: Common, file: Path, act: Callable[[Settings, Service], Awaitable[int]], *, is_partial: bool
) -> int:
    """Do something with the events of a capture, with the credentials of the configuration."""
    config = options.settings()

    async def run(folder: Path) -> int:
        async with _opened(folder, config) as (store, here):
            await take_capture(file, store, here, is_partial=is_partial, as_json=options.as_json)
            return await act(here, store)

    with ended_by_signals(), scratch("replay") as folder:
        return asyncio.run(run(folder))


@contextmanager
def _aside(*, is_needed: bool) -> Iterator[None]:
    """What a handler prints goes to standard error: on the other one there are objects, one on each line."""
    if not is_needed or sys.stdout is None or sys.stderr is None:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _loaded(config: Settings, specs: tuple[str, ...]) -> Loaded:
    """The handlers, in this process; no source has to be configured for them."""
    from receiver.loading import load, told_when_slow

    chosen = specs or config.handlers.load
    with told_when_slow(chosen):
        loaded = load(
            chosen,
            folder=config.folder,
            tables=config.handlers.tables,
            relative_to=Path.cwd() if specs else None,
        )
    for warning in loaded.warnings:
        click.echo(f"receiver: warning: {warning}", err=True)
    return loaded


@asynccontextmanager
async def _opened(folder: Path, config: Settings) -> AsyncIterator[tuple[Service, Settings]]:
    """A store of our own, and the configuration with that store in it."""
    from receiver.settings.tables import BodiesSettings
    from receiver.store.service import Service

    store = Service(folder / "receiver.db", run=None, lease_seconds=_LEASE_SECONDS)
    try:
        yield store, config.model_copy(update={"bodies": BodiesSettings(url=f"file:///{folder}/bodies")})
    finally:
        await store.close()


async def _begin(
    order: _Order,
    store: Service,
    config: Settings,
    loaded: Loaded,
    cards: Sequence[HandlerCard],
    slate: Slate,
) -> list[Rehearsed]:
    """Make the jobs, and run them."""
    from receiver import replay, sources
    from receiver.capture.videos import count_left_behind
    from receiver.cli.plans import show_plan
    from receiver.record import Wish

    wish = Wish([asdict(card) for card in _related(cards, order.named)])
    seqs = await replay.choose(store, order.occasion)
    if order.is_dry:
        await show_plan(store, seqs, wish, as_json=order.options.as_json)
        return []
    if not seqs:
        click.echo("receiver: no event of the capture is meant", err=True)
        return []
    begun = await replay.begin(
        store, order.occasion, selected=len(seqs), wish=wish, now=now_ms(), random=os.urandom
    )
    await replay.run(store, seqs, wish, begun)
    left_behind = await count_left_behind(store, seqs, configured=sources.configured(config))
    if left_behind:
        click.echo(
            f"receiver: note: behind links, and not in the capture: {left_behind:,} videos; a handler that "
            "wants one fetches it (export --with-videos takes them along)",
            err=True,
        )
    return await _run(order, store, config, loaded, {}, slate)


def _related(cards: Sequence[HandlerCard], named: Sequence[str]) -> list[HandlerCard]:
    """The handlers that are named, those that come after them, and those before them: nothing ran yet."""
    by_name = {card.name: card for card in cards}

    def before(card: HandlerCard) -> list[str]:
        return [] if card.after is None else [card.after, *before(by_name[card.after])]

    wanted = {name for one in named for name in (one, *before(by_name[one]))}
    return [
        card for card in cards if not named or card.name in wanted or not set(before(card)).isdisjoint(named)
    ]


async def _run(
    order: _Order,
    store: Service,
    config: Settings,
    loaded: Loaded,
    crashed: dict[int, str],
    slate: Slate,
) -> list[Rehearsed]:
    """Run the jobs that are there, and tell what became of them; also when that is broken off."""
    from receiver import logs
    from receiver.rehearsal import Rehearsal

    is_watched, as_json = is_terminal(sys.stdin), order.options.as_json
    # Nobody waits for a handler that hangs, unless there is somebody: in a debugger, time does not count.
    rehearsal = Rehearsal(config, loaded, store, log=logs.get(), is_patient=is_watched)
    jobs = sum((await store.figures())["jobs"].values())
    try:
        with bar("replaying", jobs, is_shown=not (as_json or is_watched)) as show, _aside(is_needed=as_json):
            await rehearsal.run(show, begins=slate.write, crashed=crashed)
    except asyncio.CancelledError:
        ended = [one for one in await rehearsal.report() if one.state in FINAL_STATES]
        if ended:
            _tell(ended, as_json=as_json)
        click.echo(f"stopped: {len(ended):,} of {jobs:,} jobs have ended", err=True)
        raise
    rehearsed = await rehearsal.report()
    _tell(rehearsed, as_json=as_json)
    if rehearsal.is_abandoned:
        sys.stdout.flush()
        slate.write(is_through=True)
        os._exit(1)  # a function that can't be stopped must not keep the process
    return rehearsed


def _tell(rehearsed: Sequence[Rehearsed], *, as_json: bool) -> None:
    if as_json:
        for one in rehearsed:
            json_line(one._asdict())
        return
    lines = [
        (
            one.event,
            one.video_id,
            one.handler,
            {"dead": "failed"}.get(one.state, one.state),
            "-" if one.seconds is None else f"{one.seconds:.2f} s",
            _said(one),
        )
        for one in rehearsed
    ]
    table(
        ("event", "video", "handler", "outcome", "took", "result"), lines, empty="no handler wants any of it"
    )
    failed = sum(one.has_failed for one in rehearsed)
    if rehearsed:
        click.echo(f"{len(rehearsed):,} jobs, {failed:,} failed", err=True)


def _said(one: Rehearsed) -> str:
    text = one.error or ("-" if one.result is None else orjson.dumps(one.result).decode())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
