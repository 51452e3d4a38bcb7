"""What a store makes of arrivals, and that all of it is one transaction."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import StoreError, Unavailable
from receiver.record import Arrival
from receiver.store.base import Store
from receiver.store.values import EventFilter, Receipt, Rejection
from tests.contract.stand import AGES_AGO, ANY, arrival, claim_one, failing, jobs_of, ready, waiting

URL = "url https://files/a.mp4"
OTHER_URL = "url https://files/b.mp4"
INLINE = "inline aaaa"

STORIES: list[tuple[str, list[tuple[str, str | None]], list[str]]] = [
    ("a first delivery", [("completed", URL)], ["accepted"]),
    ("the same again", [("completed", URL)] * 3, ["accepted", "duplicate", "duplicate"]),
    ("another link", [("completed", URL), ("completed", OTHER_URL)], ["accepted", "conflict"]),
    ("the link and the video itself", [("completed", URL), ("completed", INLINE)], ["accepted", "duplicate"]),
    ("a failure after the end", [("completed", URL), ("failed", None)], ["accepted", "conflict"]),
    ("late progress", [("completed", URL), ("progress", None)], ["accepted", "duplicate"]),
    ("an unknown status after the end", [("completed", None), ("other:x", None)], ["accepted", "duplicate"]),
    ("progress, then the end", [("progress", None), ("completed", URL)], ["accepted", "accepted"]),
    ("progress twice", [("progress", None), ("progress", None)], ["accepted", "duplicate"]),
    ("an end after a failure", [("failed", None), ("completed", URL)], ["accepted", "accepted"]),
    ("a failure twice", [("failed", None), ("failed", None)], ["accepted", "duplicate"]),
    ("progress after a failure", [("failed", None), ("progress", None)], ["accepted", "duplicate"]),
    ("two unknown statuses", [("other:x", None), ("other:y", None)], ["accepted", "accepted"]),
    ("an unknown status twice", [("other:x", None), ("other:x", None)], ["accepted", "duplicate"]),
    (
        "failed, completed, failed",
        [("failed", None), ("completed", URL), ("failed", None)],
        ["accepted", "accepted", "duplicate"],
    ),
]


@pytest.mark.anyio
@pytest.mark.parametrize("is_one_batch", [True, False], ids=["in one batch", "one by one"])
async def test_every_delivery_gets_its_verdict(store: Store, is_one_batch: bool) -> None:
    for number, (story, news, verdicts) in enumerate(STORIES):
        arrivals = [arrival(f"v{number}", what, content=content) for what, content in news]
        receipts = await _recorded(store, arrivals, is_one_batch=is_one_batch)
        assert [receipt.verdict for receipt in receipts] == verdicts, story
        events = await store.events(EventFilter(video=f"v{number}"), limit=100, before=None)
        accepted = [
            a.event_id for a, verdict in zip(arrivals, verdicts, strict=True) if verdict == "accepted"
        ]
        assert [event["id"] for event in reversed(events)] == accepted, story
        assert {receipt.event_id for receipt in receipts} == set(accepted), story
        assert sum(event["duplicates"] for event in events) == len(news) - len(accepted), story
        in_conflict = [event["what"] for event in events if event["conflict"]]
        assert in_conflict == (["completed"] if "conflict" in verdicts else []), story


async def _recorded(store: Store, arrivals: list[Arrival], *, is_one_batch: bool) -> list[Receipt]:
    if is_one_batch:
        return await asyncio.gather(*(store.record(each) for each in arrivals))
    return [await store.record(each) for each in arrivals]


@pytest.mark.anyio
async def test_the_receipt_names_the_first_event(store: Store) -> None:
    first, again = arrival(), arrival()
    assert await store.record(first) == Receipt("accepted", first.event_id)
    assert await store.record(again) == Receipt("duplicate", first.event_id)


@pytest.mark.anyio
async def test_every_delivery_is_kept_with_its_verdict(store: Store) -> None:
    first = arrival(content=URL, headers='[["x-api-key","key:1a2b"],["x-a","ü"]]')
    await store.record(first)
    await store.record(arrival(content=URL, received_at=AGES_AGO + 1, via="poll"))
    await store.record(arrival(content=OTHER_URL, received_at=AGES_AGO + 2, via="import"))
    event = await store.event(first.event_id)
    kept = [(each["verdict"], each["via"], each["received_at"] - AGES_AGO) for each in event["deliveries"]]
    assert kept == [("accepted", "callback", 0), ("duplicate", "poll", 1), ("conflict", "import", 2)]
    assert event["deliveries"][0]["headers"] == [["x-api-key", "key:1a2b"], ["x-a", "ü"]]
    assert (event["duplicates"], event["conflict"]) == (2, 1)


@pytest.mark.anyio
async def test_completed_after_failed_carries_a_warning_beside_those_it_came_with(store: Store) -> None:
    await store.record(arrival(what="failed"))
    completed = arrival(warnings=["request_id_rewritten"])
    await store.record(completed)
    event = await store.event(completed.event_id)
    assert event["warnings"] == ["request_id_rewritten", "after_failure"]


@pytest.mark.anyio
async def test_progress_updates_the_last_seen_status_until_the_video_has_ended(store: Store) -> None:
    first = arrival(what="progress", status="pending", progress=10.0)
    await store.record(first)
    await store.record(arrival(what="progress", status="in_progress", progress=62.5))
    assert await _last_seen(store, first) == ("in_progress", 62.5)
    await store.record(arrival(what="failed"))
    await store.record(arrival(what="progress", status="pending", progress=70.0))
    await store.record(arrival(what="completed"))
    await store.record(arrival(what="progress", status="pending", progress=80.0))
    assert await _last_seen(store, first) == ("in_progress", 62.5)


async def _last_seen(store: Store, first: Arrival) -> tuple[str, float]:
    event = await store.event(first.event_id)
    return event["status"], event["progress"]


@pytest.mark.anyio
async def test_one_id_in_two_sources_is_two_videos(store: Store) -> None:
    receipts = [await store.record(arrival(source=source)) for source in ("one", "two", "one")]
    assert [receipt.verdict for receipt in receipts] == ["accepted", "accepted", "duplicate"]


@pytest.mark.anyio
async def test_an_event_comes_with_its_jobs_as_they_were_planned(store: Store) -> None:
    jobs = [*ready("save"), waiting("probe", "save"), ("thumb", "cancelled", "none", "there is no none")]
    first = arrival(jobs=jobs)
    await store.record(first)
    await store.record(arrival(jobs=jobs))
    found = await jobs_of(store, first.event_id)
    assert {name: (job["state"], job["waits_for"], job["last_error"]) for name, job in found.items()} == {
        "save": ("ready", None, None),
        "probe": ("waiting", "save", None),
        "thumb": ("cancelled", "none", "there is no none"),
    }
    assert {name: (job["run_at"], job["ended_at"]) for name, job in found.items()} == {
        "save": (AGES_AGO, None),
        "probe": (None, None),
        "thumb": (None, AGES_AGO),
    }
    assert (await store.status())["jobs"] == {"ready": 1, "waiting": 1, "cancelled": 1}


@pytest.mark.anyio
@pytest.mark.fault("D4")
async def test_a_conflict_is_not_dispatched(store: Store) -> None:
    await store.record(arrival(content=URL, jobs=ready("save")))
    await store.record(arrival(content=OTHER_URL, jobs=ready("save")))
    await store.record(arrival(what="failed", jobs=ready("tell")))
    assert (await store.status())["jobs"] == {"ready": 1}


@pytest.mark.anyio
@pytest.mark.parametrize("table", ["deliveries", "events", "jobs"])
async def test_what_can_not_be_written_is_refused_and_leaves_nothing_behind(
    store: Store, database: Path, table: str
) -> None:
    await store.record(arrival("earlier", jobs=ready("save")))
    with failing(database, f"INSERT ON {table}"):
        outcomes = await asyncio.gather(
            *(store.record(arrival(video, jobs=ready("save"))) for video in ("v1", "v2")),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
        assert len(await store.events(ANY, limit=9, before=None)) == 1
    assert (await store.record(arrival(jobs=ready("save")))).verdict == "accepted"
    assert (await store.status())["jobs"] == {"ready": 2}
    assert await store.check() == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "changes",
    [{"title": "\ud800"}, {"video_id": None}, {"via": "pigeon"}, {"jobs": [("save", "asleep", None, None)]}],
    ids=["a lone surrogate", "a missing id", "an unknown way", "an unknown state"],
)
async def test_a_value_that_can_not_be_kept_is_refused_and_stops_nobody(
    store: Store, changes: dict[str, Any]
) -> None:
    async with asyncio.timeout(5):
        with pytest.raises((Unavailable, StoreError)):
            await store.record(arrival("bad", **changes))
        assert (await store.record(arrival("good"))).verdict == "accepted"
    assert [event["video_id"] for event in await store.events(ANY, limit=9, before=None)] == ["good"]


@pytest.mark.anyio
@pytest.mark.fault("D1")
async def test_64_equal_deliveries_at_once_are_one_event(store: Store) -> None:
    copies = [arrival(jobs=ready("save")) for _ in range(64)]
    receipts = await asyncio.gather(*(store.record(copy) for copy in copies))
    assert sorted(receipt.verdict for receipt in receipts) == ["accepted"] + ["duplicate"] * 63
    assert {receipt.event_id for receipt in receipts} == {copies[0].event_id}
    event = await store.event(copies[0].event_id)
    assert (event["duplicates"], len(event["deliveries"]), len(event["jobs"])) == (63, 64, 1)


@pytest.mark.anyio
async def test_a_batch_that_is_delivered_64_times_has_one_effect(store: Store) -> None:
    videos = [f"v{number}" for number in range(8)]
    for _ in range(64):
        await asyncio.gather(*(store.record(arrival(video, jobs=ready("save"))) for video in videos))
    events = await store.events(ANY, limit=100, before=None)
    assert sorted(event["video_id"] for event in events) == videos
    assert {event["duplicates"] for event in events} == {63}
    assert (await store.status())["jobs"] == {"ready": 8}


@pytest.mark.anyio
async def test_a_batch_larger_than_one_message_is_recorded_whole(store: Store) -> None:
    body = '{"long":"' + "x" * 60_000 + '"}'
    arrivals = [arrival(f"v{number}", body=body, size=len(body)) for number in range(700)]
    receipts = await asyncio.gather(*(store.record(each) for each in arrivals))
    assert [receipt.event_id for receipt in receipts] == [each.event_id for each in arrivals]


@pytest.mark.anyio
async def test_a_body_comes_back_as_it_was(store: Store) -> None:
    body = '{"id":"ü\\u0000","big":123456789012345678901234567890,"f":1.10,"e":"🎬"}'
    first = arrival(body=body, size=len(body.encode()), jobs=ready("save"))
    await store.record(first)
    assert (await store.event(first.event_id))["body"] == body
    assert (await claim_one(store, "w", "save"))["body"] == body


@pytest.mark.anyio
async def test_a_body_in_a_file_is_kept_as_its_name_payload_and_places(store: Store) -> None:
    place = [{"path": ["response", "b64_video"], "offset": 30, "length": 200_000, "escaped": False}]
    first = arrival(
        body=None,
        body_sha256="ab" * 32,
        size=200_040,
        payload='{"response":{}}',
        strings='[{"path":["response","b64_video"],"offset":30,"length":200000,"escaped":false}]',
        jobs=ready("save"),
    )
    await store.record(first)
    for row in (await store.event(first.event_id), await claim_one(store, "w", "save")):
        assert row["body"] is None
        assert row["body_sha256"] == "ab" * 32
        assert (row["payload"], row["strings"]) == ({"response": {}}, place)


@pytest.mark.anyio
async def test_a_very_long_title_is_cut(store: Store) -> None:
    first = arrival(title="ü" * 5000)
    await store.record(first)
    assert (await store.event(first.event_id))["title"] == "ü" * 1000


@pytest.mark.anyio
async def test_the_last_thousand_rejections_are_kept(store: Store) -> None:
    for start in range(0, 1100, 100):
        rows = [Rejection(start + n, "opennote", 401, "x-api-key", "127.0.0.1") for n in range(100)]
        await store.reject(rows)
    await store.reject([Rejection(5000, "opennote", 400, "not one JSON object", "::1", repeated=7)])
    kept = await store.rejections(limit=5000)
    assert [row["at"] for row in kept] == [5000, *range(1099, 100, -1)]
    assert kept[0] == {
        "at": 5000,
        "source": "opennote",
        "status": 400,
        "reason": "not one JSON object",
        "peer": "::1",
        "repeated": 7,
    }
    assert await store.rejections(limit=3) == kept[:3]
