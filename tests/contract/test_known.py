"""What is known of videos: the newest events in memory, the others in a table, and nobody sees which."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.store.sqlite import known
from receiver.store.sqlite.database import Database
from receiver.store.sqlite.intake import Intake
from receiver.store.sqlite.retention import Retention
from receiver.store.values import Keep
from tests.contract.stand import AGES_AGO, arrival

VIDEOS = 700


@pytest.fixture(autouse=True)
def small_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "GENERATION", 100)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "receiver.db", now=1)
    yield database
    database.close()


def record(database: Database, intake: Intake, videos: list[str], *, what: str = "completed") -> list[str]:
    """Record in batches of three; the verdicts."""
    verdicts = []
    for start in range(0, len(videos), 3):
        database.begin()
        batch = [arrival(identity=f"{video}@org", video_id=video, what=what) for video in videos[start:][:3]]
        verdicts += [receipt.verdict for receipt in intake.record(batch)]
        database.commit()
    return verdicts


def indexed(database: Database) -> int:
    (count,) = database.connection.execute("SELECT count(*) FROM events_of_videos").fetchone()
    return int(count)


def test_every_video_is_recognised_wherever_it_is_known_from(database: Database) -> None:
    videos = [f"vid-{number}" for number in range(VIDEOS)]
    intake = Intake(database)
    assert set(record(database, intake, videos)) == {"accepted"}
    assert 0 < indexed(database) < VIDEOS  # some here, some there

    again = random.Random(1).sample(videos, VIDEOS)

    assert set(record(database, intake, again)) == {"duplicate"}
    assert set(record(database, intake, again, what="progress")) == {"duplicate"}


def test_a_store_that_starts_again_knows_all_that_was_committed(database: Database) -> None:
    videos = [f"vid-{number}" for number in range(VIDEOS)]
    for start in range(0, VIDEOS, 150):  # each ends in the middle of something
        assert set(record(database, Intake(database), videos[start:][:150])) == {"accepted"}

    assert set(record(database, Intake(database), videos)) == {"duplicate"}


def test_a_transaction_that_is_undone_leaves_nothing_known(database: Database) -> None:
    videos = [f"vid-{number}" for number in range(330)]
    intake = Intake(database)
    record(database, intake, videos[:300])
    database.begin()
    intake.record([arrival(identity=f"{video}@org", video_id=video) for video in videos[300:]])
    database.rollback()
    intake.forget()

    assert set(record(database, intake, videos[300:])) == {"accepted"}
    assert set(record(database, intake, videos)) == {"duplicate"}


def test_two_videos_of_one_hash_are_two_videos(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "hash_of", lambda _: 7)
    videos = [f"vid-{number}" for number in range(250)]
    intake = Intake(database)

    assert set(record(database, intake, videos)) == {"accepted"}
    assert set(record(database, intake, videos)) == {"duplicate"}


def test_the_hash_of_an_id_stays_what_it_is() -> None:
    assert known.hash_of("vid-1") == 135163415867705649
    assert -(2**63) <= known.hash_of("ü" * 300) < 2**63


def test_an_event_that_was_removed_is_news_again_wherever_it_was_known_from(database: Database) -> None:
    videos = [f"vid-{number}" for number in range(VIDEOS)]
    intake = Intake(database)
    record(database, intake, videos)
    retention = Retention(database, intake)
    old, keep = videos[1::2], Keep(AGES_AGO + 1, 0, 0)
    assert 0 < indexed(database) < VIDEOS
    for start in range(1, VIDEOS, 20):
        database.begin()
        retention.remove_events(range(start + 1, start + 20, 2), keep)
        database.commit()

    assert set(record(database, intake, videos[::2])) == {"duplicate"}
    assert set(record(database, intake, old)) == {"accepted"}
    record(database, intake, [f"more-{number}" for number in range(VIDEOS)])
    again = Intake(database)
    assert set(record(database, again, videos)) == {"duplicate"}
    strays = "SELECT count(*) FROM events_of_videos WHERE event NOT IN (SELECT seq FROM events)"
    assert database.connection.execute(strays).fetchone()[0] == 0
