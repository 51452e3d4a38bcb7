"""What a dry run says is what is made then: over random handlers, histories and wishes."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import replay
from receiver.model import EVENT_TYPES
from receiver.record import JobRow, Wish
from receiver.replay import Occasion
from receiver.router import HandlerCard, plan
from receiver.store.base import Store
from receiver.store.values import EventFilter, Row
from tests.contract.stand import AGES_AGO, arrival, card, claim, in_this_process, settlement

OWN = "receiver.retrieve"
NAMES = ["a", "b", "c", "d"]
EVERYTHING = Occasion("ann@laptop", wanted=EventFilter())
FIRSTS = [("thin", "opennote", "video.completed", "callback", OWN)]


def some_cards(luck: Random) -> list[Row]:
    """Handlers in chains, each for some events."""
    found = []
    for number, name in enumerate(NAMES):
        fields = card(name, after=luck.choice([None, *NAMES[:number]]))
        types = luck.sample(EVENT_TYPES, 2) if luck.random() < 0.4 else list(EVENT_TYPES)
        found.append(fields | {"types": types, "source": luck.choice([None, None, "thin"])})
    luck.shuffle(found)
    return found


def jobs(cards: list[Row], source: str, what: str) -> list[JobRow]:
    first = OWN if (source, what) == ("thin", "completed") else None
    handlers = [HandlerCard.from_json(fields) for fields in cards]
    planned = plan(handlers, source=source, type=f"video.{what}", first=first)
    return [(job.handler, job.state.value, job.after, job.reason) for job in planned]


async def run_some(store: Store, luck: Random, *, at_most: int, moves: list[str]) -> int:
    """Claim what is due, and have it end; how many that were."""
    claimed = await claim(store, "w", OWN, *NAMES, count=at_most)
    for job in claimed:
        await store.settle([settlement(job, luck.choice(moves), error="it is said so")], worker="w")
    return len(claimed)


@given(luck=st.randoms(use_true_random=False))
@settings(max_examples=12, deadline=None)
def test_a_dry_run_is_what_is_made_and_nothing_waits_for_ever(luck: Random) -> None:
    asyncio.run(_compare(luck))


async def _compare(luck: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with in_this_process(Path(folder) / "receiver.db") as store:
            cards = some_cards(luck)
            for number in range(4):
                source, what = luck.choice(["thin", "opennote"]), luck.choice(["completed", "failed"])
                planned = jobs(cards, source, what)
                await store.record(arrival(f"v{number}", what, source=source, jobs=planned))
            for _ in range(3):
                await run_some(store, luck, at_most=luck.randint(1, 8), moves=["finish", "fail", "cancel"])
                cards = luck.choice([cards, some_cards(luck)])
                named = luck.choice([[], luck.sample(NAMES, 2)])
                await _replay(store, Wish(cards, named, luck.random() < 0.3, FIRSTS))
            while await run_some(store, luck, at_most=100, moves=["finish"]):
                pass
            events = await store.events(EventFilter(), limit=10, before=None)
            assert {job["state"] for event in events for job in event["jobs"]} <= {
                "done",
                "dead",
                "cancelled",
            }


async def _replay(store: Store, wish: Wish) -> None:
    seqs = await replay.choose(store, EVERYTHING)
    said = await store.replays.plan(seqs, wish)
    foreseen = await replay.foresee(store, seqs, wish)
    begun = await replay.begin(
        store, EVERYTHING, selected=len(seqs), wish=wish, now=AGES_AGO, random=os.urandom
    )
    standing = await replay.run(store, seqs, wish, begun)

    made = Counter[str]()
    for event in said:
        found = [job for job in (await store.event(event["id"]))["jobs"] if job["replay"] == standing.replay]
        found.sort(key=lambda job: job["id"])
        assert [(job["handler"], job["state"], job["waits_for"]) for job in found] == [
            job[:3] for job in event["jobs"]
        ]
        made.update(job["handler"] for job in found)
    assert (standing.jobs, made) == (sum(made.values()), foreseen.jobs)
