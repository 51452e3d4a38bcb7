"""Pages of events: the same by every way through the indexes, and never by looking at all events."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from receiver.record import Arrival, JobRow
from receiver.store.sqlite import pages
from receiver.store.sqlite.database import Database
from receiver.store.sqlite.intake import Intake
from receiver.store.values import EventFilter, Row
from tests.contract.stand import AGES_AGO, arrival

pytestmark = pytest.mark.anyio
LIMIT = 50
MANY = 20_000
TYPES = ("video.completed", "video.failed", "video.unknown")
SET_BACK = {10: -8_000, 50: 30_000, 60: -20_000, 70: 0, 100: -60_000}
"""By how much the clock of the small database jumps, at which events: at its end it has not caught up."""
STATES = ("waiting", "ready", "running", "done", "dead", "cancelled")


def asking(database: Database) -> pages.Ask:
    """Queries on the writing connection: it sees the same."""

    async def ask(name: str, parameters: Mapping[str, object]) -> list[Row]:
        return [dict(row) for row in database.execute(name, dict(parameters))]

    return ask


def opened(path: Path, arrivals: list[Arrival]) -> Database:
    """A database with these arrivals."""
    database = Database(path, now=AGES_AGO)
    database.begin()
    Intake(database).record(arrivals)
    database.commit()
    return database


def job(state: str) -> JobRow:
    """A job that begins in a state."""
    return (f"h_{state}", state, None, None)


# Correct, however the clock was set.


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, list[Arrival]]]:
    """120 events whose clock is set back and forth; all but a few sources, types and states are rare."""
    chance = random.Random(7)
    arrivals, now = [], AGES_AGO
    for number in range(120):
        now += SET_BACK.get(number, 1000)
        states = chance.choices(STATES, (1, 6, 1, 12, 1, 1), k=chance.randrange(3))
        arrivals.append(
            arrival(
                f"v{number}",
                received_at=now,
                source=chance.choices(("a", "b", "c"), (30, 5, 1))[0],
                type=chance.choices(TYPES, (30, 5, 1))[0],
                jobs=[job(state) for state in states],
            )
        )
    path = tmp_path_factory.mktemp("pages") / "receiver.db"
    with closing(opened(path, arrivals)) as database:
        yield database, arrivals


def is_wanted(found: Arrival, wanted: EventFilter) -> bool:
    """What the filters mean, said once more and simply."""
    return (
        wanted.source in (None, found.source)
        and wanted.type in (None, found.type)
        and (wanted.state is None or wanted.state in [state for _, state, _, _ in found.jobs])
        and (wanted.since is None or found.received_at >= wanted.since)
        and (wanted.until is None or found.received_at < wanted.until)
    )


def combinations(arrivals: list[Arrival]) -> Iterator[EventFilter]:
    """Every combination of filters, with times before, after, and where the clock was set back."""
    times = [found.received_at for found in arrivals]
    steps = [earlier for earlier, later in pairwise(times) if later < earlier]
    moments = [None, min(times) - 1, steps[0], steps[1] - 1000, steps[-1], max(times) + 1]
    for source, kind, state, since, until in product(
        (None, "a", "c", "z"), (None, *TYPES), (None, *STATES), moments, moments
    ):
        yield EventFilter(source, kind, state, since, until)


@pytest.mark.parametrize(("glance", "few"), [(0, 0), (0, 8), (5, 3), (2000, 3000)])
async def test_every_way_finds_the_page_that_looking_at_each_event_would(
    small: tuple[Database, list[Arrival]], glance: int, few: int
) -> None:
    database, arrivals = small
    ask = asking(database)
    for number, wanted in enumerate(combinations(arrivals)):
        if number % 7 != (glance + few) % 7:
            continue  # each way takes its share
        expected = [seq for seq, found in enumerate(arrivals, 1) if is_wanted(found, wanted)][::-1]
        page = await pages.find(ask, wanted, limit=4, before=None, glance=glance, few=few)
        assert page == expected[:4], wanted
        if page:
            rest = await pages.find(ask, wanted, limit=99, before=page[-1], glance=glance, few=few)
            assert page + rest == expected[: 4 + 99], wanted


async def test_a_page_is_right_where_events_were_removed(tmp_path: Path) -> None:
    arrivals = [arrival(f"v{number}", received_at=AGES_AGO + number * 1000) for number in range(60)]
    with closing(opened(tmp_path / "receiver.db", arrivals)) as database:
        database.connection.execute("DELETE FROM events WHERE seq % 3 = 0")
        left = [seq for seq in range(60, 0, -1) if seq % 3]
        for moment in range(0, 62, 4):
            bound = AGES_AGO + moment * 1000
            for wanted, expected in (
                (EventFilter(until=bound), [seq for seq in left if seq <= moment]),
                (EventFilter(since=bound), [seq for seq in left if seq > moment]),
            ):
                found = await pages.find(asking(database), wanted, limit=60, before=None, glance=3)
                assert found == expected


async def test_without_events_every_page_is_empty(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "receiver.db", now=AGES_AGO)) as database:
        for wanted in (EventFilter(), EventFilter(state="ready"), EventFilter(type="video.failed", until=5)):
            assert await pages.find(asking(database), wanted, limit=9, before=None) == []


# Quick, counted in steps of SQLite's machine, which do not depend on the computer.


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Many events a second apart; one in a hundred failed, one in 5,000 has a job that is not done."""
    others = [state for state in STATES if state != "done"]
    arrivals = [
        arrival(
            f"v{number}",
            received_at=AGES_AGO + number * 1000,
            source="rare" if number == 17 else "opennote",
            type="video.failed" if number % 100 == 0 else "video.completed",
            jobs=[job(others[number // 1000 % 5] if number % 1000 == 500 and number < 5000 else "done")],
        )
        for number in range(MANY)
    ]
    path = tmp_path_factory.mktemp("pages") / "receiver.db"
    with closing(opened(path, arrivals)) as database:
        yield database


def at(share: float) -> int:
    return AGES_AGO + int(MANY * share) * 1000


QUICK: dict[str, EventFilter] = {
    "any": EventFilter(),
    "a rare source": EventFilter(source="rare"),
    "no such source": EventFilter(source="none"),
    "a rare type": EventFilter(type="video.failed"),
    "no such type": EventFilter(type="video.unknown"),
    "a frequent type": EventFilter(type="video.completed"),
    **{f"the state {state}": EventFilter(state=state) for state in STATES},
    "long ago": EventFilter(until=at(0.01)),
    "lately": EventFilter(since=at(0.99)),
    "in the future": EventFilter(since=at(2)),
    "before the first": EventFilter(until=AGES_AGO),
    "a rare state of a rare type": EventFilter(state="dead", type="video.failed"),
    "a frequent state of a rare type": EventFilter(state="done", type="video.failed"),
    "a frequent state of a rare source": EventFilter(state="done", source="rare"),
    "a rare state lately": EventFilter(state="cancelled", since=at(0.9)),
    "no such type long ago": EventFilter(type="video.unknown", until=at(0.01)),
    "a video": EventFilter(video="v5"),
}


def counting(database: Database, steps: list[int]) -> Callable[[], Any]:
    """Note steps of SQLite's machine, in hundreds, until what is returned is called."""
    database.connection.set_progress_handler(lambda: steps.append(100), 100)
    return lambda: database.connection.set_progress_handler(None, 0)


@pytest.mark.parametrize("name", QUICK)
async def test_a_page_takes_few_steps_whatever_is_asked(large: Database, name: str) -> None:
    steps: list[int] = []
    stop = counting(large, steps)
    found = await pages.find(asking(large), QUICK[name], limit=LIMIT, before=None, glance=200, few=300)
    stop()
    assert sum(steps) < 3 * MANY / 4  # to look at each event takes more than five steps for each
    assert len(found) <= LIMIT


async def test_a_border_in_the_middle_takes_a_few_steps_for_half_of_the_events(large: Database) -> None:
    for wanted in (EventFilter(until=at(0.5)), EventFilter(since=at(0.5), until=at(0.501))):
        steps: list[int] = []
        stop = counting(large, steps)
        found = await pages.find(asking(large), wanted, limit=LIMIT, before=None, glance=200, few=300)
        stop()
        assert found
        assert sum(steps) < 5 * MANY


async def test_the_figures_of_metrics_do_not_look_at_jobs_that_are_done(large: Database) -> None:
    steps: list[int] = []
    stop = counting(large, steps)
    (row,) = await asking(large)("figures", {})
    stop()
    assert row["jobs"] == MANY
    assert [row[state] for state in STATES if state != "done"] == [1] * 5
    assert sum(steps) < MANY / 10
