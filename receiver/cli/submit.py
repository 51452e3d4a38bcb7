"""`receiver submit`: ask a provider for a video, and see to it that its end is heard of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from receiver.cli.events import with_store
from receiver.cli.handing import Manner, hand_in
from receiver.cli.options import Common, Text, common
from receiver.cli.orders import order_of, order_options, table_of
from receiver.cli.output import age, iso, json_line, now_ms, table
from receiver.errors import NotFound, UsageError

if TYPE_CHECKING:
    from receiver.settings import Settings
    from receiver.store.submissions import Submission

ANSWERED_MS = 180_000
"""After so long nobody waits for a provider's answer any more."""
_LONGEST_SAID = 60


@click.command
@click.argument("source", type=Text(), required=False)
@order_options
@click.option("--again", is_flag=True, help="Pay a second time for what was submitted already.")
@click.option("--wait", is_flag=True, help="Wait until the video is saved or has failed.")
@click.option("--list", "lists", is_flag=True, help="List what was submitted, the newest first.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="List at most so many."
)
@click.option(
    "--forget", type=Text(), metavar="SUBMISSION", help="Remove one that was looked into from the list."
)
@common
def submit(
    options: Common,
    *,
    source: str | None,
    again: bool,
    wait: bool,
    lists: bool,
    limit: int,
    forget: str | None,
    **given: Any,
) -> None:
    """Ask SOURCE for a video, and print the video's id.

    What is asked for is checked with the provider's limits and recorded before it is paid; the same once
    more is refused without --again. A video that was accepted is watched until its end is recorded.

    Opennote is told to call server.public_url. OpenAI calls the endpoint that is entered at OpenAI, once
    for the whole project: enter https://YOUR-HOST/webhooks/SOURCE there. Gateways never call: they are asked.
    """
    config = options.settings()
    if lists or forget is not None:
        if any(value is not None and value != () for value in given.values()) or again or wait:
            raise UsageError("--list and --forget stand alone")
        if forget is not None:
            _forget(config, forget)
        if lists:
            _list(config, source, limit=limit, as_json=options.as_json)
        return
    if source is None:
        raise click.UsageError("say which source is asked: SOURCE; or --list")
    chosen = table_of(config, source)
    order = order_of(chosen.kind, given)
    manner = Manner(options.as_json, again=again, waits=wait, is_called=not given["no_callback"])
    hand_in(config, source, order, manner)


def _forget(config: Settings, prefix: str) -> None:
    found = with_store(config, lambda store: store.submissions.forget(prefix))
    if not found:
        raise NotFound(f"no submission {prefix!r}")
    if len(found) > 1:
        raise NotFound(f"several submissions begin with {prefix!r}; give more of the id")
    click.echo(f"{found[0]} is forgotten", err=True)


def _list(config: Settings, source: str | None, *, limit: int, as_json: bool) -> None:
    listed = with_store(config, lambda store: store.submissions.page(source=source, limit=limit))
    if as_json:
        for one in listed:
            json_line(_json(one))
        return
    now = now_ms()
    rows = [
        (
            one.id,
            age(one.intended_at, now=now),
            one.source,
            state_of(one, now=now),
            one.video_id or "-",
            _summary(one),
            one.error or "-",
        )
        for one in listed
    ]
    columns = ("submission", "age", "source", "state", "video", "what", "why")
    table(columns, rows, empty="nothing was submitted")


def state_of(submission: Submission, *, now: int) -> str:
    """What is known of it, in a word."""
    if submission.outcome is not None:
        return submission.outcome
    return "under way" if now - submission.intended_at < ANSWERED_MS else "unknown"


def _json(one: Submission) -> dict[str, Any]:
    import orjson

    return {
        "submission": one.id,
        "source": one.source,
        "kind": one.kind,
        "state": state_of(one, now=now_ms()),
        "video_id": one.video_id,
        "error": one.error,
        "intended_at": iso(one.intended_at),
        "settled_at": iso(one.settled_at),
        "request": orjson.loads(one.request),
    }


def _summary(one: Submission) -> str:
    """What it is about, in a few words."""
    import orjson

    asked = orjson.loads(one.request)
    messages = asked.get("messages") or [{}]
    said = asked.get("title") or asked.get("prompt") or asked.get("script") or messages[-1].get("content")
    line = " ".join(str(said or "-").split())
    return line if len(line) <= _LONGEST_SAID else f"{line[:_LONGEST_SAID]}…"
