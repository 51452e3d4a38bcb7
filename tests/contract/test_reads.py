"""What people look at, in any store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import NotFound
from receiver.store.base import Store
from receiver.store.values import EventFilter, Row
from tests.contract.stand import (
    AGES_AGO,
    ANY,
    Opening,
    arrival,
    claim_one,
    ready,
    settlement,
    waiting,
)


async def found(store: Store, *, limit: int = 100, before: int | None = None, **wanted: Any) -> Sequence[str]:
    rows = await store.events(EventFilter(**wanted), limit=limit, before=before)
    return [row["video_id"] for row in rows]


async def five_events(store: Store) -> None:
    """v0 to v4, a second apart: v3 is from another source, v2 failed; a job of v1 is done, of v4 dead."""
    for number, (source, what) in enumerate(
        [
            ("one", "completed"),
            ("one", "completed"),
            ("one", "failed"),
            ("two", "completed"),
            ("one", "completed"),
        ]
    ):
        await store.record(
            arrival(
                f"v{number}",
                what,
                source=source,
                received_at=AGES_AGO + number * 1000,
                jobs=[*ready(f"h{number}"), waiting("after", f"h{number}")],
            )
        )
    done, dead = await claim_one(store, "w", "h1"), await claim_one(store, "w", "h4")
    await store.settle([settlement(done), settlement(dead, "fail", error="no")], worker="w")
    await claim_one(store, "w", "h0")


FILTERS: list[tuple[dict[str, Any], str]] = [
    ({}, "v4 v3 v2 v1 v0"),
    ({"source": "two"}, "v3"),
    ({"source": "three"}, ""),
    ({"type": "video.failed"}, "v2"),
    ({"video": "v1"}, "v1"),
    ({"video": "v"}, ""),
    ({"video": "v3", "source": "two", "type": "video.completed", "state": "ready"}, "v3"),
    ({"video": "v3", "source": "one"}, ""),
    ({"video": "v3", "type": "video.failed"}, ""),
    ({"video": "v3", "state": "dead"}, ""),
    ({"video": "v3", "since": AGES_AGO + 3000, "until": AGES_AGO + 3001}, "v3"),
    ({"video": "v3", "until": AGES_AGO + 3000}, ""),
    ({"video": "v3", "since": AGES_AGO + 3001}, ""),
    ({"since": AGES_AGO + 2000}, "v4 v3 v2"),
    ({"until": AGES_AGO + 2000}, "v1 v0"),
    ({"since": AGES_AGO + 1000, "until": AGES_AGO + 3000, "source": "one"}, "v2 v1"),
    ({"state": "dead"}, "v4"),
    ({"state": "done"}, "v1"),
    ({"state": "running"}, "v0"),
    ({"state": "ready"}, "v3 v2 v1"),
    ({"state": "waiting"}, "v3 v2 v0"),
    ({"state": "cancelled"}, "v4"),
    ({"state": "cancelled", "type": "video.failed"}, ""),
    ({"source": "one' OR '1'='1"}, ""),
]


@pytest.mark.anyio
async def test_events_are_filtered_newest_first(store: Store) -> None:
    await five_events(store)
    for wanted, videos in FILTERS:
        assert await found(store, **wanted) == videos.split(), wanted


@pytest.mark.anyio
async def test_pages_follow_the_order_of_recording_without_gap_or_repetition(store: Store) -> None:
    for number in range(7):
        await store.record(arrival(f"v{number}", received_at=AGES_AGO - number))  # later ones look older
    pages, before = [], None
    for _ in range(4):
        page = await store.events(ANY, limit=3, before=before)
        pages.append([row["video_id"] for row in page])
        before = page[-1]["seq"] if page else None
        await store.record(arrival(f"new{len(pages)}"))
    assert pages == [["v6", "v5", "v4"], ["v3", "v2", "v1"], ["v0"], []]


@pytest.mark.anyio
async def test_a_video_is_found_with_all_its_events_and_none_of_its_namesakes(store: Store) -> None:
    for video in ("v", "v@org", "v1", "va", "V", "v@"):
        for what in ("progress", "completed"):
            await store.record(arrival(video, what))
    for video in ("v", "v@org", "v@"):
        rows = await store.events(EventFilter(video=video), limit=9, before=None)
        assert [(row["video_id"], row["what"]) for row in rows] == [(video, "completed"), (video, "progress")]
        page = await store.events(EventFilter(video=video), limit=9, before=rows[0]["seq"])
        assert [row["what"] for row in page] == ["progress"]


@pytest.mark.anyio
async def test_a_listed_event_has_its_fields_and_its_jobs(store: Store) -> None:
    first = arrival(what="completed", jobs=[*ready("save"), waiting("probe", "save")], progress=100.0)
    await store.record(first)
    (row,) = await store.events(ANY, limit=9, before=None)
    jobs = row.pop("jobs")
    assert row.pop("seq") > 0
    assert row == {
        "id": first.event_id,
        "source": "opennote",
        "kind": "opennote",
        "type": "video.completed",
        "identity": "v1@org",
        "what": "completed",
        "video_id": "v1",
        "status": "completed",
        "progress": 100.0,
        "title": "A title",
        "received_at": AGES_AGO,
        "duplicates": 0,
        "conflict": 0,
        "warnings": [],
        "bytes": 13,
        "watch_status": None,
        "watch_progress": None,
    }
    assert [(job["handler"], job["state"], job["attempts"]) for job in jobs] == [
        ("save", "ready", 0),
        ("probe", "waiting", 0),
    ]


@pytest.mark.anyio
async def test_an_event_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    for video, event_id in (("v1", "evt_ab10"), ("v2", "evt_ab1"), ("v3", "evt_ab2"), ("v4", "evt_c")):
        await store.record(arrival(video, event_id=event_id))
    for prefix, video in (("evt_ab10", "v1"), ("evt_ab1", "v2"), ("evt_ab2", "v3"), ("evt_c", "v4")):
        for written in (prefix, prefix.upper(), prefix.removeprefix("evt_"), prefix[4:].upper()):
            assert (await store.event(written))["video_id"] == video
    for prefix in ("evt_d", "", "evt_c0", "%", "evt__", "' OR 1=1 --"):
        with pytest.raises(NotFound, match="no event"):
            await store.event(prefix)


@pytest.mark.anyio
async def test_a_beginning_that_several_ids_have_is_answered_with_what_it_may_mean(store: Store) -> None:
    for number in range(3):
        await store.record(arrival(f"v{number}", event_id=f"evt_a{number}"))
    for prefix in ("a", "evt_a", "EVT_A", "e", "evt_"):
        with pytest.raises(NotFound, match=r"several events begin .*: evt_a0, evt_a1, evt_a2$"):
            await store.event(prefix)
    for number in range(3, 9):
        await store.record(arrival(f"v{number}", event_id=f"evt_a{number}"))
    with pytest.raises(NotFound, match=r": evt_a0, evt_a1, evt_a2, evt_a3, evt_a4 and others$"):
        await store.replays.find(["evt_a1", "evt_a"])


@pytest.mark.anyio
async def test_of_very_many_deliveries_the_first_and_the_newest_are_told(store: Store) -> None:
    event = arrival("v1", received_at=AGES_AGO)
    for after in range(103):
        await store.record(event._replace(event_id=f"evt_{after}", received_at=AGES_AGO + after))
    for number, most in ((103, 100), (1, 1)):
        row = await store.event("evt_0" if number > 1 else (await store.record(arrival("v2"))).event_id)
        assert (row["arrivals"], len(row["deliveries"])) == (number, most)
    row = await store.event("evt_0")
    came = [delivery["received_at"] - AGES_AGO for delivery in row["deliveries"]]
    assert came == [0, *range(4, 103)]
    assert "arrivals" not in row["deliveries"][0]


@pytest.mark.anyio
async def test_status_says_that_it_can_write_who_lives_and_how_many_jobs_there_are(
    opening: Opening, database: Path
) -> None:
    async with opening(database) as store:
        assert await store.status() == {"writable": True, "workers": [], "jobs": {}}
        await store.record(arrival(jobs=[*ready("save", "log"), waiting("probe", "save")]))
        await claim_one(store, "a", "save")
        await store.renew("b", [])
        status = await store.status()
        assert sorted(status["workers"]) == ["a", "b"]
        assert status["jobs"] == {"ready": 1, "running": 1, "waiting": 1}
        await store.release("a")
        assert (await store.status())["workers"] == ["b"]


@pytest.mark.anyio
async def test_the_figures_count_what_the_tables_have(opening: Opening, database: Path) -> None:
    async with opening(database) as store:
        empty = await store.figures()
        assert 0 <= empty.pop("lease_check_seconds") < 10
        assert empty.pop("wal_bytes") > 0
        assert empty == {
            "jobs": {},
            "attempts": {},
            "oldest_ready_seconds": 0.0,
            "workers": 0,
            "watches": 0,
            "polls": {},
        }
        handlers = ("a", "b", "c", "d", "e")
        for number in range(4):
            jobs = [*ready(*handlers), waiting("after", "a"), waiting("never", "b")]
            await store.record(arrival(f"v{number}", received_at=AGES_AGO + number * 1000, jobs=jobs))
        for handler, move in zip(handlers, ("finish", "fail", "cancel", "retry"), strict=False):
            first = await claim_one_of_many(store, "w", handler)
            again = settlement(first, move, run_at=AGES_AGO if move == "retry" else None)
            assert await store.settle([again], worker="w") == [True]
            assert await store.settle([again], worker="w") == [False]  # counted once
        await claim_one_of_many(store, "lost", "e")
        await store.release("lost")
        await claim_one_of_many(store, "w", "e")
        await store.renew("w", [])
        await store.renew("w", [])  # it does not know of its claim
        await claim_one_of_many(store, "w", "d")
        figures = await store.figures()
        with closing(sqlite3.connect(database)) as tables:
            jobs_by_state = dict(tables.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
            outcomes = dict(tables.execute("SELECT outcome, count(*) FROM attempts GROUP BY outcome"))
            (oldest,) = tables.execute("SELECT min(run_at) FROM jobs WHERE state = 'ready'").fetchone()
        assert figures["jobs"] == jobs_by_state == (await store.status())["jobs"]
        assert len(jobs_by_state) == 6
        assert figures["attempts"] == outcomes
        assert len(outcomes) == 5
        assert figures["oldest_ready_seconds"] == pytest.approx(time.time() - oldest / 1000, abs=60)
        assert figures["workers"] == 1
        assert figures["wal_bytes"] > 0


async def claim_one_of_many(store: Store, worker: str, handler: str) -> Row:
    (job,) = await store.claim(worker, {handler: 1}, count=1, wait_ms=0)
    return job


@pytest.mark.anyio
async def test_body_files_are_known_by_the_rows_that_name_them(store: Store) -> None:
    digests = [character * 64 for character in "abc"]
    for number, digest in enumerate([*digests[:2], digests[0]]):
        thin = arrival(f"v{number}", body=None, body_sha256=digest, payload="{}", strings="[]")
        await store.record(thin)
    await store.record(arrival("small"))
    assert sorted(await store.bodies_in_use(digests)) == digests[:2]
    assert await store.bodies_in_use([]) == []
    assert sorted(await store.all_bodies()) == digests[:2]


@pytest.mark.anyio
async def test_a_full_check_finds_what_refers_to_nothing(store: Store, database: Path) -> None:
    first = arrival(jobs=ready("save"))
    await store.record(first)
    assert await store.check() == []
    with closing(sqlite3.connect(database)) as vandal:
        vandal.execute("DELETE FROM events")
        vandal.commit()
    problems = await store.check()
    assert sorted(problems) == [
        "deliveries row 1 refers to nothing in events",
        "jobs row 1 refers to nothing in events",
    ]


@pytest.mark.anyio
async def test_the_key_of_fingerprints_is_random_and_stays(opening: Opening, database: Path) -> None:
    async with opening(database) as store:
        first = store.redactor_key
    async with opening(database, run="run2") as store:
        assert store.redactor_key == first
    async with opening(database.with_name("other.db")) as store:
        assert store.redactor_key != first
    assert len(first) == 32


@pytest.mark.anyio
async def test_the_handlers_that_a_server_names_are_known_to_whoever_asks_and_survive_a_restart(
    opening: Opening, database: Path
) -> None:
    cards = [{"name": "save", "types": ["video.completed"]}]
    async with opening(database) as store:
        assert await store.published() == []
        await store.publish(cards)
        assert await store.published() == cards
    async with opening(database, run="run2") as store:
        assert await store.published() == cards
        await store.publish([])
        assert await store.published() == []
