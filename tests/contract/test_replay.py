"""New jobs of stored events, in any store: beside the old ones, and each replay a chain of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from receiver.errors import NotFound
from receiver.record import Arrival, Wish
from receiver.store.base import Store
from receiver.store.replays import Begun, Made
from receiver.store.service import wall_ms
from receiver.store.values import EventFilter, Row
from tests.contract.stand import (
    AGES_AGO,
    ANY,
    PATIENCE_SECONDS,
    arrival,
    begun,
    cards,
    claim,
    claim_one,
    ready,
    replayed,
    settlement,
    waiting,
)

CHAIN = [*ready("save"), waiting("probe", "save")]


async def states(store: Store, event: str) -> list[tuple[str | None, str, str]]:
    """Replay, handler and state of an event's jobs, in the order in which they were made."""
    jobs = sorted((await store.event(event))["jobs"], key=lambda job: job["id"])
    return [(job["replay"], job["handler"], job["state"]) for job in jobs]


async def recorded(store: Store, video: str = "v1", *, expires_at: int | None = None) -> Arrival:
    news = arrival(video, jobs=CHAIN, expires_at=expires_at)
    await store.record(news)
    return news


async def finish(store: Store, job: Row, *, result: str | None = None) -> None:
    assert await store.settle([settlement(job, result=result)], worker="w") == [True]


@pytest.mark.anyio
async def test_a_replay_makes_jobs_beside_the_old_ones_and_passes_over_events_that_are_not_there(
    store: Store,
) -> None:
    first, other = await recorded(store), await recorded(store, "v2")
    await store.settle(
        [settlement(job, "fail", error="no") for job in await claim(store, "w", "save")], worker="w"
    )

    await store.replays.begin(begun("r1"))
    (seq,) = await store.replays.find([first.event_id])
    made = await store.replays.make("r1", [seq, 99, seq], Wish(cards(*CHAIN), again=True))

    assert made == Made(events=1, jobs=2)
    assert await states(store, first.event_id) == [
        (None, "save", "dead"),
        (None, "probe", "cancelled"),
        ("r1", "save", "ready"),
        ("r1", "probe", "waiting"),
    ]
    assert await states(store, other.event_id) == [(None, "save", "dead"), (None, "probe", "cancelled")]
    job = await claim_one(store, "w", "save")
    assert (job["replay"], job["id"], job["attempts"], job["claim"]) == ("r1", first.event_id, 0, 1)
    await store.replays.begin(begun("r2"))
    assert await store.replays.make("r2", [], Wish(cards(*CHAIN))) == Made(0, 0)


@pytest.mark.anyio
async def test_what_waits_goes_on_only_with_its_own_replay(store: Store) -> None:
    news = await recorded(store)
    await replayed(store, "r1", [news.event_id], *CHAIN)
    await replayed(store, "r2", [news.event_id], *CHAIN)
    jobs = {job["replay"]: job for job in await claim(store, "w", "save")}

    await finish(store, jobs["r1"], result='"one"')
    assert [job["replay"] for job in await claim(store, "w", "probe")] == ["r1"]
    assert await store.settle([settlement(jobs["r2"], "fail", error="no")], worker="w") == [True]
    await finish(store, jobs[None])

    assert await states(store, news.event_id) == [
        (None, "save", "done"),
        (None, "probe", "ready"),
        ("r1", "save", "done"),
        ("r1", "probe", "running"),
        ("r2", "save", "dead"),
        ("r2", "probe", "cancelled"),
    ]


@pytest.mark.anyio
async def test_a_replayed_job_expires_when_the_link_always_did(store: Store) -> None:
    soon = wall_ms() + 60_000
    news = await recorded(store, expires_at=soon)

    await replayed(store, "r1", [news.event_id], *ready("save"))

    assert [job["expires_at"] for job in await claim(store, "w", "save")] == [soon, soon]


@pytest.mark.anyio
async def test_a_replay_wakes_a_claim_that_waits(store: Store) -> None:
    news = await recorded(store)
    await finish(store, await claim_one(store, "w", "save"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        waiting_claim = asyncio.create_task(claim(store, "w", "save", wait_ms=60_000))
        await store.status()  # answered after the claim has begun to wait
        await replayed(store, "r1", [news.event_id], *ready("save"))
        (job,) = await waiting_claim
    assert job["replay"] == "r1"


@pytest.mark.anyio
@pytest.mark.fault("D9")
async def test_a_replay_while_the_job_is_being_retried_is_a_job_of_its_own(store: Store) -> None:
    news = await recorded(store)
    retried = await claim_one(store, "a", "save")
    again = settlement(retried, "retry", run_at=0, error="busy")
    owned, made, replayed_twice = await asyncio.gather(
        store.settle([again], worker="a"),
        replayed(store, "r1", [news.event_id], *ready("save")),
        replayed(store, "r2", [news.event_id], *ready("save")),
    )
    assert (owned, made, replayed_twice) == ([True], Made(1, 1), Made(1, 1))

    shares = await asyncio.gather(*(claim(store, worker, "save", count=2) for worker in "abc"))

    jobs = [(job["replay"], job["attempts"]) for share in shares for job in share]
    assert sorted(jobs, key=str) == [("r1", 0), ("r2", 0), (None, 1)], "each is claimed by exactly one"
    assert await store.settle([again], worker="a") == [False], "the former claim settles nothing any more"


# Which jobs are made is planned in the store, by what became of the old ones.


async def again(store: Store, name: str, event: str, *, handlers: Sequence[str] = ()) -> Made:
    """Make what is to be made, with the handlers of the chain."""
    await store.replays.begin(begun(name))
    return await store.replays.make(name, await store.replays.find([event]), Wish(cards(*CHAIN), handlers))


async def claimed(store: Store, handler: str) -> dict[str | None, Row]:
    """The due jobs of a handler, by their replay."""
    return {job["replay"]: job for job in await claim(store, "w", handler)}


@pytest.mark.anyio
async def test_what_is_done_runs_again_only_when_it_is_named(store: Store) -> None:
    news = await recorded(store)
    await finish(store, await claim_one(store, "w", "save"))
    await finish(store, await claim_one(store, "w", "probe"))

    assert await again(store, "r1", news.event_id) == Made(0, 0)
    assert await again(store, "r2", news.event_id, handlers=["save"]) == Made(1, 2)
    assert await again(store, "r3", news.event_id) == Made(0, 0), "it is still to run"


@pytest.mark.anyio
async def test_a_dependent_alone_gets_the_last_stored_result(store: Store) -> None:
    news = await recorded(store)
    await finish(store, await claim_one(store, "w", "save"), result='"first"')
    await store.settle([settlement(await claim_one(store, "w", "probe"), "fail", error="no")], worker="w")

    assert await again(store, "r1", news.event_id) == Made(1, 1)

    probe = await claim_one(store, "w", "probe")
    assert (probe["replay"], probe["results"]) == ("r1", {"save": "first"})


@pytest.mark.anyio
async def test_the_results_of_an_event_never_mix_replays(store: Store) -> None:
    """Three chains of one event at the same time; each probe sees the save of its own, whoever was last."""
    news = await recorded(store)
    for replay in ("r1", "r2"):
        await replayed(store, replay, [news.event_id], *CHAIN)
    jobs = await claimed(store, "save")
    for name in ("r2", None, "r1"):
        await finish(store, jobs[name], result=f'"{name}"')

    probes = await claimed(store, "probe")

    assert {name: job["results"] for name, job in probes.items()} == {
        None: {"save": "None"},
        "r1": {"save": "r1"},
        "r2": {"save": "r2"},
    }


@pytest.mark.anyio
async def test_a_chain_that_goes_on_with_a_result_keeps_to_the_replay_that_it_came_from(store: Store) -> None:
    longer = [*ready("save", "log"), waiting("probe", "save"), waiting("tell", "probe")]
    news = arrival(jobs=longer)
    await store.record(news)
    await replayed(store, "r1", [news.event_id], *longer)
    saves, logs = await claimed(store, "save"), await claimed(store, "log")
    for name in (None, "r1"):
        await finish(store, saves[name], result=f'"save of {name}"')
        await finish(store, logs[name], result=f'"log of {name}"')
    probes = await claimed(store, "probe")
    await finish(store, probes["r1"], result='"probe of r1"')
    await store.settle([settlement(probes[None], "fail", error="no")], worker="w")
    await store.replays.begin(begun("r2"))
    (seq,) = await store.replays.find([news.event_id])
    await store.replays.make("r2", [seq], Wish(cards(*longer), ["probe"]))
    await finish(store, (await claimed(store, "probe"))["r2"], result='"probe of r2"')

    tells = await claimed(store, "tell")

    assert tells["r1"]["results"] == {"save": "save of r1", "log": "log of r1", "probe": "probe of r1"}
    assert tells["r2"]["results"] == {"save": "save of r1", "log": "log of r1", "probe": "probe of r2"}


@pytest.mark.anyio
async def test_what_goes_on_keeps_its_result_whatever_is_replayed_meanwhile(store: Store) -> None:
    news = await recorded(store)
    await finish(store, await claim_one(store, "w", "save"), result='"first"')
    await store.settle([settlement(await claim_one(store, "w", "probe"), "fail", error="no")], worker="w")
    await again(store, "r1", news.event_id)
    await again(store, "r2", news.event_id, handlers=["save"])
    await finish(store, (await claimed(store, "save"))["r2"], result='"second"')

    probes = await claimed(store, "probe")

    assert {name: job["results"] for name, job in probes.items()} == {
        "r1": {"save": "first"},
        "r2": {"save": "second"},
    }


@pytest.mark.anyio
async def test_a_plan_says_what_would_be_made_and_what_not_and_why(store: Store) -> None:
    news = await recorded(store)
    await finish(store, await claim_one(store, "w", "save"))
    await store.settle([settlement(await claim_one(store, "w", "probe"), "fail", error="no")], worker="w")
    seqs = await store.replays.find([news.event_id[:-4]])

    (planned,) = await store.replays.plan(seqs, Wish(cards(*CHAIN)))

    assert (planned["seq"], planned["id"], planned["video_id"]) == (seqs[0], news.event_id, "v1")
    assert [list(job) for job in planned["jobs"]] == [["probe", "ready", "save", None]]
    assert [list(left) for left in planned["left"]] == [["save", "it is done"]]
    assert len(await states(store, news.event_id)) == 2


@pytest.mark.anyio
async def test_events_are_chosen_as_a_page_of_them_is(store: Store) -> None:
    for number in range(5):
        await store.record(arrival(f"v{number}", "failed" if number % 2 else "completed"))

    failed = EventFilter(type="video.failed")

    assert await store.replays.select(failed, limit=10) == [4, 2]
    assert await store.replays.select(ANY, limit=2) == [5, 4]
    assert await store.replays.select(ANY, limit=2, before=4) == [3, 2]


@pytest.mark.anyio
async def test_an_id_may_be_cut_short_as_long_as_it_is_clear(store: Store) -> None:
    first, second = await recorded(store), await recorded(store, "v2")

    assert await store.replays.find([second.event_id, first.event_id[:20], first.event_id[:20]]) == [2, 1]
    for unclear, complaint in (("evt_", "several"), ("evt_x", "no event"), ("", "no event")):
        with pytest.raises(NotFound, match=complaint):
            await store.replays.find([unclear])


@pytest.mark.anyio
@pytest.mark.fault("W5")
async def test_a_replay_is_a_record_of_its_own_before_and_after(store: Store) -> None:
    news = [await recorded(store, f"v{number}") for number in range(3)]
    for job in await claim(store, "w", "save"):
        await finish(store, job)
    for job in await claim(store, "w", "probe"):
        await finish(store, job)
    begin = Begun("rpl_1", "ann@laptop", '{"source":"opennote"}', None, 3, AGES_AGO)

    await store.replays.begin(begin)
    (before,) = await store.replays.last()
    seqs = await store.replays.find([one.event_id for one in news])
    await store.replays.make("rpl_1", seqs[:2], Wish(cards(*CHAIN), ["save"]))
    (between,) = await store.replays.last(prefix="RPL_")
    await store.replays.end("rpl_1", is_through=False)
    (after,) = await store.replays.last()

    assert (before["made_by"], before["wanted"]) == ("ann@laptop", '{"source":"opennote"}')
    assert (before["status"], before["selected"], before["events"], before["began_at"]) == (
        "open",
        3,
        0,
        AGES_AGO,
    )
    assert (between["events"], between["jobs"], between["failed"]) == (2, 4, 0)
    assert between["states"] == {"ready": 2, "waiting": 2}
    assert (after["status"], after["jobs"]) == ("stopped", 4)
    assert after["ended_at"] > AGES_AGO
    with pytest.raises(NotFound, match="no replay rpl_1 goes on"):
        await store.replays.make("rpl_1", seqs, Wish(cards(*CHAIN), ["save"]))
    with pytest.raises(NotFound, match="goes on"):
        await store.replays.count("rpl_2", events=1, jobs=1, failed=0)
    assert len(await states(store, news[2].event_id)) == 2


@pytest.mark.anyio
async def test_requests_are_counted_as_jobs_are(store: Store) -> None:
    await store.replays.begin(begun("r1")._replace(target="http://127.0.0.1:1/"))
    await store.replays.count("r1", events=1, jobs=3, failed=1)
    await store.replays.count("r1", events=1, jobs=1, failed=0)
    await store.replays.end("r1", is_through=True)

    (row,) = await store.replays.last()
    assert (row["events"], row["jobs"], row["failed"], row["status"]) == (2, 4, 1, "finished")
