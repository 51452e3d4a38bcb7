"""What retention removes and what it keeps: rows, keys, body files; and what it says that it would remove."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from receiver import retention
from receiver.bodies import Bodies
from receiver.errors import NotFound
from receiver.record import Arrival
from receiver.retention import Report
from receiver.store.base import Store
from receiver.store.values import Keep
from tests.contract.stand import (
    AGES_AGO,
    ANY,
    Opening,
    arrival,
    claim,
    claim_one,
    ready,
    settlement,
    waiting,
)

DAY = 24 * 3600 * 1000
ENDED = AGES_AGO + 5000
"""When what is settled here has ended."""
LATER = Keep(ENDED + 1, ENDED + 1, ENDED + 1)


@pytest.fixture
def bodies(tmp_path: Path) -> Bodies:
    """Where the body files of a test are."""
    return Bodies(tmp_path / "bodies")


def with_file(bodies: Bodies, video: str, content: bytes, *, is_old: bool = True, **changes: Any) -> Arrival:
    """An arrival whose body lies in a file."""
    digest = hashlib.sha256(content).hexdigest()
    spool = bodies.spool()
    spool.write(content)
    path = spool.keep(digest)
    if is_old:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    plain: dict[str, Any] = {
        "body": None,
        "body_sha256": digest,
        "payload": "{}",
        "strings": "[]",
        "size": len(content),
    }
    return arrival(video, **{**plain, **changes})


def files(bodies: Bodies) -> set[bytes]:
    """The contents of all body files."""
    return {path.read_bytes() for path in bodies.directory.glob("??/*")}


async def removed(store: Store, bodies: Bodies, keep: Keep = LATER) -> Report:
    """Prune; see that it was what was announced, and that nothing is left for a second time."""
    announced = await retention.plan(store, bodies, keep)
    report = await retention.prune(store, bodies, keep)
    assert report == announced
    assert await retention.prune(store, bodies, keep) == Report()
    return report


async def finish(store: Store, *handlers: str, move: str = "finish", ended_at: int = ENDED) -> None:
    """Settle every due job of some handlers."""
    for job in await claim(store, "w", *handlers):
        error = None if move == "finish" else "no"
        await store.settle([settlement(job, move, ended_at=ended_at, error=error)], worker="w")


async def left(store: Store) -> set[str]:
    """The videos that have events."""
    return {row["video_id"] for row in await store.events(ANY, limit=1000, before=None)}


@pytest.mark.anyio
async def test_an_event_goes_with_all_that_belongs_to_it_and_its_key_is_forgotten(
    store: Store, bodies: Bodies, database: Path
) -> None:
    first = with_file(bodies, "v1", b"a body", jobs=ready("save", "log"))
    await store.record(first)
    await store.record(arrival("v1"))
    await finish(store, "save", "log")

    assert await removed(store, bodies) == Report(1, 2, 2, 2, 1, 6)

    with pytest.raises(NotFound):
        await store.event(first.event_id)
    assert (await left(store), files(bodies)) == (set(), set())
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        for table in ("events", "deliveries", "jobs", "attempts", "events_of_videos"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608
    again = arrival("v1")
    assert (await store.record(again)).event_id == again.event_id


@pytest.mark.anyio
async def test_an_event_with_a_job_that_is_to_be_done_is_kept_however_old_it_is(
    store: Store, bodies: Bodies
) -> None:
    await store.record(with_file(bodies, "running", b"running", jobs=ready("runs")))
    await claim_one(store, "w", "runs")
    await store.record(with_file(bodies, "ready", b"ready", jobs=ready("save")))
    await store.record(
        with_file(bodies, "waiting", b"waiting", jobs=[*ready("first"), waiting("second", "first")])
    )
    await store.record(with_file(bodies, "over", b"over", jobs=ready("tell")))
    await finish(store, "tell", move="cancel")

    assert (await removed(store, bodies)).events == 1

    assert await left(store) == {"running", "ready", "waiting"}
    assert files(bodies) == {b"running", b"ready", b"waiting"}


@pytest.mark.anyio
async def test_what_counts_is_when_the_last_of_it_was_over(store: Store, bodies: Bodies) -> None:
    await store.record(arrival("worked on", jobs=ready("save")))
    await finish(store, "save", ended_at=ENDED + DAY)
    await store.record(arrival("repeated"))
    await store.record(arrival("repeated", received_at=ENDED + DAY))
    await store.record(arrival("neither"))
    await store.record(arrival("younger", received_at=ENDED + DAY))

    assert (await removed(store, bodies)).events == 1

    assert await left(store) == {"worked on", "repeated", "younger"}
    assert (await store.record(arrival("repeated"))).verdict == "duplicate"


@pytest.mark.anyio
async def test_dead_letters_and_their_bodies_have_a_time_of_their_own(store: Store, bodies: Bodies) -> None:
    await store.record(with_file(bodies, "dead", b"dead", jobs=[*ready("save"), waiting("probe", "save")]))
    await finish(store, "save", move="fail")
    keep = LATER._replace(dead_before=ENDED)

    assert await removed(store, bodies, keep) == Report()
    assert files(bodies) == {b"dead"}
    assert await removed(store, bodies) == Report(1, 1, 2, 1, 1, 4)


@pytest.mark.anyio
async def test_a_body_file_may_go_before_its_event_and_is_not_missed(store: Store, bodies: Bodies) -> None:
    event = with_file(bodies, "v1", b"large", jobs=ready("save"))
    await store.record(event)
    await finish(store, "save")

    report = await removed(store, bodies, LATER._replace(events_before=0))

    assert report == Report(body_files=1, bytes=5)
    assert files(bodies) == set()
    assert await store.all_bodies() == await store.bodies_in_use([event.body_sha256 or ""]) == []
    assert (await store.event(event.event_id))["body_removed_at"] > AGES_AGO
    assert (await store.record(arrival("v1"))).verdict == "duplicate"
    assert await removed(store, bodies) == Report(1, 2, 1, 1)


@pytest.mark.anyio
async def test_a_body_file_that_another_event_names_stays_until_that_one_goes(
    store: Store, bodies: Bodies
) -> None:
    await store.record(with_file(bodies, "v1", b"shared"))
    await store.record(with_file(bodies, "v2", b"shared", received_at=ENDED + DAY))

    assert await removed(store, bodies) == Report(1, 1)
    assert files(bodies) == {b"shared"}
    later = ENDED + 2 * DAY
    assert await removed(store, bodies, Keep(later, later, later)) == Report(1, 1, body_files=1, bytes=6)


@pytest.mark.anyio
async def test_a_body_file_that_was_kept_again_just_now_is_left_to_the_sweep(
    store: Store, bodies: Bodies
) -> None:
    await store.record(with_file(bodies, "v1", b"again", is_old=False))

    assert await removed(store, bodies) == Report(1, 1), "its row may be on the way"

    assert files(bodies) == {b"again"}
    assert await store.all_bodies() == []


@pytest.mark.anyio
@pytest.mark.fault("C6")
async def test_files_that_a_crash_left_after_their_rows_were_removed_are_swept(
    store: Store, bodies: Bodies
) -> None:
    await store.record(with_file(bodies, "gone", b"gone"))
    await store.record(with_file(bodies, "bare", b"bare", received_at=ENDED))
    await store.record(with_file(bodies, "kept", b"kept", jobs=ready("save")))
    step = (await store.prune(LATER._replace(events_before=ENDED))).step
    assert step is not None
    await store.prune(LATER, step)  # and here it ends, before any file was removed
    assert files(bodies) == {b"gone", b"bare", b"kept"}

    swept = await bodies.sweep(known=store.bodies_in_use, before=time.time())

    assert (swept.orphans, files(bodies)) == (2, {b"kept"})
    assert bodies.missing(await store.all_bodies()) == []


@pytest.mark.anyio
@pytest.mark.fault("D7")
async def test_a_redelivery_after_73_hours_is_still_known(store: Store, bodies: Bodies) -> None:
    await store.record(arrival("v1"))
    now = AGES_AGO + 73 * 3600 * 1000
    keep = retention.Ages(30 * 86400, 90 * 86400, 30 * 86400).keep(now_ms=now)

    assert await removed(store, bodies, keep) == Report()

    assert (await store.record(arrival("v1", received_at=now))).verdict == "duplicate"


@pytest.mark.anyio
async def test_no_number_is_given_twice_and_whatever_comes_next_is_recognised(
    opening: Opening, database: Path, bodies: Bodies
) -> None:
    async with opening(database) as store:
        for number in range(3):
            await store.record(arrival(f"v{number}"))
        assert (await removed(store, bodies)).events == 3
    async with opening(database) as store:
        event = arrival("v0")
        await store.record(event)
        assert (await store.event(event.event_id))["seq"] == 4
    async with opening(database) as store:
        assert (await store.record(arrival("v0"))).event_id == event.event_id


@pytest.mark.anyio
async def test_more_than_one_step_takes_removes_it_all_and_only_that(store: Store, bodies: Bodies) -> None:
    for number in range(160):
        state = "over" if number % 3 else "ready"
        jobs = ready("save") if state == "ready" else []
        await store.record(arrival(f"{state} {number}", jobs=jobs))

    assert (await removed(store, bodies)).events == 106

    assert {video.split()[0] for video in await left(store)} == {"ready"}
    assert len(await left(store)) == 54


@pytest.mark.anyio
@pytest.mark.fault("R12")
async def test_of_attempts_without_end_the_last_hundred_are_kept(store: Store, database: Path) -> None:
    event = arrival("v1", jobs=ready("save"))
    await store.record(event)
    for _ in range(120):
        job = await claim_one(store, "w", "save")
        again = settlement(job, "retry", run_at=AGES_AGO, error="x" * 4096)
        assert await store.settle([again], worker="w") == [True]

    attempts = (await store.event(event.event_id))["attempts"]

    assert [attempt["claim"] for attempt in attempts] == list(range(21, 121))
    await finish(store, "save")
    assert (await store.event(event.event_id))["attempts"][-1]["outcome"] == "done"
