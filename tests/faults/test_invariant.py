"""The comparison of what senders were told with what is stored sees every way in which they can differ."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from receiver.store.service import Service
from receiver.store.values import Rejection
from tests.contract.stand import arrival, claim, ready, settlement
from tests.invariant import Ledger, assert_balanced

NOW = 1_700_000_000_000
Books = tuple[Path, Ledger]


@pytest.fixture
async def books(tmp_path: Path) -> Books:
    """An event that is done and was repeated, one that waits, a rejection, a refusal; all true."""
    database, ledger = tmp_path / "receiver.db", Ledger()
    store = Service(database, run="r", lease_seconds=60)
    for event_id, identity in (("evt_a", "a"), ("evt_x", "a"), ("evt_b", "b")):
        receipt = await store.record(arrival(identity, event_id=event_id, jobs=ready("save_video")))
        ledger.told(200, b'{"event": "%b"}' % receipt.event_id.encode())
    [job] = await claim(store, "r/1.1", "save_video", count=1)
    assert await store.settle([settlement(job)], worker="r/1.1") == [True]
    await store.reject([Rejection(NOW, "opennote", 401, "x-api-key is wrong", "192.0.2.1")])
    ledger.told(401, b"{}")
    ledger.told(503, b"{}")
    await store.close()
    return database, ledger


@pytest.mark.anyio
@pytest.mark.fault("O10")
async def test_books_that_are_right_balance(books: Books) -> None:
    database, ledger = books

    assert_balanced(database, ledger)
    assert len(ledger.acknowledged) == 3


def _forget(ledger: Ledger) -> None:
    ledger.answers.pop(0)
    ledger.answers.remove((503, None))


@pytest.mark.anyio
@pytest.mark.fault("O10")
@pytest.mark.parametrize(
    "tell",
    [
        lambda ledger: ledger.told(200, b'{"event": "evt_lost"}'),
        lambda ledger: ledger.told(200, b'{"event": "evt_b"}'),
        lambda ledger: ledger.answers.remove((401, None)),
        _forget,
    ],
    ids=["an event that is not there", "a delivery that is not there", "a rejection too many", "an answer"],
)
async def test_an_answer_that_is_not_true_is_seen(tell: Callable[[Ledger], object], books: Books) -> None:
    database, ledger = books
    tell(ledger)

    with pytest.raises(AssertionError):
        assert_balanced(database, ledger)


@pytest.mark.anyio
@pytest.mark.fault("O10")
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events WHERE id = 'evt_b'",
        "DELETE FROM deliveries WHERE verdict = 'duplicate'",
        "UPDATE events SET duplicates = 0",
        "UPDATE deliveries SET verdict = 'accepted'",
        "UPDATE events SET delivery = 2 WHERE id = 'evt_a'",
        "UPDATE jobs SET state = 'ready'",
        "UPDATE jobs SET state = 'dead'",
        "UPDATE jobs SET state = 'running'",
        "UPDATE attempts SET claim = claim + 1",
        "DELETE FROM attempts",
        "INSERT INTO jobs (event, handler, state) SELECT event, handler, 'ready' FROM jobs",
        "UPDATE rejections SET repeated = 2",
        "UPDATE deliveries SET body = NULL, body_sha256 = hex(zeroblob(32)), payload = '{}'",
    ],
)
async def test_a_database_that_was_tampered_with_is_seen(statement: str, books: Books) -> None:
    database, ledger = books
    with closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(statement).rowcount > 0

    with pytest.raises((AssertionError, FileNotFoundError)):
        assert_balanced(database, ledger)
