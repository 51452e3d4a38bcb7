"""`receiver watch`: have a provider asked until a video's end is known; see what is asked about."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from receiver.cli.events import with_store
from receiver.cli.options import Common, Length, Text, common
from receiver.cli.output import iso, json_line, last_seen, local, now_ms, table, view_line, when

if TYPE_CHECKING:
    from receiver.settings import Settings
    from receiver.sources.base import Source
    from receiver.store.base import Store
    from receiver.store.watches import NewWatch, Watch

_SAID = {
    "new": "is watched",
    "known": "was watched already, and is asked about now",
    "over": "has ended already; see `receiver events --video {id}`",
}


@click.command
@click.argument("source", type=Text(), required=False)
@click.argument("video_ids", metavar="[VIDEO_ID]...", type=Text(), nargs=-1)
@click.option("--deadline", type=Length(), help="When it is given up.  [default: watch.deadline]")
@click.option("--end", "ends", is_flag=True, help="Watch these no longer.")
@click.option("--all", "shows_all", is_flag=True, help="List those that have ended, too.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="List at most so many."
)
@common
def watch(
    options: Common,
    *,
    source: str | None,
    video_ids: tuple[str, ...],
    deadline: timedelta | None,
    ends: bool,
    shows_all: bool,
    limit: int,
) -> None:
    """Ask the provider about videos until they are completed or failed; without ids, list the open watches.

    A watch is durable: a running server asks, now and in growing intervals, and records what it hears
    like a callback. Videos that call back are watched by themselves, as soon as they are heard of.
    """
    config = options.settings()
    if not video_ids:
        if ends or deadline is not None:
            raise click.UsageError("say which videos are meant: SOURCE VIDEO_ID…")
        listed = with_store(
            config, lambda store: store.watches.page(source=source, ended=shows_all, limit=limit)
        )
        _show(listed, as_json=options.as_json)
    elif ends:
        _end(config, source or "", video_ids, as_json=options.as_json)
    else:
        _open(config, source or "", video_ids, deadline=deadline, as_json=options.as_json)


def _open(
    config: Settings, name: str, video_ids: tuple[str, ...], *, deadline: timedelta | None, as_json: bool
) -> None:
    source = _askable(config, name)
    wanted = [_new(source, video_id, config, deadline) for video_id in video_ids]

    async def add(store: Store) -> tuple[list[str], bool]:
        from receiver.store.remote import Remote

        said = await store.watches.add(wanted)
        return [one.value for one in said], isinstance(store, Remote)

    said, has_server = with_store(config, add)
    for new, result in zip(wanted, said, strict=True):
        if as_json:
            times = {"deadline_at": iso(new.deadline_at)}
            json_line({"source": name, "video_id": new.video_id, "result": result, **times})
        else:
            click.echo(f"{new.video_id} {_SAID[result].format(id=new.video_id)}")
    if not has_server and not as_json:
        click.echo("no server is running now; the next `receiver serve` asks", err=True)


def _askable(config: Settings, name: str) -> Source:
    """The source of this name, if it can be asked. Raise UsageError."""
    from receiver import sources
    from receiver.errors import UsageError
    from receiver.watching import can_ask

    configured = sources.configured(config)
    if name not in configured:
        known = ", ".join(sorted(configured)) or "none"
        raise UsageError(f"there is no source {name!r}; the configuration has: {known}")
    if not can_ask({name: configured[name]}):
        raise UsageError(f"no key is configured with which {name} could be asked")
    return configured[name]


def _new(source: Source, video_id: str, config: Settings, deadline: timedelta | None) -> NewWatch:
    """A watch that is due at once: whoever asks wants to know now."""
    from receiver.errors import BadBody, UsageError
    from receiver.watching import Patience, new_watch

    patience = Patience.of(wait=timedelta(), deadline=deadline or config.watch.deadline)
    try:
        return new_watch(source, video_id, patience, now=now_ms())
    except BadBody as error:
        raise UsageError(f"{video_id[:80]!r} is no id of a video: {error.reason}") from error


def _end(config: Settings, name: str, video_ids: tuple[str, ...], *, as_json: bool) -> None:
    from receiver.errors import CommandFailed
    from receiver.store.watches import Ending

    async def stop(store: Store) -> list[bool]:
        found = [await store.watches.of(name, video_id) for video_id in video_ids]
        return [watch is not None and await store.watches.end(watch.seq, Ending.STOPPED) for watch in found]

    ended = with_store(config, stop)
    for video_id, is_ended in zip(video_ids, ended, strict=True):
        if as_json:
            json_line({"source": name, "video_id": video_id, "result": "stopped" if is_ended else "unknown"})
        elif is_ended:
            click.echo(f"{video_id} is watched no longer")
    if not all(ended):
        unknown = [video_id for video_id, is_ended in zip(video_ids, ended, strict=True) if not is_ended]
        raise CommandFailed(f"not watched: {', '.join(unknown)}")


def _show(watches: list[Watch], *, as_json: bool) -> None:
    if as_json:
        from receiver.views import watch_view

        for one in watches:
            view_line(watch_view(one._asdict()))
        return
    now = now_ms()
    rows = [
        (
            one.source,
            one.video_id,
            last_seen(one.status, one.progress),
            str(one.asked),
            one.ending or when(one.next_at, now=now),
            local(one.ended_at or one.deadline_at),
            one.last_error or "-",
        )
        for one in watches
    ]
    columns = ("source", "video", "last seen", "asked", "next", "until", "last error")
    table(columns, rows, empty="nothing is watched")
