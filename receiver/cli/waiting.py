"""`--wait`: following one video through the store of a running server, with a bar where somebody looks."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.output import plain
from receiver.cli.standing import Standing, standing
from receiver.errors import CommandFailed, StoreDown, Unavailable

if TYPE_CHECKING:
    from receiver.settings import Settings
    from receiver.store.base import Store
    from receiver.store.values import Row

Show = Callable[[Standing], None]
_LOOK_SECONDS = 0.5
_AWAY_SECONDS = 60.0
"""How long a server may be away, as it is while it is started again."""
_EVENTS = 20


async def find_server(config: Settings) -> None:
    """Raise CommandFailed when no server runs: nobody would take the callback, ask, or save."""
    from receiver.store.remote import Remote

    remote = Remote(config.database)
    try:
        await remote.connect()
        if not await remote.probe():
            click.echo("no worker is alive now; without one, nothing is saved", err=True)
    except (StoreDown, Unavailable) as error:
        mend = "start `receiver serve`, or leave out --wait"
        raise CommandFailed(f"--wait needs a running server ({error}); {mend}") from error
    finally:
        await remote.close()


async def is_running(config: Settings) -> bool:
    """Whether a server has the store."""
    from receiver.store.remote import Remote

    remote = Remote(config.database)
    try:
        await remote.connect()
    except StoreDown:
        return False
    finally:
        await remote.close()
    return True


async def follow(
    config: Settings, source: str, video_id: str, *, show: Show, away_seconds: float = _AWAY_SECONDS
) -> Standing:
    """Look until the video is saved or has failed. Raise CommandFailed when the server is gone for good."""
    from receiver.store.remote import Remote

    remote = Remote(config.database)
    last_seen = time.monotonic()
    try:
        while True:
            try:
                now = await _look(remote, source, video_id)
                last_seen = time.monotonic()
            except (StoreDown, Unavailable) as error:
                if time.monotonic() - last_seen > away_seconds:
                    raise CommandFailed(f"the server is gone ({error}); {how_to_look(video_id)}") from error
            else:
                show(now)
                if now.ending is not None:
                    return now
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await remote.close()


async def _look(store: Store, source: str, video_id: str) -> Standing:
    from receiver.store.values import EventFilter

    wanted = EventFilter(source=source, video=video_id)
    events = await store.events(wanted, limit=_EVENTS, before=None)
    now = standing(events, await store.watches.of(source, video_id))
    if now.ending == "failed" and now.said == "failed" and now.event is not None:
        return now._replace(said=_reason(await store.event(now.event)))
    return now


def _reason(event: Row) -> str:
    """Why a video failed, as its provider says."""
    from receiver import sources
    from receiver.cli.events import payload_of

    error = sources.video_of(event["kind"], payload_of(event)).error
    said = ": ".join(dict.fromkeys(filter(None, (error.code, error.message))))
    return said or f"its status is {event['status']}"


def how_to_look(video_id: str) -> str:
    """What to type to see what became of a video."""
    return f"see `receiver events --video {video_id}`"


def display(*, silent: bool) -> AbstractContextManager[Show]:
    """What shows how a video stands: a bar on a terminal, lines where there is none, or nothing."""
    if silent:
        return nullcontext(lambda standing: None)
    return _Bar() if sys.stderr.isatty() else nullcontext(_Lines().show)


class _Lines:
    """A line for whatever is new."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, standing: Standing) -> None:
        if standing.ending is None and standing.said != self._last:
            click.echo(plain(standing.said), err=True)
            self._last = standing.said


class _Bar:
    """One live line, that goes when the video is there."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}", markup=False))
        self._progress = Progress(
            *columns, TimeElapsedColumn(), console=Console(file=sys.stderr), transient=True
        )
        self._task = self._progress.add_task("waiting", total=None)

    def __enter__(self) -> Show:
        self._progress.start()
        return self._show

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def _show(self, standing: Standing) -> None:
        if standing.ending is not None:  # that is the last line's to say
            return
        total = None if standing.percent is None else 100.0
        self._progress.update(
            self._task, description=plain(standing.said), total=total, completed=standing.percent or 0.0
        )
