"""Watches: what opens one, what is due, what is kept of an answer, and what ends one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import Unavailable
from receiver.store.base import Store
from receiver.store.service import wall_ms
from receiver.store.values import EventFilter, Keep, Receipt, Rejection
from receiver.store.watches import Ending, NewWatch, Opened, Outcome, Seen, Watch
from tests.contract.stand import AGES_AGO, Opening, arrival, claim_one, failing, ready

FAR = AGES_AGO + 10**12
PROGRESS = Outcome.PROGRESS.value


def wanted(video: str = "v1", **changes: Any) -> NewWatch:
    """A watch of a video that is due at once."""
    return NewWatch("opennote", "opennote", f"{video}@org", video, AGES_AGO, FAR)._replace(**changes)


def seen(outcome: str = PROGRESS, **changes: Any) -> Seen:
    """What asking has shown; it is asked again in a long time."""
    return Seen(outcome, AGES_AGO + 100, wall_ms() + 10**6)._replace(**changes)


async def due(store: Store, *sources: str, busy: list[int] | None = None, count: int = 100) -> list[Watch]:
    return await store.watches.due(sources or ("opennote",), count=count, wait_ms=0, busy=busy or [])


async def opened(store: Store, video: str = "v1", **changes: Any) -> Watch:
    """Open a watch, and give it as it is stored."""
    assert await store.watches.add([wanted(video, **changes)]) == [Opened.NEW]
    return await found(store, video)


async def found(store: Store, video: str = "v1") -> Watch:
    watch = await store.watches.of("opennote", video)
    assert watch is not None
    return watch


# Opening.


@pytest.mark.anyio
async def test_a_watch_is_kept_as_it_was_wanted(store: Store) -> None:
    await opened(store, first_at=AGES_AGO + 5, deadline_at=FAR)
    (watch,) = await store.watches.page()
    assert watch == await found(store)
    assert (watch.source, watch.kind, watch.identity, watch.video_id) == (
        "opennote",
        "opennote",
        "v1@org",
        "v1",
    )
    assert (watch.next_at, watch.deadline_at) == (AGES_AGO + 5, FAR)
    assert abs(watch.opened_at - wall_ms()) < 60_000
    assert (watch.status, watch.seen_at, watch.last_error, watch.ended_at) == (None, None, None, None)


@pytest.mark.anyio
async def test_a_video_is_watched_once_and_the_more_impatient_wish_counts(store: Store) -> None:
    first = await opened(store, first_at=AGES_AGO + 50, deadline_at=FAR)
    again = wanted(first_at=AGES_AGO + 10, deadline_at=FAR + 10)
    later = wanted(first_at=AGES_AGO + 90, deadline_at=FAR - 90)
    assert await store.watches.add([again, later, wanted("v2")]) == [Opened.KNOWN, Opened.KNOWN, Opened.NEW]
    watch = await found(store)
    assert (watch.seq, watch.next_at, watch.deadline_at) == (first.seq, AGES_AGO + 10, FAR + 10)


@pytest.mark.anyio
async def test_the_same_id_in_two_sources_is_two_videos(store: Store) -> None:
    assert await store.watches.add([wanted(), wanted(source="other")]) == [Opened.NEW, Opened.NEW]
    assert [watch.source for watch in await due(store, "opennote", "other")] == ["opennote", "other"]
    assert [watch.source for watch in await store.watches.page(source="other")] == ["other"]


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["completed", "failed"])
async def test_a_video_whose_end_is_recorded_is_not_watched(store: Store, what: str) -> None:
    await store.record(arrival(what=what))
    assert await store.watches.add([wanted(), wanted("v2")]) == [Opened.OVER, Opened.NEW]
    assert [watch.video_id for watch in await store.watches.page(ended=True)] == ["v2"]


@pytest.mark.anyio
async def test_a_video_that_only_its_watch_gave_up_may_be_watched_again(store: Store) -> None:
    await opened(store)
    await store.record(arrival(what="failed", status="watch_expired", via="poll"))
    assert (await found(store)).ending == Ending.EXPIRED
    again = await opened(store)
    assert (again.ending, again.last_error) == (None, None)
    await store.record(arrival(what="completed", via="poll"))
    assert (await found(store)).ending == Ending.COMPLETED
    assert await store.watches.add([wanted()]) == [Opened.OVER]


@pytest.mark.anyio
async def test_progress_opens_a_watch_when_its_source_can_be_asked(store: Store) -> None:
    times = (AGES_AGO + 1000, FAR)
    await store.record(arrival("v1", "progress", progress=10.0, watch=times))
    await store.record(arrival("v2", "progress"))
    await store.record(arrival("v3", "other:odd", watch=times))
    (watch,) = await store.watches.page()
    assert (watch.video_id, watch.next_at, watch.deadline_at) == ("v1", *times)
    assert (watch.status, watch.progress, watch.opened_at) == ("progress", 10.0, AGES_AGO)


@pytest.mark.anyio
async def test_late_progress_opens_no_watch(store: Store) -> None:
    for number, what in enumerate(("completed", "failed")):
        await store.record(arrival(f"v{number}", what))
        await store.record(arrival(f"v{number}", "progress", watch=(AGES_AGO, FAR)))
    assert await store.watches.page(ended=True) == []


@pytest.mark.anyio
async def test_progress_of_a_video_that_nobody_wants_to_hear_of_opens_no_watch_again(store: Store) -> None:
    await store.watches.end((await opened(store)).seq, Ending.STOPPED)
    await store.record(arrival(what="progress", watch=(AGES_AGO, FAR)))
    assert (await found(store)).ending == Ending.STOPPED
    assert await due(store) == []


@pytest.mark.anyio
async def test_news_puts_the_question_off(store: Store) -> None:
    await opened(store)
    await store.record(arrival(what="progress", progress=50.0, watch=(AGES_AGO + 700, FAR)))
    watch = await found(store)
    assert (watch.next_at, watch.progress, watch.deadline_at) == (AGES_AGO + 700, 50.0, FAR)


# Being due.


@pytest.mark.anyio
async def test_what_is_due_comes_in_the_order_of_waiting_without_the_busy_and_the_unwanted(
    store: Store,
) -> None:
    times = {"late": 30, "early": 10, "middle": 20, "foreign": 0}
    for video, since in times.items():
        source = "other" if video == "foreign" else "opennote"
        await store.watches.add([wanted(video, first_at=AGES_AGO + since, source=source)])
    await store.watches.add([wanted("future", first_at=wall_ms() + 10**6)])
    assert [watch.video_id for watch in await due(store)] == ["early", "middle", "late"]
    assert [watch.video_id for watch in await due(store, count=2)] == ["early", "middle"]
    both = await due(store, "opennote", "other", busy=[(await found(store, "early")).seq])
    assert [watch.video_id for watch in both] == ["foreign", "middle", "late"]


@pytest.mark.anyio
async def test_who_waits_is_woken_by_a_new_watch_and_by_the_time(store: Store) -> None:
    waiting = asyncio.create_task(store.watches.due(["opennote"], count=5, wait_ms=15_000))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await store.watches.add([wanted(first_at=wall_ms() + 200)])
    (watch,) = await waiting
    assert watch.video_id == "v1"
    assert wall_ms() >= watch.next_at


@pytest.mark.anyio
async def test_who_waits_hears_of_a_watch_that_a_callback_opens(store: Store) -> None:
    waiting = asyncio.create_task(store.watches.due(["opennote"], count=5, wait_ms=15_000))
    await asyncio.sleep(0.05)
    await store.record(arrival(what="progress", watch=(AGES_AGO, FAR)))
    assert [watch.video_id for watch in await waiting] == ["v1"]


@pytest.mark.anyio
async def test_nothing_is_due_when_the_wait_is_over(store: Store) -> None:
    await opened(store, first_at=wall_ms() + 10**6)
    assert await store.watches.due(["opennote"], count=5, wait_ms=50) == []


# What asking has shown.


@pytest.mark.anyio
async def test_an_answer_is_kept_with_the_watch_and_with_the_event_of_its_progress(store: Store) -> None:
    first = arrival(what="progress", status="pending", progress=1.0)
    watch = await opened(store)
    await store.record(first)
    shown = seen(status="in_progress", progress=42.5)
    await store.watches.note(watch.seq, shown)
    kept = await found(store)
    assert (kept.status, kept.progress, kept.seen_at, kept.asked) == ("in_progress", 42.5, shown.at, 1)
    assert kept.next_at == shown.next_at
    assert await due(store) == []
    event = await store.event(first.event_id)
    assert (event["status"], event["progress"]) == ("in_progress", 42.5)
    assert len(event["deliveries"]) == 1


@pytest.mark.anyio
async def test_errors_are_kept_until_an_answer_comes_and_what_was_seen_before_stays(store: Store) -> None:
    seq = (await opened(store)).seq
    await store.watches.note(seq, seen(status="queued", progress=3.0))
    for _ in range(2):
        await store.watches.note(seq, seen(Outcome.UNANSWERED, at=AGES_AGO + 200, error="no network"))
    watch = await found(store)
    assert (watch.last_error, watch.unanswered, watch.asked) == ("no network", 2, 3)
    assert (watch.status, watch.progress, watch.seen_at) == ("queued", 3.0, AGES_AGO + 100)
    await store.watches.note(seq, seen(Outcome.REFUSED, error="401"))
    assert ((await found(store)).unanswered, (await found(store)).last_error) == (0, "401")
    await store.watches.note(seq, seen(Outcome.UNKNOWN, status="resting"))
    assert ((await found(store)).last_error, (await found(store)).status) == (None, "resting")


@pytest.mark.anyio
async def test_an_unknown_status_is_the_watchs_alone(store: Store) -> None:
    first = arrival(what="progress", status="pending")
    watch = await opened(store)
    await store.record(first)
    await store.watches.note(watch.seq, seen(Outcome.UNKNOWN, status="resting"))
    assert (await store.event(first.event_id))["status"] == "pending"


@pytest.mark.anyio
async def test_progress_after_a_failure_leaves_the_failure_as_it_is(store: Store) -> None:
    failed = arrival(what="failed", status="watch_expired")
    await store.record(failed)
    watch = await opened(store)
    await store.record(arrival(what="progress", via="poll", progress=5.0))
    assert (await found(store)).event is not None  # so that it is recorded once
    await store.watches.note(watch.seq, seen(status="in_progress", progress=6.0))
    assert (await store.event(failed.event_id))["status"] == "watch_expired"


# Ending.


@pytest.mark.anyio
@pytest.mark.parametrize("via", ["callback", "poll", "import"])
@pytest.mark.parametrize("what", ["completed", "failed"])
async def test_an_end_of_the_video_ends_its_watch_whichever_way_it_comes(
    store: Store, via: str, what: str
) -> None:
    seq = (await opened(store)).seq
    await opened(store, "v2")
    await store.watches.note(seq, seen(Outcome.REFUSED, error="404"))
    await store.record(arrival(what=what, via=via))
    watch = await found(store)
    assert (watch.ending, watch.ended_at, watch.status) == (what, AGES_AGO, what)
    assert watch.last_error is None
    assert [open_watch.video_id for open_watch in await store.watches.page()] == ["v2"]
    await store.watches.note(seq, seen(status="in_progress", error="late"))
    assert await found(store) == watch
    assert not await store.watches.end(seq, Ending.STOPPED)


@pytest.mark.anyio
async def test_progress_and_the_end_in_one_batch_leave_no_open_watch(store: Store) -> None:
    news = [arrival("v1", what, watch=(AGES_AGO, FAR)) for what in ("progress", "completed", "progress")]
    await asyncio.gather(*(store.record(each) for each in news))
    assert (await found(store)).ending == Ending.COMPLETED
    assert await due(store) == []


@pytest.mark.anyio
async def test_an_end_of_another_identity_with_the_same_id_ends_nothing(store: Store) -> None:
    await opened(store)
    await store.record(arrival(identity="v1@org/problem-set", what="completed"))
    await store.record(arrival(source="other", what="completed"))
    assert len(await due(store)) == 1


@pytest.mark.anyio
async def test_a_watch_that_somebody_ends_is_asked_about_no_more(store: Store) -> None:
    watch = await opened(store)
    assert await store.watches.end(watch.seq, Ending.STOPPED)
    assert await due(store) == []
    assert await store.watches.page() == []
    assert [kept.ending for kept in await store.watches.page(ended=True)] == ["stopped"]
    assert (await opened(store)).ending is None


@pytest.mark.anyio
async def test_what_was_undone_neither_opens_nor_ends_a_watch(store: Store, database: Path) -> None:
    await opened(store, "known")
    with failing(database, "INSERT ON deliveries"):
        for news in (arrival("known"), arrival("new", "progress", watch=(AGES_AGO, FAR))):
            with pytest.raises(Unavailable):
                await store.record(news)
    assert [watch.video_id for watch in await due(store)] == ["known"]
    await store.record(arrival("known"))
    await store.record(arrival("new", "progress", watch=(AGES_AGO, FAR)))
    assert [watch.video_id for watch in await due(store)] == ["new"]


@pytest.mark.anyio
async def test_watches_outlive_the_store(opening: Opening, database: Path) -> None:
    async with opening(database) as store:
        watch = await opened(store)
        await store.watches.note(watch.seq, seen(status="queued", next_at=AGES_AGO))
    async with opening(database, run="run2") as store:
        (again,) = await due(store)
        assert (again.seq, again.status, again.asked) == (watch.seq, "queued", 1)
        await store.record(arrival())
        assert await due(store) == []


@pytest.mark.anyio
async def test_figures_tell_how_many_are_open_and_what_asking_has_brought(store: Store) -> None:
    seqs = [(await opened(store, video)).seq for video in ("v1", "v2", "v3")]
    await store.record(arrival("v3"))
    for seq, outcome in zip(seqs, (PROGRESS, PROGRESS, "completed"), strict=True):
        await store.watches.note(seq, seen(outcome))
    figures = await store.figures()
    assert (figures["watches"], figures["polls"]) == (2, {"progress": 2, "completed": 1})


@pytest.mark.anyio
async def test_an_event_is_recorded_as_ever_beside_a_watch(store: Store) -> None:
    await opened(store)
    receipts = [await store.record(arrival(via=via)) for via in ("poll", "callback")]
    assert [receipt.verdict for receipt in receipts] == ["accepted", "duplicate"]
    (event,) = await store.events(EventFilter(video="v1"), limit=10, before=None)
    assert event["duplicates"] == 1


# Being removed.


async def _prune(store: Store, before: int, *, count: int = 20) -> int:
    """Remove what is old in steps of a few; return how many watches were."""
    keep = Keep(before, before, before)
    announced = (await store.prunable(keep)).watches
    pruned = await store.prune(keep, count=count)
    removed = pruned.watches
    while pruned.step is not None:
        pruned = await store.prune(keep, pruned.step, count=count)
        removed += pruned.watches
    assert removed == announced
    return removed


@pytest.mark.anyio
async def test_a_watch_is_removed_when_it_was_over_for_long_enough(store: Store) -> None:
    for number in range(5):
        await opened(store, f"v{number}")
        await store.record(arrival(f"v{number}", received_at=AGES_AGO + number))
    await opened(store, "open")
    assert await _prune(store, AGES_AGO) == 0
    assert await _prune(store, AGES_AGO + 3, count=2) == 3
    assert [watch.video_id for watch in await store.watches.page(ended=True)] == ["open", "v4", "v3"]


@pytest.mark.anyio
async def test_an_open_watch_is_removed_only_when_nobody_gave_it_up_for_as_long(store: Store) -> None:
    await opened(store, "stranded", deadline_at=AGES_AGO + 100)
    await opened(store, "late", deadline_at=AGES_AGO + 200)
    assert await _prune(store, AGES_AGO + 200) == 1
    assert [watch.video_id for watch in await due(store)] == ["late"]
    await store.record(arrival("stranded"))
    assert (await store.figures())["watches"] == 1


@pytest.mark.anyio
async def test_what_a_video_is_watched_for_is_shown_with_its_events(store: Store) -> None:
    first = arrival(what="progress", watch=(AGES_AGO, FAR), status="pending", progress=7.0)
    await store.record(first)
    (row,) = await store.events(EventFilter(), limit=1, before=None)
    assert (row["watch_status"], row["watch_progress"]) == ("pending", 7.0)
    assert (await store.event(first.event_id))["watch"] == (await found(store))._asdict()
    await store.record(arrival())
    rows = await store.events(EventFilter(), limit=2, before=None)
    assert [row["watch_status"] for row in rows] == [None, None]
    assert (await store.event(first.event_id))["watch"]["ending"] == "completed"


@pytest.mark.anyio
async def test_a_video_without_a_watch_shows_none(store: Store) -> None:
    alone = arrival()
    await store.record(alone)
    await store.watches.add([wanted(source="other")])
    assert (await store.event(alone.event_id))["watch"] is None


@pytest.mark.anyio
async def test_a_video_is_given_up_only_while_its_watch_is_open(store: Store) -> None:
    watch = await opened(store)
    expiry = arrival(what="failed", status="watch_expired", via="poll", jobs=ready("tell"))
    waiting = asyncio.create_task(claim_one(store, "w", "tell", wait_ms=30_000))
    await asyncio.sleep(0.05)
    receipt = await store.watches.expire(watch.seq, expiry)
    assert receipt == Receipt("accepted", expiry.event_id)
    assert (await found(store)).ending == Ending.EXPIRED
    async with asyncio.timeout(10):
        assert (await waiting)["id"] == expiry.event_id
    await opened(store, "v2")
    await store.record(arrival("v2"))
    late = arrival("v2", what="failed", status="watch_expired", via="poll")
    assert await store.watches.expire((await found(store, "v2")).seq, late) is None
    assert await store.watches.expire(watch.seq, arrival("v3", what="failed")) is None
    assert len(await store.events(EventFilter(), limit=10, before=None)) == 2


@pytest.mark.anyio
async def test_an_end_that_is_refuted_was_none_and_the_watch_goes_on(store: Store) -> None:
    await opened(store)
    forged, true = arrival(), arrival()
    await store.record(forged)
    await store.findings.refute(forged.event_id, Rejection(AGES_AGO, "opennote", 401, "refuted", "peer"))
    assert [watch.video_id for watch in await due(store)] == ["v1"]
    assert (await store.record(true)).verdict == "accepted"
    assert (await found(store)).ending == Ending.COMPLETED
    await store.findings.refute(forged.event_id, Rejection(AGES_AGO, "opennote", 401, "refuted", "peer"))
    assert await due(store) == []
