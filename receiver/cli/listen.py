"""`receiver listen`: another receiver's events, recorded and handled here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.filters import STATES, TYPES, Moment
from receiver.cli.options import Common, Text, common, specs
from receiver.cli.output import json_line, local, now_ms, plain
from receiver.cli.progress import until_interrupted
from receiver.errors import StoreDown, UsageError

if TYPE_CHECKING:
    from receiver.listen import Heard, Listener
    from receiver.router import HandlerCard
    from receiver.settings import Settings
    from receiver.store.base import Store
    from receiver.store.remote import Remote
    from receiver.store.values import Row

_COMING_BACK_SECONDS = 3.0
_COMING_BACK_TRIES = 30
_LAST_WORD_SECONDS = 1.0


@click.command
@click.argument("url", type=Text())
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the other receiver's admin token.  [default: listen.token]",
)
@click.option(
    "--to", "target", type=Text(), metavar="URL", help="Post each event there, too, as its sender would."
)
@click.option("--send-credentials", is_flag=True, help="Even if that is another machine, with https.")
@specs
@click.option(
    "--since", type=Moment(), help="From this age (2h) or date on.  [default: where it stood, else now]"
)
@click.option("--video", type=Text(), metavar="ID", help="Only this video.")
@click.option("--state", type=click.Choice(STATES), help="Any of its jobs there is in this state.")
@click.option("--type", type=click.Choice(TYPES), help="Only this event type.")
@click.option("--source", type=Text(), metavar="NAME", help="Only this source.")
@common
def listen(
    options: Common,
    *,
    url: str,
    token_file: Path | None,
    target: str | None,
    send_credentials: bool,
    specs: tuple[str, ...],
    since: int | None,
    **filters: str | None,
) -> None:
    """Follow another receiver: what it records is recorded here, too, once, and handled by handlers here.

    It goes on where it stood when it ran last, until Ctrl-C. Handlers are those of the server that runs
    here; without one, a store and a worker are started. --handlers takes the place of handlers.load.
    """
    import uvloop

    from receiver import logs
    from receiver.feed import Wanted, origin_of
    from receiver.model import utc

    config = options.settings()
    origin = origin_of(url, _token(config, token_file))
    if target is not None:
        from receiver.onward import check

        check(target, sends_credentials=send_credentials)
    begin = None if since is None else utc(since).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    wanted = Wanted(origin.url, {name: value for name, value in filters.items() if value}, begin)
    os.umask(0o077)
    logs.configure(style=config.log.format, level=config.log.level, waits=False)
    more = _onward(target, send_credentials)

    async def run() -> int:
        async with _home(config, specs, more) as (store, cards):
            feed = Feed(origin, max_bytes=config.server.max_body)
            try:
                return await _follow(config, feed, wanted, store, cards, options)
            finally:
                await feed.aclose()

    from receiver.feed import Feed

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(run())
    logs.finish()
    if status:
        raise click.exceptions.Exit(status)


def _token(config: Settings, file: Path | None) -> str:
    """The token of the other receiver; never this one's. Raise UsageError."""
    if file is not None:
        try:
            token = "".join(file.read_text("utf-8").split())
        except UnicodeDecodeError:
            raise UsageError(f"--token-file: {file} is not UTF-8 text") from None
        except OSError as error:
            raise UsageError(f"--token-file: {file}: {error.strerror}") from None
    else:
        token = config.listen.token.get_secret_value()
    if not token:
        raise UsageError(
            "no token: name a file with the other receiver's admin token (--token-file), or set listen.token"
        )
    if not token.isascii() or not token.isprintable():
        raise UsageError("the token has characters that no header can have")
    return token


def _onward(target: str | None, sends_credentials: bool) -> tuple[str, ...]:
    if target is None:
        return ()
    return ("--onward", target, *(["--send-credentials"] if sends_credentials else []))


@asynccontextmanager
async def _home(
    config: Settings, specs: tuple[str, ...], more: tuple[str, ...]
) -> AsyncIterator[tuple[Store, list[HandlerCard]]]:
    """The store of a running server and its handlers, or a store and a worker for as long as this lasts.

    Handlers of our own get a worker of their own in either case.
    """
    from receiver.app import ServeOptions, household
    from receiver.router import HandlerCard
    from receiver.store.remote import Remote

    own = ServeOptions(host="", port=0, specs=specs, workers=1, worker_options=more)
    server = Remote(config.database)
    rows = await _published(server, config.database)
    if rows is None:
        async with household(config, own) as family:
            yield family.store, family.cards
        return
    try:
        published = [HandlerCard.from_json(card) for card in rows]
        if not specs and not more:
            yield server, published
            return
        bare = () if specs else ("--bare",)
        guest = replace(own, is_guest=True, worker_options=(*more, *bare))
        async with household(config, guest) as family:
            yield server, family.cards if specs else [*published, *family.cards]
    finally:
        await server.close()


async def _published(server: Remote, database: Path) -> list[Row] | None:
    """The handlers of a running server; None when there is none.

    A store that was killed leaves its socket's name behind, and its server starts another one within a
    second or two: whoever took the file meanwhile would keep that one out.
    """
    from receiver.store.wire import socket_path

    tries = _COMING_BACK_TRIES
    while True:
        try:
            return await server.published()
        except StoreDown:
            tries -= 1
            if not tries or not socket_path(database).exists():
                return None
        await asyncio.sleep(_COMING_BACK_SECONDS / _COMING_BACK_TRIES)


async def _follow(
    config: Settings, feed: Any, wanted: Any, store: Store, cards: list[HandlerCard], options: Common
) -> int:
    """Follow until Ctrl-C; 1 when something was missed."""
    from receiver import logs, sources
    from receiver.bodies import Bodies
    from receiver.copying import Copier
    from receiver.listen import Listener
    from receiver.recording import Plans

    def told(heard: Heard) -> None:
        _say(heard, as_json=options.as_json)

    bodies = Bodies(config.bodies_folder, reserve=config.bodies.reserve)
    copier = Copier(
        feed,
        store=store,
        bodies=bodies,
        plans=Plans(cards),
        sources=sources.configured(config),
        limit=config.server.max_body,
        wall=now_ms,
    )
    listener = Listener(feed, wanted, copier=copier, store=store, log=logs.get(), told=told)
    if not options.as_json:
        click.echo(f"following {wanted.origin} (Ctrl-C ends it)")
    with until_interrupted() as stop:
        await _until(stop, listener)
    await asyncio.to_thread(bodies.close)
    tally = listener.tally
    if not options.as_json:
        missed = f", {tally.missed:,} missed" if tally.missed else ""
        click.echo(f"{tally.copied:,} recorded, {tally.known:,} known already{missed}")
    return int(tally.missed > 0)


async def _until(stop: asyncio.Event, listener: Listener) -> None:
    """Let it listen until it is told to stop, or fails."""
    listening = asyncio.ensure_future(listener.run())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([listening, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (listening, stopping):
            task.cancel()
        await asyncio.wait([listening, stopping])
        with suppress(TimeoutError):  # the store is away: the next start meets a few events again
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                await listener.move_bookmark()
    if not listening.cancelled():
        listening.result()


def _say(heard: Heard, *, as_json: bool) -> None:
    event = heard.event
    if as_json:
        json_line({"outcome": heard.outcome, "event": event["id"], "type": event.get("type")})
        return
    words = (local(now_ms())[11:], heard.outcome, event["id"], event.get("type"), event.get("source"))
    click.echo(plain(" ".join(map(str, (*words, event.get("title") or "")))).rstrip())
