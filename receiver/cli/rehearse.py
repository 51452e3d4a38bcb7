"""`receiver replay FILE`: a capture's events against today's handlers, without a server."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from receiver.cli.capture import take_capture
from receiver.cli.options import Common
from receiver.cli.output import json_line, now_ms, table
from receiver.cli.progress import bar

if TYPE_CHECKING:
    from receiver.loading import Loaded
    from receiver.rehearsal import Rehearsed
    from receiver.replay import Occasion
    from receiver.settings import Settings
    from receiver.store.service import Service

_SCRATCH = Path("/var/tmp")  # noqa: S108 - on a disk, where /tmp may be memory; the folder is our own
_LEASE_SECONDS = 86400.0
_SHOWN = 200


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
    from receiver import logs
    from receiver.cli.plans import show_plan
    from receiver.cli.replay import check_names
    from receiver.record import Wish
    from receiver.replay import choose

    config = options.settings(is_needed=False)
    loaded = _loaded(config, specs)
    cards = [handler.card for handler in loaded.handlers]
    check_names(named, [card.name for card in cards])
    plain = "plain" if config.log.format.endswith("plain") else "text"
    logs.configure(style="json" if options.as_json else plain, level=config.log.level)

    async def act() -> list[Rehearsed]:
        async with temporary(options, config, file, is_partial=is_partial) as (store, here):
            from dataclasses import asdict

            wish = Wish([asdict(card) for card in cards], tuple(named))
            seqs = await choose(store, occasion)
            if is_dry:
                await show_plan(store, seqs, wish, as_json=options.as_json)
                return []
            return await _run(store, here, loaded, seqs, wish, occasion, options)

    rehearsed = asyncio.run(act())
    if not is_dry:
        _tell(rehearsed, as_json=options.as_json)
    return int(any(one.has_failed for one in rehearsed))


def post(
    options: Common, file: Path, act: Callable[[Settings, Service], Awaitable[int]], *, is_partial: bool
) -> int:
    """Do something with the events of a capture, with the credentials of the configuration."""
    config = options.settings()

    async def run() -> int:
        async with temporary(options, config, file, is_partial=is_partial) as (store, here):
            return await act(here, store)

    return asyncio.run(run())


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
async def temporary(
    options: Common, config: Settings, file: Path, *, is_partial: bool
) -> AsyncIterator[tuple[Service, Settings]]:
    """A store of our own with the events of a capture, and the configuration with that store in it."""
    from receiver.bodies import Bodies
    from receiver.settings.tables import BodiesSettings
    from receiver.store.service import Service

    scratch = _SCRATCH if os.access(_SCRATCH, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="receiver-replay-", dir=scratch) as folder:
        store = Service(Path(folder) / "receiver.db", run=None, lease_seconds=_LEASE_SECONDS)
        try:
            here = config.model_copy(update={"bodies": BodiesSettings(url=f"file:///{folder}/bodies")})
            await take_capture(file, store, Bodies(here.bodies_folder), config, is_partial, options)
            yield store, here
        finally:
            await store.close()


async def _run(
    store: Service,
    config: Settings,
    loaded: Loaded,
    seqs: Sequence[int],
    wish: Any,
    occasion: Occasion,
    options: Common,
) -> list[Rehearsed]:
    from receiver import logs, replay
    from receiver.rehearsal import Rehearsal

    begun = await replay.begin(
        store, occasion, selected=len(seqs), wish=wish, now=now_ms(), random=os.urandom
    )
    standing = await replay.run(store, seqs, wish, begun)
    # Nobody waits for a handler that hangs, unless there is somebody: in a debugger, time does not count.
    rehearsal = Rehearsal(config, loaded, store, log=logs.get(), is_patient=sys.stdin.isatty())
    is_bar_shown = not (options.as_json or sys.stdin.isatty())
    with bar("replaying", standing.jobs, is_shown=is_bar_shown) as show:
        rehearsed = await rehearsal.run(show)
    if rehearsal.is_abandoned:
        _tell(rehearsed, as_json=options.as_json)
        sys.stdout.flush()
        os._exit(1)  # a thread that can't be stopped must not keep the process
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
            f"{one.seconds:.2f} s",
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
