"""Pages in the order of commits: the same by every way, quick wherever they begin, gaps counted."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from receiver.record import Arrival
from receiver.store.sqlite import pages
from receiver.store.sqlite.database import Database
from receiver.store.values import EventFilter
from tests.contract.stand import AGES_AGO, arrival
from tests.unit.test_pages import (
    LIMIT,
    MANY,
    QUICK,
    asking,
    combinations,
    counting,
    is_wanted,
    large,
    opened,
    small,
)

pytestmark = pytest.mark.anyio
__all__ = ["large", "small"]


@pytest.mark.parametrize(("glance", "few"), [(0, 0), (0, 8), (5, 3), (2000, 3000)])
async def test_every_way_finds_what_looking_at_each_event_would(
    small: tuple[Database, list[Arrival]], glance: int, few: int
) -> None:
    database, arrivals = small
    ask = asking(database)
    for number, wanted in enumerate(combinations(arrivals)):
        if number % 7 != (glance + few) % 7:
            continue  # each way takes its share
        expected = [seq for seq, found in enumerate(arrivals, 1) if is_wanted(found, wanted)]
        first = await pages.follow(ask, wanted, limit=4, after=0, glance=glance, few=few)
        assert first.seqs == expected[:4], wanted
        rest = await pages.follow(ask, wanted, limit=99, after=first.through, glance=glance, few=few)
        assert first.seqs + rest.seqs == expected[: 4 + 99], wanted
        assert (first.removed, rest.removed) == (0, 0)


async def test_one_video_is_followed_through_both_places_where_it_is_known(tmp_path: Path) -> None:
    arrivals = [arrival(f"v{number % 3}", f"other:{number}") for number in range(30)]
    with closing(opened(tmp_path / "receiver.db", arrivals)) as database:
        found = await pages.follow(asking(database), EventFilter(video="v1"), limit=4, after=5)
        assert (found.seqs, found.through) == ([8, 11, 14, 17], 17)
        found = await pages.follow(asking(database), EventFilter(video="v1"), limit=9, after=26)
        assert (found.seqs, found.through) == ([29], 30)


async def test_what_is_not_wanted_is_passed_over_for_good(small: tuple[Database, list[Arrival]]) -> None:
    database, arrivals = small
    found = await pages.follow(asking(database), EventFilter(source="none"), limit=4, after=3)
    assert found == pages.Found([], len(arrivals), 0)


@pytest.mark.parametrize("place", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("name", QUICK)
async def test_a_page_takes_few_steps_wherever_it_begins(large: Database, name: str, place: float) -> None:
    steps: list[int] = []
    stop = counting(large, steps)
    found = await pages.follow(
        asking(large), QUICK[name], limit=LIMIT, after=int(MANY * place), glance=200, few=300
    )
    stop()
    assert sum(steps) < 3 * MANY / 4
    assert len(found.seqs) <= LIMIT


async def test_without_events_there_is_nothing_to_follow(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "receiver.db", now=AGES_AGO)) as database:
        assert await pages.follow(asking(database), EventFilter(), limit=9, after=0) == ([], 0, 0)


async def test_events_that_are_gone_are_counted_where_they_would_have_come(tmp_path: Path) -> None:
    arrivals = [arrival(f"v{number}") for number in range(1, 13)]
    with closing(opened(tmp_path / "receiver.db", arrivals)) as database:
        database.connection.execute("DELETE FROM events WHERE seq IN (1, 2, 3, 5, 7)")
        database.set_value("removed_through", "7")
        ask = asking(database)
        for after, limit, expected in (
            (0, 99, ([4, 6, 8, 9, 10, 11, 12], 12, 5)),
            (0, 1, ([4], 4, 3)),
            (4, 1, ([6], 6, 1)),
            (6, 2, ([8, 9], 9, 1)),
            (7, 2, ([8, 9], 9, 0)),
            (12, 9, ([], 12, 0)),
        ):
            assert await pages.follow(ask, EventFilter(), limit=limit, after=after) == expected
        assert (await pages.follow(ask, EventFilter(source="none"), limit=9, after=1)).removed == 4


async def test_a_record_whose_events_are_all_gone_says_how_many_that_were(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "receiver.db", [arrival("v1"), arrival("v2")])) as database:
        database.connection.execute("DELETE FROM events")
        database.set_value("removed_through", "2")
        assert await pages.follow(asking(database), EventFilter(), limit=9, after=1) == ([], 2, 1)
