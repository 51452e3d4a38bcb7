"""The life of a job in any store: claims, settlements, chains, losses and leases."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from receiver.errors import Unavailable
from receiver.life import TRANSITIONS, JobState, Move
from receiver.record import Arrival, JobRow
from receiver.store.base import Store
from receiver.store.service import wall_ms
from receiver.store.values import Row
from tests.contract.stand import (
    AGES_AGO,
    PATIENCE_SECONDS,
    Opening,
    arrival,
    claim,
    claim_one,
    failing,
    jobs_of,
    outcomes_of,
    ready,
    settlement,
    states_of,
    waiting,
)


async def record(store: Store, *jobs: JobRow, video: str = "v1", at: int = AGES_AGO) -> Arrival:
    first = arrival(video, jobs=list(jobs), received_at=at)
    await store.record(first)
    return first


async def settle(
    store: Store, job: Row, move: str = "finish", *, worker: str = "w", **changes: object
) -> bool:
    (is_owned,) = await store.settle([settlement(job, move, **changes)], worker=worker)
    return is_owned


# Claims.


@pytest.mark.anyio
async def test_a_claim_holds_all_that_a_worker_needs(store: Store) -> None:
    first = await record(store, *ready("save"))
    job = await claim_one(store, "w", "save")
    assert job.pop("job") > 0
    assert job.pop("event_seq") > 0
    assert job == {
        "claim": 1,
        "handler": "save",
        "attempts": 0,
        "replay": None,
        "waits_for": None,
        "expires_at": None,
        "id": first.event_id,
        "source": "opennote",
        "kind": "opennote",
        "type": "video.completed",
        "identity": "v1@org",
        "what": "completed",
        "video_id": "v1",
        "received_at": AGES_AGO,
        "warnings": [],
        "body": first.body,
        "body_sha256": None,
        "payload": None,
        "strings": None,
        "video_sha256": None,
        "object": None,
        "results": {},
    }
    (shown,) = (await store.event(first.event_id))["jobs"]
    assert (shown["state"], shown["worker"], shown["attempts"]) == ("running", "w", 0)


@pytest.mark.anyio
async def test_a_claim_takes_no_more_than_its_count_nor_than_a_handler_has_free(store: Store) -> None:
    for number in range(6):
        await record(store, *ready("save", "probe", "log"), video=f"v{number}")
    taken = await store.claim("w", {"save": 2, "probe": 9}, count=5, wait_ms=0)
    assert [job["handler"] for job in taken] == ["save", "probe", "save", "probe", "probe"]
    assert await store.claim("w", {"save": 9}, count=0, wait_ms=0) == []
    rest = await claim(store, "w", "save", "probe")
    assert sorted(job["handler"] for job in rest) == ["probe"] * 3 + ["save"] * 4
    assert (await store.status())["jobs"] == {"ready": 6, "running": 12}


@pytest.mark.anyio
async def test_jobs_are_claimed_in_the_order_in_which_they_are_due(store: Store) -> None:
    for number in (3, 1, 2):
        await record(store, *ready("save"), video=f"v{number}", at=AGES_AGO + number)
    assert [job["video_id"] for job in await claim(store, "w", "save", count=2)] == ["v1", "v2"]
    assert [job["video_id"] for job in await claim(store, "w", "save")] == ["v3"]


@pytest.mark.anyio
async def test_no_job_is_claimed_by_two(store: Store) -> None:
    await asyncio.gather(*(record(store, *ready("save"), video=f"v{number}") for number in range(40)))
    shares = await asyncio.gather(*(claim(store, f"w{number}", "save", count=7) for number in range(8)))
    claimed = [job["job"] for share in shares for job in share]
    assert len(claimed) == len(set(claimed)) == 40


@pytest.mark.anyio
async def test_a_claim_that_waits_wakes_when_a_job_arrives(store: Store) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        waiting_claim = asyncio.create_task(claim(store, "w", "save", wait_ms=60_000))
        await store.status()  # answered after the claim has begun to wait
        await record(store, *ready("other"), video="v0")
        await record(store, *ready("save"))
        (job,) = await waiting_claim
    assert job["video_id"] == "v1"


@pytest.mark.anyio
async def test_a_claim_waits_no_longer_than_it_was_told(store: Store) -> None:
    begin = time.monotonic()
    assert await claim(store, "w", "save", wait_ms=100) == []
    assert 0.09 < time.monotonic() - begin < PATIENCE_SECONDS


@pytest.mark.anyio
async def test_a_job_is_claimed_when_it_is_due_and_not_before(store: Store) -> None:
    first = await record(store, *ready("save"))
    due = wall_ms() + 400
    await settle(store, await claim_one(store, "w", "save"), "retry", run_at=due, error="busy")
    assert (await jobs_of(store, first.event_id))["save"]["run_at"] == due
    assert await claim(store, "w", "save") == []
    async with asyncio.timeout(PATIENCE_SECONDS):
        job = await claim_one(store, "w", "save", wait_ms=60_000)
    assert wall_ms() >= due
    assert (job["claim"], job["attempts"]) == (2, 1)


# Settlements.


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("move", "state", "outcome"),
    [
        (Move.FINISH, "done", "done"),
        (Move.RETRY, "ready", "retry"),
        (Move.FAIL, "dead", "fail"),
        (Move.CANCEL, "cancelled", "cancel"),
    ],
)
async def test_settling_moves_the_job_and_keeps_the_attempt(
    store: Store, move: Move, state: str, outcome: str
) -> None:
    first = await record(store, *ready("save"))
    job = await claim_one(store, "w", "save")
    error, result = (None, '{"path":"a"}') if move is Move.FINISH else ("because", None)
    assert await settle(store, job, move, error=error, result=result)
    assert TRANSITIONS[JobState.RUNNING, move] == state
    kept = (await jobs_of(store, first.event_id))["save"]
    assert (kept["state"], kept["attempts"], kept["worker"]) == (state, 1, None)
    assert (kept["last_error"], kept["result"], kept["ended_at"]) == (error, result, AGES_AGO + 5000)
    (attempt,) = (await store.event(first.event_id))["attempts"]
    assert attempt.pop("started_at") > AGES_AGO
    assert attempt == {
        "job": job["job"],
        "claim": 1,
        "number": 1,
        "worker": "w",
        "ended_at": AGES_AGO + 5000,
        "outcome": outcome,
        "error": error,
        "error_class": None,
    }
    assert len(await claim(store, "w", "save")) == (move is Move.RETRY)


@pytest.mark.anyio
async def test_attempts_are_counted_and_a_success_clears_the_error(store: Store) -> None:
    first = await record(store, *ready("save"))
    for number in range(3):
        job = await claim_one(store, "w", "save")
        assert job["attempts"] == number
        await settle(store, job, "retry" if number < 2 else "finish", error="busy" if number < 2 else None)
    kept = (await jobs_of(store, first.event_id))["save"]
    assert (kept["attempts"], kept["last_error"]) == (3, None)
    assert await outcomes_of(store, first.event_id) == [
        ("retry", 1, "w"),
        ("retry", 2, "w"),
        ("done", 3, "w"),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("move", ["finish", "retry", "fail", "cancel"])
async def test_a_stale_claim_can_settle_nothing(store: Store, move: str) -> None:
    first = await record(store, *ready("save"), waiting("probe", "save"))
    stale = await claim_one(store, "a", "save")
    await store.release("a")
    held = await claim_one(store, "b", "save")
    assert not await settle(store, stale, move, worker="a", run_at=0, error="stale", result="1")
    kept = await jobs_of(store, first.event_id)
    assert (kept["save"]["state"], kept["save"]["worker"], kept["save"]["last_error"]) == (
        "running",
        "b",
        None,
    )
    assert kept["probe"]["state"] == "waiting"
    assert await outcomes_of(store, first.event_id) == [("lost", 1, "a")]
    assert await settle(store, held, worker="b")


@pytest.mark.anyio
async def test_only_the_first_of_equal_settlements_counts(store: Store) -> None:
    first = await record(store, *ready("save"))
    job = await claim_one(store, "w", "save")
    ends = [settlement(job), settlement(job, "fail", error="no"), settlement({**job, "job": 10**6})]
    assert await store.settle(ends, worker="w") == [True, False, False]
    assert not await settle(store, job, "fail", error="no")
    assert await states_of(store, first.event_id) == {"save": "done"}
    assert await outcomes_of(store, first.event_id) == [("done", 1, "w")]


@pytest.mark.anyio
async def test_a_settlement_that_can_not_be_written_can_be_repeated(store: Store, database: Path) -> None:
    first = await record(store, *ready("save"), waiting("probe", "save"))
    job = await claim_one(store, "w", "save")
    with failing(database, "INSERT ON attempts"), pytest.raises(Unavailable):
        await settle(store, job)
    assert await states_of(store, first.event_id) == {"save": "running", "probe": "waiting"}
    assert await settle(store, job)
    assert await states_of(store, first.event_id) == {"save": "done", "probe": "ready"}


@pytest.mark.anyio
@pytest.mark.parametrize("move", ["claim", "lose", "unblock", "nonsense"])
async def test_what_is_no_settlement_ends_its_job_with_the_reason(store: Store, move: str) -> None:
    first = await record(store, *ready("save"))
    job = await claim_one(store, "w", "save")
    async with asyncio.timeout(5):
        assert await settle(store, job, move)
        kept = (await jobs_of(store, first.event_id))["save"]
        assert kept["state"] == "dead"
        assert kept["last_error"].startswith("what came of the attempt can't be stored")
        assert not await settle(store, job)


# Chains.


@pytest.mark.anyio
async def test_a_finish_unblocks_what_waits_for_it_and_hands_its_result_on(store: Store) -> None:
    first = await record(
        store,
        *ready("save", "log"),
        waiting("probe", "save"),
        waiting("tell", "probe"),
        waiting("sum", "save"),
    )
    await record(store, *ready("save"), waiting("probe", "save"), video="v2", at=wall_ms() + 3_600_000)
    await settle(store, await claim_one(store, "w", "log"), result="1")
    await settle(store, await claim_one(store, "w", "save"), result='{"path":"a.mp4"}')
    assert await states_of(store, first.event_id) == {
        "save": "done",
        "log": "done",
        "probe": "ready",
        "sum": "ready",
        "tell": "waiting",
    }
    probe = await claim_one(store, "w", "probe")
    assert (probe["waits_for"], probe["results"]) == ("save", {"save": {"path": "a.mp4"}, "log": 1})
    await settle(store, probe)
    assert (await claim_one(store, "w", "tell"))["results"]["probe"] is None
    assert (await claim_one(store, "w", "sum"))["id"] == first.event_id


@pytest.mark.anyio
async def test_a_retry_unblocks_nobody(store: Store) -> None:
    first = await record(store, *ready("save"), waiting("probe", "save"))
    await settle(store, await claim_one(store, "w", "save"), "retry", error="busy")
    assert await states_of(store, first.event_id) == {"save": "ready", "probe": "waiting"}


@pytest.mark.anyio
@pytest.mark.parametrize(("move", "state"), [("fail", "dead"), ("cancel", "cancelled")])
async def test_what_waits_for_a_job_that_ends_otherwise_is_abandoned_with_the_reason(
    store: Store, move: str, state: str
) -> None:
    first = await record(
        store,
        *ready("save", "log"),
        waiting("probe", "save"),
        waiting("tell", "probe"),
        waiting("sum", "save"),
    )
    other = await record(store, *ready("save"), waiting("probe", "save"), video="v2", at=AGES_AGO + 1)
    await settle(store, (await claim(store, "w", "save", count=1))[0], move, error="no")
    kept = await jobs_of(store, first.event_id)
    assert {handler: (job["state"], job["last_error"]) for handler, job in kept.items()} == {
        "save": (state, "no"),
        "log": ("ready", None),
        "probe": ("cancelled", f"save is {state}"),
        "sum": ("cancelled", f"save is {state}"),
        "tell": ("cancelled", f"probe is cancelled: save is {state}"),
    }
    assert [kept[handler]["ended_at"] for handler in ("probe", "sum", "tell")] == [AGES_AGO + 5000] * 3
    assert await states_of(store, other.event_id) == {"save": "ready", "probe": "waiting"}


# Losses.


@pytest.mark.anyio
async def test_a_released_job_is_due_again_and_has_cost_nothing(store: Store) -> None:
    first = await record(store, *ready("save", "probe"))
    await claim(store, "a", "save", "probe")
    kept = await record(store, *ready("save"), video="v2")
    await claim_one(store, "b", "save")
    lost = await store.release("a")
    assert sorted((job.handler, job.crashes, job.is_dead) for job in lost) == [
        ("probe", 0, False),
        ("save", 0, False),
    ]
    assert await store.release("a") == []
    job = (await jobs_of(store, first.event_id))["save"]
    assert (job["state"], job["attempts"], job["worker"], job["last_error"]) == ("ready", 0, None, None)
    assert await states_of(store, kept.event_id) == {"save": "running"}
    again = await claim_one(store, "b", "save")
    assert (again["claim"], again["attempts"]) == (2, 0)
    await settle(store, again, worker="b")
    assert await outcomes_of(store, first.event_id) == [("lost", 1, "a"), ("done", 1, "b"), ("lost", 1, "a")]


@pytest.mark.anyio
async def test_a_release_wakes_a_claim_that_waits(store: Store) -> None:
    await record(store, *ready("save"))
    await claim_one(store, "a", "save")
    async with asyncio.timeout(PATIENCE_SECONDS):
        waiting_claim = asyncio.create_task(claim(store, "b", "save", wait_ms=60_000))
        await store.status()
        await store.release("a")
        assert len(await waiting_claim) == 1


@pytest.mark.anyio
async def test_a_claim_that_never_arrived_is_given_back_at_the_second_renewal(store: Store) -> None:
    first = await record(store, *ready("save", "probe"))
    jobs = {job["handler"]: job["job"] for job in await claim(store, "w", "save", "probe")}
    await store.renew("w", [jobs["probe"]])
    assert await states_of(store, first.event_id) == {"save": "running", "probe": "running"}
    await store.renew("w", [jobs["probe"]])
    assert await states_of(store, first.event_id) == {"save": "ready", "probe": "running"}
    assert await outcomes_of(store, first.event_id) == [("lost", 1, "w")]


@pytest.mark.anyio
async def test_a_claim_that_arrives_late_is_not_given_back(store: Store) -> None:
    first = await record(store, *ready("save"))
    job = (await claim_one(store, "w", "save"))["job"]
    for known in ([], [job], [], [job]):
        await store.renew("w", known)
    assert await states_of(store, first.event_id) == {"save": "running"}


@pytest.mark.anyio
async def test_a_renewal_that_says_nothing_of_jobs_gives_none_back(store: Store) -> None:
    first = await record(store, *ready("save"))
    await claim_one(store, "w", "save")
    await store.renew("w", [])
    for _ in range(3):
        await store.renew("w", None)
    assert await states_of(store, first.event_id) == {"save": "running"}
    await store.renew("w", [])
    assert await states_of(store, first.event_id) == {"save": "ready"}


@pytest.mark.anyio
async def test_what_was_unknown_of_a_former_claim_is_not_held_against_the_next_one(store: Store) -> None:
    first = await record(store, *ready("save"))
    job = await claim_one(store, "w", "save")
    await store.renew("w", [])
    await settle(store, job, "retry", error="busy")
    await claim_one(store, "w", "save")
    await store.renew("w", [])
    assert await states_of(store, first.event_id) == {"save": "running"}
    await store.renew("w", [])
    assert await states_of(store, first.event_id) == {"save": "ready"}


@pytest.mark.anyio
async def test_a_job_that_is_settled_while_it_is_thought_lost_stays_settled(store: Store) -> None:
    first = await record(store, *ready("save"))
    job = await claim_one(store, "w", "save")
    await store.renew("w", [])
    is_owned, _ = await asyncio.gather(settle(store, job), store.renew("w", []))
    assert is_owned
    assert await states_of(store, first.event_id) == {"save": "done"}
    assert await outcomes_of(store, first.event_id) == [("done", 1, "w")]


# Leases.


@pytest.mark.anyio
async def test_a_silent_worker_loses_its_jobs_to_another_one(opening: Opening, database: Path) -> None:
    async with opening(database, lease_seconds=0.3) as store:
        first = await record(store, *ready("save"))
        stale = await claim_one(store, "a", "save")
        taken = await claim_one(store, "b", "save", wait_ms=int(PATIENCE_SECONDS * 1000))
        assert taken["claim"] == stale["claim"] + 1
        assert not await settle(store, stale, worker="a")
        assert await settle(store, taken, worker="b")
        assert await outcomes_of(store, first.event_id) == [("lost", 1, "a"), ("done", 1, "b")]


@pytest.mark.anyio
async def test_a_worker_that_renews_keeps_its_jobs(opening: Opening, database: Path) -> None:
    async with opening(database, lease_seconds=1.0) as store:
        first = await record(store, *ready("save"))
        job = await claim_one(store, "a", "save")
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            await store.renew("a", [job["job"]])
            assert await claim(store, "b", "save", wait_ms=100) == []
        assert await states_of(store, first.event_id) == {"save": "running"}


@pytest.mark.anyio
async def test_jobs_whose_release_failed_are_given_back_when_the_lease_runs_out(
    opening: Opening, database: Path
) -> None:
    async with opening(database, lease_seconds=0.3) as store:
        await record(store, *ready("save"))
        await claim_one(store, "a", "save")
        with failing(database, "INSERT ON attempts"), pytest.raises(Unavailable):
            await store.release("a")
        assert await claim_one(store, "b", "save", wait_ms=int(PATIENCE_SECONDS * 1000))
