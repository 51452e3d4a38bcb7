"""What was recorded elsewhere, in any store: taken as it stands, once; and given away as it was taken."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver import retention
from receiver.bodies import Bodies
from receiver.body import ReceivedBody, read_small
from receiver.copies import copy_of, line_of, read_line
from receiver.record import Arrival, Wish
from receiver.sources.base import Admission
from receiver.store.base import Store
from receiver.store.copies import COPIED, KNOWN, STRAY, Copy, Finding, KeptVideo
from receiver.store.findings import Learned
from receiver.store.service import wall_ms
from receiver.store.values import Keep, Rejection, Row
from receiver.store.watches import NewWatch
from tests.contract.stand import (
    AGES_AGO,
    ANY,
    PATIENCE_SECONDS,
    Opening,
    arrival,
    begun,
    cards,
    claim,
    claim_one,
    in_this_process,
    ready,
    settlement,
    states_of,
    waiting,
)

NOW = AGES_AGO + 1_000_000
DIGEST = "ab" * 32


def copy(news: Arrival, verdict: str = "accepted", **changes: Any) -> Copy:
    return Copy(news, verdict, 1, NOW)._replace(**changes)


async def given(store: Store) -> list[Row]:
    """All that a store gives away, but for its own numbers."""
    seqs = await store.replays.select(ANY, limit=100)
    rows = await store.copies.give(seqs[::-1])
    return [{name: value for name, value in row.items() if name != "seq"} for row in rows]


async def handed_over(store: Store, other: Store) -> list[str]:
    """Take all that one store gives into another, by way of the lines that travel."""
    copies = []
    for row in await given(store):
        delivery = read_line(orjson.dumps(line_of(row)))
        body = ReceivedBody(None, row["body_sha256"], row["bytes"], {})
        if delivery.body is not None:
            body = read_small(delivery.body.encode(), Admission())
        copies.append(copy_of(delivery, body, now=NOW))
    return await other.copies.take(copies)


@pytest.mark.anyio
async def test_a_copy_keeps_its_id_its_times_and_its_way_in(store: Store) -> None:
    news = arrival(
        via="poll",
        title="Cells",
        warnings=["no_id"],
        content="url x",
        progress=40.5,
        headers='[["content-type","application/json"],["x-api-key","redacted:0a1b2c3d"]]',
    )
    late = news._replace(received_at=AGES_AGO + 5, via="callback")

    taken = await store.copies.take([copy(news), copy(late, "duplicate"), copy(late, "conflict")])

    assert taken == [COPIED, COPIED, COPIED]
    event = await store.event(news.event_id)
    assert (event["id"], event["received_at"], event["title"]) == (news.event_id, AGES_AGO, "Cells")
    assert (event["duplicates"], event["conflict"], event["warnings"], event["jobs"]) == (2, 1, ["no_id"], [])
    deliveries = [(one["verdict"], one["via"], one["received_at"]) for one in event["deliveries"]]
    assert deliveries == [
        ("accepted", "poll", AGES_AGO),
        ("duplicate", "callback", AGES_AGO + 5),
        ("conflict", "callback", AGES_AGO + 5),
    ]
    assert event["deliveries"][0]["headers"][1] == ["x-api-key", "redacted:0a1b2c3d"]


@pytest.mark.anyio
async def test_what_is_there_already_is_known_by_id_or_by_key_and_gets_no_jobs(store: Store) -> None:
    own = arrival("own", jobs=ready("save"))
    await store.record(own)
    other = arrival("own", jobs=ready("save"))
    foreign = arrival("foreign", jobs=ready("save"))

    assert await store.copies.take([copy(foreign), copy(foreign), copy(other), copy(own)]) == [
        COPIED,
        KNOWN,
        KNOWN,
        KNOWN,
    ]

    assert len(await claim(store, "w", "save")) == 2, "one each of the two events"
    assert (await store.event(own.event_id))["duplicates"] == 0


@pytest.mark.anyio
async def test_a_repeated_delivery_is_taken_as_often_as_it_came(store: Store) -> None:
    news = arrival()
    again = copy(news, "duplicate")
    assert await store.copies.take([copy(news), again, again._replace(nth=2)]) == [COPIED] * 3

    assert await store.copies.take([again, again._replace(nth=2), again._replace(nth=3)]) == [
        KNOWN,
        KNOWN,
        COPIED,
    ]

    assert (await store.event(news.event_id))["duplicates"] == 3


@pytest.mark.anyio
async def test_a_repeated_delivery_of_an_event_that_nobody_knows_is_a_stray(store: Store) -> None:
    assert await store.copies.take([copy(arrival(), "duplicate")]) == [STRAY]
    assert await store.events(ANY, limit=10, before=None) == []


@pytest.mark.anyio
async def test_a_callback_for_a_copied_event_is_a_duplicate(store: Store) -> None:
    news = arrival("v1")
    await store.copies.take([copy(news)])

    receipt = await store.record(arrival("v1", received_at=AGES_AGO + 7))

    assert (receipt.verdict, receipt.event_id) == ("duplicate", news.event_id)


@pytest.mark.anyio
async def test_a_copy_may_bring_jobs_and_wakes_whoever_waits_for_them(store: Store) -> None:
    news = arrival(jobs=[*ready("save"), waiting("probe", "save")], expires_at=NOW + 5)
    async with asyncio.timeout(PATIENCE_SECONDS):
        claiming = asyncio.create_task(claim(store, "w", "save", wait_ms=60_000))
        await store.status()  # answered after the claim has begun to wait
        await store.copies.take([copy(news, at=wall_ms())])
        (job,) = await claiming
    assert (job["id"], job["expires_at"], job["replay"]) == (news.event_id, NOW + 5, None)
    await store.settle([settlement(job)], worker="w")
    assert (await claim_one(store, "w", "probe"))["results"] == {"save": None}


@pytest.mark.anyio
async def test_what_one_store_gives_another_one_gives_again_byte_for_byte(
    store: Store, tmp_path: Path
) -> None:
    for number in range(3):
        await store.record(arrival(f"v{number}", received_at=AGES_AGO + 10 - number))
    await store.record(arrival("v1", received_at=AGES_AGO + 20))
    await store.record(arrival("v1", "failed", received_at=AGES_AGO + 21))
    await store.record(
        arrival("large", body=None, body_sha256=DIGEST, size=70_000, payload="{}", strings="[]")
    )
    await store.record(arrival("v2", "progress", progress=10))

    async with in_this_process(tmp_path / "other.db") as other:
        assert set(await handed_over(store, other)) == {COPIED}
        assert set(await handed_over(store, other)) == {KNOWN}
        assert await given(other) == await given(store)


@pytest.mark.anyio
async def test_deliveries_are_given_in_pieces_that_fit_together(store: Store) -> None:
    for number in range(3):
        await store.record(arrival(f"v{number}"))
        await store.record(arrival(f"v{number}", received_at=AGES_AGO + 1))
    events = await store.replays.select(ANY, limit=2)

    pieces: list[Row] = []
    while piece := await store.copies.give(
        events, after=(pieces[-1]["place"], pieces[-1]["seq"]) if pieces else (-1, 0), limit=3
    ):
        pieces += piece

    assert [(row["video_id"], row["verdict"]) for row in pieces] == [
        ("v2", "accepted"),
        ("v2", "duplicate"),
        ("v1", "accepted"),
        ("v1", "duplicate"),
    ]
    assert pieces == await store.copies.give(events)


@pytest.mark.anyio
async def test_a_body_file_is_known_by_its_delivery_whichever_that_was(store: Store) -> None:
    large: dict[str, Any] = {"body": None, "payload": "{}", "strings": "[]", "size": 70_000}
    event = (await store.record(arrival("v1"))).event_id
    await store.record(arrival("v1", received_at=AGES_AGO + 1, body_sha256="a" * 64, **large))
    await store.record(arrival("v2", body_sha256="b" * 64, **large))
    seq = (await store.event(event))["seq"]

    assert await store.copies.carried(seq, "a" * 64) == {"body_sha256": "a" * 64, "body_removed_at": None}
    assert await store.copies.carried(seq, "b" * 64) is None


# Retention.


def kept(bodies: Bodies, content: bytes) -> KeptVideo:
    """A video among the body files."""
    digest = hashlib.sha256(content).hexdigest()
    spool = bodies.spool()
    spool.write(content)
    spool.keep(digest)
    return KeptVideo(digest, len(content))


@pytest.mark.anyio
async def test_a_copy_is_as_old_as_its_copying(store: Store) -> None:
    bodies = Bodies(Path("/nonexistent"))
    await store.copies.take([copy(arrival("old"), at=NOW), copy(arrival("older"), at=NOW - 10)])
    keep = Keep(NOW - 5, NOW - 5, NOW - 5)

    assert (await retention.plan(store, bodies, keep)).events == 1
    await retention.prune(store, bodies, keep)

    assert [row["video_id"] for row in await store.events(ANY, limit=10, before=None)] == ["old"]


@pytest.mark.anyio
async def test_a_kept_video_has_a_row_and_goes_with_its_event(store: Store, tmp_path: Path) -> None:
    bodies = Bodies(tmp_path / "bodies")
    video = kept(bodies, b"a video")
    first, second = arrival("v1"), arrival("v2")
    await store.copies.take([copy(first, video=video), copy(second, video=video, at=NOW + 10)])
    assert await store.bodies_in_use([video.sha256, DIGEST]) == [video.sha256]
    assert await store.all_bodies() == [video.sha256]
    assert [row["video_sha256"] for row in await given(store)] == [video.sha256] * 2

    await retention.prune(store, bodies, Keep(NOW + 1, NOW + 1, NOW + 1))
    assert bodies.path(video.sha256).exists(), "the other event has it, too"

    await retention.prune(store, bodies, Keep(NOW + 20, NOW + 20, NOW + 20))
    assert await store.all_bodies() == []


@pytest.mark.anyio
async def test_a_kept_video_may_go_before_its_event(store: Store, tmp_path: Path) -> None:
    bodies = Bodies(tmp_path / "bodies")
    video = kept(bodies, b"a video")
    await store.copies.take([copy(arrival("v1"), video=video)])

    await retention.prune(store, bodies, Keep(0, 0, NOW + 1))

    assert await store.all_bodies() == []
    assert [row["video_sha256"] for row in await given(store)] == [None]


@pytest.mark.anyio
async def test_a_bookmark_is_there_when_the_store_is_opened_again(opening: Opening, database: Path) -> None:
    async with opening(database) as store:
        assert await store.copies.bookmark("one") is None
        for place in ("a", "b"):
            await store.copies.set_bookmark("one", place)
        await store.copies.set_bookmark("two", "c")
    async with opening(database) as store:
        assert [await store.copies.bookmark(name) for name in ("one", "two", "on")] == ["b", "c", None]


# What providers have said.


@pytest.mark.anyio
async def test_what_a_provider_said_of_an_event_comes_along(store: Store, tmp_path: Path) -> None:
    told, denied = arrival("v1"), arrival("v2")
    await store.record(told)
    await store.record(denied)
    await store.findings.learn(Learned(told.event_id, '{"status":"completed","n":1}', "A title", None))
    await store.findings.refute(denied.event_id, Rejection(NOW, "opennote", 200, "refuted", "-"))

    async with in_this_process(tmp_path / "other.db") as other:
        assert await handed_over(store, other) == [COPIED, COPIED]
        assert await given(other) == await given(store)
        copied = await other.event(told.event_id)
        assert copied["object"] == {"status": "completed", "n": 1}
        news = arrival("v2")
        assert (await other.record(news)).event_id == news.event_id, "what was denied stands in nobody's way"
        assert await handed_over(store, other) == [KNOWN, KNOWN]


@pytest.mark.anyio
async def test_what_is_looked_up_already_is_not_looked_up_again_by_a_replay(store: Store) -> None:
    news = arrival("v1")
    await store.copies.take([copy(news, finding=Finding('{"status":"completed"}', None))])
    other = arrival("v2")
    await store.copies.take([copy(other)])
    first = ("opennote", "opennote", "video.completed", "callback", "receiver.retrieve")
    wish = Wish(cards(*ready("save")), firsts=[first])
    await store.replays.begin(begun("r1"))

    await store.replays.make("r1", await store.replays.find([news.event_id, other.event_id]), wish)

    assert await states_of(store, news.event_id) == {"save": "ready"}
    assert await states_of(store, other.event_id) == {"receiver.retrieve": "ready", "save": "waiting"}
    (job,) = await claim(store, "w", "save")
    assert (job["object"], job["results"]) == ({"status": "completed"}, {})


@pytest.mark.anyio
async def test_a_copied_end_ends_the_watch_of_its_video(store: Store) -> None:
    watch = NewWatch("opennote", "opennote", "v1@org", "v1", NOW, NOW + 10**9)
    await store.watches.add([watch])

    await store.copies.take([copy(arrival("v1"))])

    found = await store.watches.of("opennote", "v1")
    assert found is not None
    assert found.ending == "completed"
