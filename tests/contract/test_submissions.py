"""Submissions, in any store: an intent comes before what is paid, and no order is paid twice unnoticed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from receiver import retention
from receiver.bodies import Bodies
from receiver.errors import Unavailable
from receiver.retention import Report
from receiver.store.base import Store
from receiver.store.submissions import Answered, Intent, Submission
from receiver.store.values import Keep
from tests.contract.stand import AGES_AGO, Opening, StoreProcess, failing, hang_up

ENDED = AGES_AGO + 5000
LATER = Keep(ENDED + 1, ENDED + 1, ENDED + 1)


def intent(name: str = "sub_1", **changes: Any) -> Intent:
    plain = Intent(name, "opennote", "opennote", "digest", '{"script": "Rain."}', AGES_AGO)
    return plain._replace(**changes)


async def intended(store: Store, name: str = "sub_1", **changes: Any) -> None:
    assert await store.submissions.intend(intent(name, **changes), again=False) is None


async def accept(store: Store, name: str = "sub_1", video: str = "v1") -> bool:
    return await store.submissions.settle(name, Answered.ACCEPTED, at=ENDED, video_id=video)


async def refuse(store: Store, name: str = "sub_1", outcome: str = Answered.REFUSED) -> bool:
    return await store.submissions.settle(name, outcome, at=ENDED, error="no")


async def removed(store: Store, folder: Path) -> Report:
    """Prune; see that it was what was announced."""
    bodies = Bodies(folder / "bodies")
    announced = await retention.plan(store, bodies, LATER)
    assert await retention.prune(store, bodies, LATER) == announced
    return announced


async def names(store: Store) -> list[str]:
    return [submission.id for submission in await store.submissions.page()]


@pytest.mark.anyio
async def test_an_intent_is_kept_as_it_was_meant_until_it_is_known_what_came_of_it(store: Store) -> None:
    await intended(store)
    assert await store.submissions.page() == [Submission(*intent())]

    assert await accept(store)

    (kept,) = await store.submissions.page()
    assert kept == Submission(*intent(), settled_at=ENDED, outcome="accepted", video_id="v1")


@pytest.mark.anyio
async def test_what_came_of_one_is_said_once(store: Store) -> None:
    await intended(store)

    assert [await refuse(store), await accept(store), await refuse(store, "sub_nobody")] == [
        True,
        False,
        False,
    ]
    (kept,) = await store.submissions.page()
    assert (kept.outcome, kept.video_id, kept.error) == ("refused", None, "no")


@pytest.mark.anyio
@pytest.mark.parametrize("outcome", [None, Answered.ACCEPTED, Answered.UNKNOWN])
async def test_the_same_order_is_not_paid_twice_unnoticed(store: Store, outcome: str | None) -> None:
    await intended(store)
    if outcome is not None:
        video = "v1" if outcome == Answered.ACCEPTED else None
        await store.submissions.settle("sub_1", outcome, at=ENDED, video_id=video)

    earlier = await store.submissions.intend(intent("sub_2"), again=False)

    assert earlier is not None
    assert (earlier.id, earlier.outcome) == ("sub_1", outcome)
    assert await names(store) == ["sub_1"]


@pytest.mark.anyio
async def test_paying_twice_can_be_meant(store: Store) -> None:
    await intended(store)
    await accept(store)

    assert await store.submissions.intend(intent("sub_2"), again=True) is None

    earlier = await store.submissions.intend(intent("sub_3"), again=False)
    assert earlier is not None
    assert earlier.id == "sub_2", "the last one"


@pytest.mark.anyio
async def test_what_was_refused_and_what_is_another_order_stands_in_nobody_s_way(store: Store) -> None:
    await intended(store)
    await refuse(store)

    await intended(store, "sub_2")
    await intended(store, "sub_3", digest="another")
    await intended(store, "sub_4", source="another")

    assert await names(store) == ["sub_4", "sub_3", "sub_2", "sub_1"]


@pytest.mark.anyio
async def test_of_equal_orders_at_the_same_moment_one_is_let_through(store: Store) -> None:
    answers = await asyncio.gather(
        *(store.submissions.intend(intent(f"sub_{number}"), again=False) for number in range(20))
    )

    assert sum(answer is None for answer in answers) == 1
    (kept,) = await names(store)
    assert {answer.id for answer in answers if answer} == {kept}


@pytest.mark.anyio
async def test_the_newest_are_listed_first_and_by_source(store: Store) -> None:
    for number, source in enumerate(["opennote", "openai", "opennote"]):
        await intended(store, f"sub_{number}", source=source, digest=str(number))

    assert [one.id for one in await store.submissions.page(limit=2)] == ["sub_2", "sub_1"]
    assert [one.id for one in await store.submissions.page(source="opennote")] == ["sub_2", "sub_0"]
    assert await store.submissions.page(source="nobody") == []


@pytest.mark.anyio
async def test_what_may_be_paid_for_is_told_apart(store: Store) -> None:
    for number, name in enumerate(["under way", "accepted", "refused", "unknown"]):
        await intended(store, name, digest=name, intended_at=AGES_AGO + number)
    await accept(store, "accepted")
    await refuse(store, "refused")
    await refuse(store, "unknown", Answered.UNKNOWN)

    unclear = await store.submissions.unclear(before=AGES_AGO + 100)

    assert [one.id for one in unclear] == ["unknown", "under way"]
    assert [one.id for one in await store.submissions.unclear(before=AGES_AGO)] == ["unknown"]
    assert [one.id for one in await store.submissions.unclear(before=AGES_AGO + 100, limit=1)] == ["unknown"]


@pytest.mark.anyio
async def test_one_that_was_looked_into_can_be_forgotten(store: Store) -> None:
    await intended(store, "sub_a1")
    await intended(store, "sub_a2", digest="another")

    assert await store.submissions.forget("sub_a") == ["sub_a1", "sub_a2"], "which of them?"
    assert await store.submissions.forget("sub_b") == []
    assert await store.submissions.forget("A1") == ["sub_a1"]
    assert await store.submissions.forget("") == [], "no id is not the beginning of every id"

    assert await names(store) == ["sub_a2"]
    await intended(store, "sub_a3")


@pytest.mark.anyio
async def test_an_intent_outlives_a_store_that_is_killed(database: Path) -> None:
    process = StoreProcess(database)
    remote = await process.connected()
    await intended(remote)
    process.kill()
    await hang_up(remote)

    again = StoreProcess(database, run="run2")
    try:
        remote = await again.connected()
        (kept,) = await remote.submissions.unclear(before=AGES_AGO + 1)
        assert kept == Submission(*intent())
        await hang_up(remote)
    finally:
        again.stop()


@pytest.mark.anyio
async def test_what_is_not_durable_was_not_intended(opening: Opening, database: Path) -> None:
    async with opening(database) as store:
        with failing(database, "INSERT ON submissions"), pytest.raises(Unavailable):
            await store.submissions.intend(intent(), again=False)
        assert await names(store) == []
        await intended(store)


@pytest.mark.anyio
async def test_retention_removes_those_that_are_old(store: Store, tmp_path: Path) -> None:
    for name in ("under way", "settled", "later"):
        await intended(store, name, digest=name)
    await accept(store, "settled")
    await store.submissions.settle("later", Answered.UNKNOWN, at=ENDED + 1)

    assert await removed(store, tmp_path) == Report(submissions=2)
    assert await names(store) == ["later"]


@pytest.mark.anyio
async def test_retention_removes_many_in_steps(store: Store, tmp_path: Path) -> None:
    for number in range(30):
        await intended(store, f"sub_{number}", digest=str(number))

    assert await removed(store, tmp_path) == Report(submissions=30)
