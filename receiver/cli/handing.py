"""Handing in an order: paying, saying what came of it, and waiting for the video if that is wanted."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from receiver.cli.output import age, json_line, now_ms, plain
from receiver.errors import CommandFailed, Hopeless, UsageError

if TYPE_CHECKING:
    from receiver.cli.calling import Send
    from receiver.cli.standing import Standing
    from receiver.orders import Order
    from receiver.settings import Settings
    from receiver.store.submissions import Submission
    from receiver.submitting import Asked, Desk


class Manner(NamedTuple):
    """How an order is handed in."""

    as_json: bool
    again: bool = False
    """Whether paying twice for the same is meant."""
    waits: bool = False
    """Whether the video is waited for."""
    is_called: bool = True
    """Whether a callback is waited for, where there may be one."""


def hand_in(config: Settings, source: str, order: Order, manner: Manner) -> None:
    """Submit an order, and say what came of it. Raise UsageError, CommandFailed."""
    callback = _callback(config, source) if manner.is_called else None
    asyncio.run(_from_order_to_end(config, source, order, callback, manner))


def _callback(config: Settings, source: str) -> str | None:
    """Where the provider calls, for those that are told so. Raise UsageError when nobody knows."""
    if config.sources[source].kind != "opennote":
        return None
    if config.server.public_url is None:
        raise UsageError(
            "server.public_url is not set, so that nobody could call; set it, or ask instead: --no-callback"
        )
    return f"{config.server.public_url.rstrip('/')}/webhooks/{source}"


async def _from_order_to_end(
    config: Settings, source: str, order: Order, callback: str | None, manner: Manner
) -> None:
    from receiver.cli import waiting

    if manner.waits:
        await waiting.find_server(config)
    told = await _submitted(config, source, order, callback, manner)
    if not manner.as_json:
        click.echo(plain(told["video_id"]))
    elif not manner.waits:
        json_line(told)
    if manner.waits:
        await _followed(config, told, as_json=manner.as_json)
    elif not await waiting.is_running(config):
        click.echo("no server is running now; the next `receiver serve` asks how it stands", err=True)


async def _submitted(
    config: Settings, source: str, order: Order, callback: str | None, manner: Manner
) -> dict[str, Any]:
    """Send it, and say what was accepted. Raise CommandFailed, with the reason in JSON, too."""
    try:
        asked = await _asked(config, source, order, callback, manner)
    except asyncio.CancelledError:
        click.echo("interrupted; `receiver submit --list` says what may have been paid for", err=True)
        raise
    reply = asked.reply
    told = {
        "submission": asked.submission,
        "source": source,
        "state": reply.state,
        "video_id": reply.video_id,
    }
    if reply.video_id is not None:
        return {**told, "video": _normal_form(config.sources[source].kind, asked.payload)}
    if manner.as_json:
        json_line({**told, "error": reply.reason})
    raise CommandFailed(_unaccepted(source, asked))


async def _asked(config: Settings, source: str, order: Order, callback: str | None, manner: Manner) -> Asked:
    """Send it. Raise CommandFailed when the same was submitted before, or nothing can be sent."""
    from receiver import orders
    from receiver.cli.calling import calling
    from receiver.store.submissions import Submission

    chosen = config.sources[source]
    at = orders.endpoint_of(chosen)
    boundary = f"receiver-{secrets.token_hex(16)}"
    request = orders.request(chosen.kind, order, at=at, callback=callback, boundary=boundary)
    async with calling() as send:
        desk = _desk(config, source, at.key, send, manner)
        try:
            asked = await desk.hand_in(order, request, again=manner.again)
        except Hopeless as error:
            raise CommandFailed(f"{source}: {error}") from error
    if isinstance(asked, Submission):
        raise CommandFailed(_same(asked))
    return asked


def _desk(config: Settings, name: str, key: str, send: Send, manner: Manner) -> Desk:
    from receiver import sources, store
    from receiver.submitting import Desk
    from receiver.watching import Patience

    source = sources.configured(config)[name]
    # Whoever waits wants to see how far it is, which no callback tells.
    is_left_alone = manner.is_called and source.receives_callbacks and not manner.waits
    wait = config.watch.missed_after if is_left_alone else config.watch.first_interval
    return Desk(
        source,
        key,
        Patience.of(wait=wait, deadline=config.watch.deadline),
        lambda: store.opened(config.database, lease_seconds=config.worker.lease.total_seconds()),
        send,
        secrets.token_bytes,
    )


def _same(earlier: Submission) -> str:
    """Why the same order is not sent again."""
    when = age(earlier.intended_at, now=now_ms())
    became = {"accepted": f"it is video {earlier.video_id}", "unknown": f"unclear: {earlier.error}"}
    said = became.get(earlier.outcome or "", "no answer has been noted")
    return (
        f"the same was submitted {when} ago ({earlier.id}): {said}; nothing was sent now. "
        "To pay for it a second time: --again"
    )


def _unaccepted(source: str, asked: Asked) -> str:
    reason = f"{source}: {asked.reply.reason}"
    if asked.reply.state == "refused":
        return reason
    return f"{reason}; it may have been paid for ({asked.submission}, see `receiver submit --list`)"


def _normal_form(kind: str, payload: Any) -> dict[str, Any]:
    from receiver import sources

    return sources.video_of(kind, payload).model_dump(mode="json")


async def _followed(config: Settings, told: dict[str, Any], *, as_json: bool) -> None:
    """Wait for the end and tell it. Raise CommandFailed for a video that was not saved."""
    from receiver.cli import waiting

    source, video_id = told["source"], told["video_id"]
    try:
        with waiting.display(silent=as_json) as show:
            ending = await waiting.follow(config, source, video_id, show=show)
    except asyncio.CancelledError:
        click.echo(f"the video goes on; {waiting.how_to_look(video_id)}", err=True)
        raise
    except CommandFailed as error:  # the video is paid for: whoever reads JSON gets its id
        if as_json:
            json_line({**told, "error": str(error)})
        raise
    _tell_ending(ending, told if as_json else None)


def _tell_ending(ending: Standing, told: dict[str, Any] | None) -> None:
    """The last line. Raise CommandFailed for a video that was not saved."""
    if told is not None:
        saved = {key: ending.result.get(key) for key in ("path", "bytes", "sha256")}
        reason = ending.said if ending.ending == "failed" else None
        json_line({**told, "state": ending.ending, "event": ending.event, **saved, "error": reason})
    elif ending.ending != "failed":
        click.echo(plain(ending.said))
    if ending.ending == "failed":
        raise CommandFailed(plain(ending.said))
