"""Stored deliveries posted again, over any store: what ends it early, and what is on record then."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from receiver import replay, settings, sources
from receiver.bodies import Bodies
from receiver.egress import parse
from receiver.fetch import Fetcher
from receiver.replay import Occasion, Standing
from receiver.repost import Posted, Reposting
from receiver.store.base import Store
from receiver.store.values import EventFilter
from tests.contract.stand import AGES_AGO, arrival
from tests.sink import said, sinking

EVERYTHING = Occasion("ann@laptop", wanted=EventFilter())
TABLE = {"kind": "opennote", "organization_id": "org", "api_keys": ["key"]}


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(max_bytes=1)
    yield fetcher
    await fetcher.aclose()


async def begun(store: Store, seqs: Sequence[int]) -> Standing:
    """Three events that are to be posted."""
    for video in ("v1", "v2", "v3"):
        await store.record(arrival(video))
    return await replay.begin(
        store, EVERYTHING, selected=len(seqs), wish=None, now=AGES_AGO, random=os.urandom
    )


def reposting(fetcher: Fetcher, url: str, folder: Path, **more: float) -> Reposting:
    config = settings.parse({"sources": {"opennote": TABLE}}, folder=folder)
    return Reposting(
        parse(url),
        sources=sources.configured(config),
        bodies=Bodies(folder),
        fetcher=fetcher,
        last_seconds=0.05,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.anyio
@pytest.mark.parametrize("waits_for", ["an answer", "the rate", "another try"])
async def test_whatever_it_waits_for_a_stop_ends_it_and_the_record_says_where(
    store: Store, fetcher: Fetcher, tmp_path: Path, waits_for: str
) -> None:
    standing = await begun(store, [1, 2, 3])
    stop, seen, loop = asyncio.Event(), list[Posted](), asyncio.get_running_loop()

    def told(posted: Posted, standing: Standing) -> None:
        seen.append(posted)
        loop.call_later(0.05, stop.set)

    with sinking() as sink:

        def answer(connection: socket.socket) -> None:
            if waits_for == "another try":
                connection.sendall(said("503 No", "Retry-After: 3600\r\n"))
            loop.call_soon_threadsafe(loop.call_later, 0.05, stop.set)
            sink.hang(connection)

        url = sink.answer("/", said("204 No Content") if waits_for == "the rate" else answer)
        posting = reposting(fetcher, url, tmp_path, rate=1 / 3600, retries=3)
        async with asyncio.timeout(15):
            standing = await posting.run(store, [1, 2, 3], standing, stop=stop, told=told)

    (posted,) = seen
    assert len(sink.requests) == 1
    assert (standing.events, standing.jobs, standing.is_through) == (posted.is_accepted, 1, False)
    assert posted.is_accepted == (waits_for == "the rate")
    (row,) = await store.replays.last()
    assert (row["status"], row["events"], row["jobs"], row["failed"]) == (
        "stopped",
        standing.events,
        1,
        1 - posted.is_accepted,
    )


@pytest.mark.anyio
async def test_events_that_have_been_removed_since_they_were_chosen_are_passed_over(
    store: Store, fetcher: Fetcher, tmp_path: Path
) -> None:
    seqs = [1, 77, 2, 99]
    standing = await begun(store, seqs)
    with sinking() as sink:
        standing = await reposting(fetcher, sink.base, tmp_path).run(
            store, seqs, standing, stop=asyncio.Event(), told=lambda posted, standing: None
        )
        assert len(sink.requests) == 2

    assert (standing.events, standing.jobs, standing.is_through) == (4, 2, True)
    (row,) = await store.replays.last()
    assert (row["status"], row["events"], row["jobs"]) == ("finished", 4, 2)


@pytest.mark.anyio
async def test_what_can_not_be_sent_is_not_tried_again(
    store: Store, fetcher: Fetcher, tmp_path: Path
) -> None:
    await store.record(arrival("v1", body=None, body_sha256="0" * 64, payload="{}", strings="[]"))
    (row,) = await store.copies.give([1], limit=1)
    with sinking() as sink:
        posted = await reposting(fetcher, sink.base, tmp_path, retries=3).post(row, 1)

        assert (posted.status, posted.requests, posted.error) == (None, 0, "the body is gone")
        assert sink.requests == []


@pytest.mark.anyio
@pytest.mark.fault("S13")
async def test_the_operators_own_network_may_be_named_but_not_where_clouds_keep_their_keys(
    store: Store, tmp_path: Path
) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "169.254.169.254"]

    await store.record(arrival("v1"))
    (row,) = await store.copies.give([1], limit=1)
    fetcher = Fetcher(max_bytes=1, resolver=resolve)
    posted = await reposting(fetcher, "https://staging.example/", tmp_path, retries=3).post(row, 1)
    await fetcher.aclose()

    assert posted.error == "the host's address is neither a public nor a private one"
    assert posted.requests == 0
