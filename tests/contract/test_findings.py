"""What providers say of recorded events: their object is kept beside the body, or the event is refuted."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import Unavailable
from receiver.record import Arrival
from receiver.store.base import Store
from receiver.store.findings import Learned
from receiver.store.service import Service
from receiver.store.sqlite import known
from receiver.store.values import Receipt, Rejection, Row
from tests.contract.stand import (
    AGES_AGO,
    ANY,
    Opening,
    arrival,
    claim,
    claim_one,
    failing,
    jobs_of,
    ready,
    settlement,
    waiting,
)

pytestmark = pytest.mark.anyio
OBJECT = '{"id":"v1","object":"video","status":"completed"}'
LATER = 4_000_000_000_000
REJECTION = Rejection(AGES_AGO, "opennote", 200, "the provider says failed", "-")


async def recorded(store: Store, what: str = "completed", **changes: Any) -> Arrival:
    """A new event of a video."""
    sent = arrival(what=what, **changes)
    assert await store.record(sent) == Receipt("accepted", sent.event_id)
    return sent


async def event_of(store: Store, sent: Arrival) -> Row:
    return await store.event(sent.event_id)


# Learning.


async def test_what_is_learned_is_kept_beside_the_body(store: Store) -> None:
    sent = await recorded(store, title=None)

    assert await store.findings.learn(Learned(sent.event_id, OBJECT, title="Cells"))

    event = await event_of(store, sent)
    assert event["object"] == json.loads(OBJECT)
    assert (event["body"], event["title"]) == (sent.body, "Cells")


async def test_whoever_claims_a_job_later_gets_what_was_learned(store: Store) -> None:
    sent = await recorded(store, jobs=[*ready("first"), waiting("save", "first")])
    first = await claim_one(store, "w", "first")
    assert first["object"] is None

    await store.findings.learn(Learned(sent.event_id, OBJECT, expires_at=LATER))
    await store.settle([settlement(first)], worker="w")

    save = await claim_one(store, "w", "save")
    assert save["object"] == json.loads(OBJECT)
    assert save["expires_at"] == LATER


async def test_jobs_whose_link_is_learned_to_expire_go_first(store: Store) -> None:
    plain = await recorded(store, video="v1", jobs=[*ready("first"), waiting("save", "first")])
    soon = await recorded(store, video="v2", jobs=[*ready("first"), waiting("save", "first")])
    for job in await claim(store, "w", "first"):
        if job["id"] == soon.event_id:
            await store.findings.learn(Learned(soon.event_id, OBJECT, expires_at=LATER))
        await store.settle([settlement(job)], worker="w")

    claimed = await claim(store, "w", "save", count=2)

    assert [job["id"] for job in claimed] == [soon.event_id, plain.event_id]


async def test_jobs_that_have_ended_keep_their_time(store: Store) -> None:
    sent = await recorded(store, jobs=ready("done", "open"))
    await store.settle([settlement(await claim_one(store, "w", "done"))], worker="w")

    await store.findings.learn(Learned(sent.event_id, OBJECT, expires_at=LATER))

    jobs = await jobs_of(store, sent.event_id)
    assert (jobs["done"]["expires_at"], jobs["open"]["expires_at"]) == (None, LATER)


async def test_learning_again_is_learning_what_came_last(store: Store) -> None:
    sent = await recorded(store, title="A title", expires_at=LATER, jobs=ready("save"))

    for _ in range(2):
        assert await store.findings.learn(Learned(sent.event_id, OBJECT))
    assert await store.findings.learn(Learned(sent.event_id, '{"status":"archived"}', title="x" * 2000))

    event = await event_of(store, sent)
    assert event["object"] == {"status": "archived"}
    assert event["title"] == "x" * 1000
    assert (await jobs_of(store, sent.event_id))["save"]["expires_at"] is None, "it isn't known"


async def test_nothing_is_learned_of_an_event_that_is_not_there(store: Store) -> None:
    assert not await store.findings.learn(Learned("evt_nobody", OBJECT))


# Refuting.


async def test_a_refuted_event_stays_with_a_mark_and_is_told_among_the_rejections(store: Store) -> None:
    sent = await recorded(store, warnings=["request_id_rewritten"], jobs=ready("save"))

    assert await store.findings.refute(sent.event_id, REJECTION)

    event = await event_of(store, sent)
    assert event["warnings"] == ["request_id_rewritten", "refuted"]
    assert event["body"] == sent.body
    assert [job["state"] for job in event["jobs"]] == ["ready"], "jobs are settled by whoever has them"
    (rejection,) = await store.rejections(limit=10)
    assert rejection == REJECTION._asdict()


async def test_a_refuted_event_does_not_stand_in_the_way_of_the_true_one(store: Store) -> None:
    forged = await recorded(store, content="url https://s3/forged")
    await store.findings.refute(forged.event_id, REJECTION)

    true = await recorded(store, content="url https://s3/true")
    again = await store.record(arrival(content="url https://s3/true"))

    assert again == Receipt("duplicate", true.event_id)
    assert (await event_of(store, true))["conflict"] == 0


@pytest.mark.parametrize(
    ("forged", "true", "warnings"),
    [("completed", "failed", []), ("failed", "completed", []), ("completed", "progress", [])],
)
async def test_what_was_refuted_hides_no_other_news(
    store: Store, forged: str, true: str, warnings: list[str]
) -> None:
    await store.findings.refute((await recorded(store, forged)).event_id, REJECTION)

    assert (await event_of(store, await recorded(store, true)))["warnings"] == warnings


async def test_other_events_of_the_video_are_known_as_before(store: Store) -> None:
    progress = await recorded(store, "progress")
    forged = await recorded(store)
    await store.findings.refute(forged.event_id, REJECTION)

    assert await store.record(arrival(what="progress")) == Receipt("duplicate", progress.event_id)


async def test_refuting_again_changes_nothing(store: Store) -> None:
    forged = await recorded(store)
    assert await store.findings.refute(forged.event_id, REJECTION)
    true = await recorded(store)

    assert not await store.findings.refute(forged.event_id, REJECTION)

    assert len(await store.rejections(limit=10)) == 1
    assert (await event_of(store, forged))["warnings"] == ["refuted"]
    assert await store.record(arrival()) == Receipt("duplicate", true.event_id)


async def test_nobody_refutes_an_event_that_is_not_there(store: Store) -> None:
    assert not await store.findings.refute("evt_nobody", REJECTION)
    assert await store.rejections(limit=10) == []


async def test_a_refuted_event_is_still_found_by_its_video(store: Store) -> None:
    forged = await recorded(store)
    await store.findings.refute(forged.event_id, REJECTION)
    true = await recorded(store)

    found = await store.events(ANY._replace(video="v1"), limit=10, before=None)

    assert [row["id"] for row in found] == [true.event_id, forged.event_id]


async def test_a_refutation_outlives_the_store(opening: Opening, database: Path) -> None:
    async with opening(database) as store:
        forged = await recorded(store)
        await store.findings.refute(forged.event_id, REJECTION)
    async with opening(database) as store:
        true = await recorded(store)
    async with opening(database) as store:
        assert await store.record(arrival()) == Receipt("duplicate", true.event_id)


@pytest.mark.parametrize("is_refuted_late", [False, True])
async def test_a_refutation_holds_wherever_the_event_is_known_from(
    database: Path, monkeypatch: pytest.MonkeyPatch, is_refuted_late: bool
) -> None:
    monkeypatch.setattr(known, "GENERATION", 10)
    store = Service(database, run="r", lease_seconds=60)
    forged = [await recorded(store, video=f"v{number}") for number in range(25)]
    if is_refuted_late:  # by now most of them are in the table
        for number in range(100, 130):
            await recorded(store, video=f"v{number}")
    for sent in forged:
        assert await store.findings.refute(sent.event_id, REJECTION)

    true = [await recorded(store, video=f"v{number}") for number in range(25)]

    verdicts = [await store.record(arrival(f"v{number}")) for number in range(25)]
    assert verdicts == [Receipt("duplicate", sent.event_id) for sent in true]
    await store.close()


@pytest.mark.fault("C3")
async def test_a_refutation_that_fails_is_none(store: Store, database: Path) -> None:
    sent = await recorded(store)
    with failing(database, "INSERT ON rejections"), pytest.raises(Unavailable):
        await store.findings.refute(sent.event_id, REJECTION)

    assert await store.record(arrival()) == Receipt("duplicate", sent.event_id)
    assert (await event_of(store, sent))["warnings"] == []
    assert await store.findings.refute(sent.event_id, REJECTION)


async def test_what_is_refuted_is_removed_in_time_like_anything_else(store: Store, database: Path) -> None:
    from receiver.store.values import Keep

    forged = await recorded(store)
    await store.findings.refute(forged.event_id, REJECTION)
    await recorded(store)
    keep = Keep(LATER, LATER, LATER)

    pruned = None
    while pruned is None or pruned.step is not None:
        pruned = await store.prune(keep, pruned and pruned.step)

    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
    assert (await store.record(arrival())).verdict == "accepted"
