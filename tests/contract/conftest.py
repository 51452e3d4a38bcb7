"""One suite for every store: what each test is given is parametrised here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.store.base import Store
from tests.contract.sides import Side
from tests.contract.stand import OPENINGS, Opening, in_this_process


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the database of a test is."""
    return tmp_path / "receiver.db"


@pytest.fixture(params=OPENINGS)
def opening(request: pytest.FixtureRequest) -> Opening:
    """How to open a store, for tests that want one of their own."""
    return OPENINGS[request.param]


@pytest.fixture
async def store(opening: Opening, database: Path) -> AsyncIterator[Store]:
    """An empty store."""
    async with opening(database) as opened:
        yield opened


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Side]:
    """Where captures come from."""
    async with in_this_process(tmp_path / "here" / "receiver.db") as store:
        yield Side(store, tmp_path / "here")


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Side]:
    """Another one, empty, that never hears of the first."""
    async with in_this_process(tmp_path / "there" / "receiver.db") as other:
        yield Side(other, tmp_path / "there")
