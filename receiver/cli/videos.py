"""`receiver videos`: the videos that a provider has of an account; removing one, making one anew."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from receiver.cli.events import with_store
from receiver.cli.options import Common, Text, common
from receiver.cli.orders import VideoId, table_of
from receiver.cli.output import json_line, table
from receiver.errors import CommandFailed, UsageError

if TYPE_CHECKING:
    from receiver.model import Payload, Video
    from receiver.orders import Endpoint
    from receiver.settings import Settings
    from receiver.store.base import Store

_LONGEST_PROMPT = 60
_NO_LIST = dict.fromkeys((404, 405), "this gateway has no list of videos")
_NO_REMOVAL = {404: "there is no such video", 405: "this gateway removes no videos"}


@click.command
@click.argument("source", type=Text())
@click.option("--limit", type=click.IntRange(1, 100), help="How many make a page.  [default: the provider's]")
@click.option("--after", type=VideoId(), metavar="ID", help="Those after this one.")
@click.option("--order", type=click.Choice(("asc", "desc")), help="By time.  [default: the provider's]")
@click.option("--all", "every", is_flag=True, help="All pages, to the last.")
@click.option("--delete", type=VideoId(), metavar="ID", help="Have the provider remove this video.")
@click.option("--yes", is_flag=True, help="Remove it without asking.")
@click.option(
    "--remix",
    type=(VideoId(), Text()),
    metavar="ID PROMPT",
    help="Make this video anew, with another prompt: it is paid for like any.",
)
@click.option("--again", is_flag=True, help="Pay a second time for the same remix.")
@common
def videos(
    options: Common,
    *,
    source: str,
    limit: int | None,
    after: str | None,
    order: str | None,
    every: bool,
    delete: str | None,
    yes: bool,
    remix: tuple[str, str] | None,
    again: bool,
) -> None:
    """List the videos that SOURCE has, or change one of them.

    Opennote has no such list. Gateways may have none, and say so; a remix of theirs is made by
    `receiver submit SOURCE --remix ID`.
    """
    config = options.settings()
    chosen = table_of(config, source)
    if chosen.kind == "opennote":
        raise UsageError("Opennote has no list of videos; see `receiver submit --list` and `receiver events`")
    listing = [limit, after, order, every or None]
    if (delete is not None) + (remix is not None) + any(one is not None for one in listing) > 1:
        raise UsageError("a list, --delete and --remix: one at a time")
    if remix is not None:
        _remix(config, source, *remix, as_json=options.as_json, again=again)
    elif delete is not None:
        _delete(config, source, delete, yes=yes, as_json=options.as_json)
    else:
        asyncio.run(_list(config, source, (limit, after, order), every=every, as_json=options.as_json))


def _remix(config: Settings, source: str, video_id: str, prompt: str, *, as_json: bool, again: bool) -> None:
    from receiver.cli.handing import Manner, hand_in
    from receiver.cli.orders import order_of

    if config.sources[source].kind != "openai":
        raise UsageError(
            "--remix: gateways make a remix of a whole order: "
            f"receiver submit {source} --remix {video_id} --prompt … --model … --size … --seconds …"
        )
    order = order_of("openai", {"prompt": prompt, "remix": video_id})
    hand_in(config, source, order, Manner(as_json, again=again))


def _delete(config: Settings, source: str, video_id: str, *, yes: bool, as_json: bool) -> None:
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("--delete: there is nobody to be asked; to remove it: --yes")
        if not click.confirm(f"remove video {video_id} from {source} for good?", err=True):
            raise CommandFailed("nothing was removed")
    asyncio.run(_deleted(config, source, video_id))
    with_store(config, lambda store: _unwatch(store, source, video_id))
    if as_json:
        json_line({"source": source, "video_id": video_id, "deleted": True})
    else:
        click.echo(f"video {video_id} was removed")


async def _deleted(config: Settings, source: str, video_id: str) -> None:
    from receiver.cli.calling import answer, calling
    from receiver.orders import endpoint_of, openai

    at = endpoint_of(config.sources[source])
    async with calling() as send:
        request = openai.delete_request(at, video_id)
        said = await answer(send, request, source=source, at=at, lacking=_NO_REMOVAL)
    if said.get("deleted") is not True:
        raise CommandFailed(f"{source}: the provider does not say that the video was removed")


async def _unwatch(store: Store, source: str, video_id: str) -> None:
    """Nobody waits for a video that is not there any more."""
    from receiver.store.watches import Ending

    watch = await store.watches.of(source, video_id)
    if watch is not None:
        await store.watches.end(watch.seq, Ending.STOPPED)


Page = tuple[int | None, str | None, str | None]
"""How many, after which, in which order."""


async def _list(config: Settings, source: str, page: Page, *, every: bool, as_json: bool) -> None:
    from receiver import sources
    from receiver.orders import endpoint_of

    kind, at = config.sources[source].kind, endpoint_of(config.sources[source])
    rows, last = [], None
    async for item, is_more in _items(source, at, page, every=every):
        video = sources.video_of(kind, item)
        last = video.id if is_more else None
        if as_json:
            json_line({"source": source, "video": video.model_dump(mode="json"), "payload": item})
        else:
            rows.append(_row(video, item))
    if not as_json:
        columns = ("video", "status", "progress", "model", "size", "seconds", "created", "expires", "prompt")
        table(columns, rows, empty="no videos")
    if last is not None and not every:
        click.echo(f"there are more: --after {last}, or --all", err=True)


async def _items(
    source: str, at: Endpoint, page: Page, *, every: bool
) -> AsyncIterator[tuple[Payload, bool]]:
    """The items of a page, or of all of them, each with whether the provider has more."""
    from receiver.cli.calling import answer, calling
    from receiver.orders import openai

    limit, after, order = page
    seen = {after}
    async with calling() as send:
        while True:
            request = openai.list_request(at, limit=limit, after=after, order=order)
            said = await answer(send, request, source=source, at=at, lacking=_NO_LIST)
            data = said.get("data")
            if not isinstance(data, list):
                raise CommandFailed(f"{source}: the provider's answer is no list of videos")
            items = [item for item in data if isinstance(item, dict)]
            is_more = said.get("has_more") is True and bool(items)
            for item in items:
                yield item, is_more
            after = str(said.get("last_id") or items[-1].get("id")) if items else None
            # Whoever gives the same page again and again would never come to an end.
            if not (every and is_more) or after in seen:
                return
            seen.add(after)


def _row(video: Video, item: Payload) -> tuple[str, ...]:
    prompt = " ".join(str(item.get("prompt") or "-").split())
    return (
        video.id or "-",
        video.status or "-",
        "-" if video.progress is None else f"{video.progress:.0f} %",
        video.model or "-",
        str(item.get("size") or "-"),
        str(item.get("seconds") or "-"),
        _local(video.created_at),
        _local(video.expires_at),
        prompt if len(prompt) <= _LONGEST_PROMPT else f"{prompt[:_LONGEST_PROMPT]}…",
    )


def _local(moment: datetime | None) -> str:
    return "-" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")
