"""`receiver replay --to URL`: one line for each request."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from receiver.cli.options import Common
from receiver.cli.output import bytes_in_words, json_line, now_ms, painted
from receiver.cli.progress import until_interrupted
from receiver.cli.replays import INTERRUPTED, reached, tell_where

if TYPE_CHECKING:
    import httpx

    from receiver.replay import Occasion, Standing
    from receiver.repost import Posted
    from receiver.settings import Settings
    from receiver.store.base import Store


async def repost(
    options: Common,
    config: Settings,
    store: Store,
    seqs: Sequence[int],
    occasion: Occasion,
    *,
    target: httpx.URL,
    retries: int,
    rate: float | None,
) -> int:
    """Post the deliveries of these events; return the exit status: 1 when any was not accepted."""
    from receiver import replay, sources
    from receiver.bodies import Bodies
    from receiver.fetch import Fetcher
    from receiver.repost import Reposting

    fetcher = Fetcher(max_bytes=config.worker.max_video)
    reposting = Reposting(
        target,
        sources=sources.configured(config),
        bodies=Bodies(config.bodies_folder),
        fetcher=fetcher,
        retries=retries,
        rate=rate,
    )

    try:
        with until_interrupted() as stop:
            begun = await replay.begin(
                store, occasion, selected=len(seqs), wish=None, now=now_ms(), random=os.urandom
            )
            with reached(begun, as_json=options.as_json, what="requests") as reach:

                def told(posted: Posted, standing: Standing) -> None:
                    _tell(posted, as_json=options.as_json)
                    reach(standing)

                standing = await reposting.run(store, seqs, begun, stop=stop, told=told)
    finally:
        await fetcher.aclose()
    if not standing.is_through:
        await tell_where(store, seqs, standing)
        return INTERRUPTED
    return int(standing.failed > 0)


def _tell(posted: Posted, *, as_json: bool) -> None:
    if as_json:
        json_line(posted._asdict())
        return
    status = painted(str(posted.status or "---"), "green" if posted.is_accepted else "red")
    tried = f" after {posted.requests} requests" if posted.requests > 1 else ""
    size = bytes_in_words(posted.bytes)
    said = f": {posted.error}" if posted.error else ""
    click.echo(
        f"{status} {posted.seconds * 1000:7.0f} ms  {posted.event} {posted.delivery} "
        f"({posted.verdict}, {size}){tried}{said}"
    )
