"""One suite for every store: what each test is given is parametrised here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.store.base import Store
from tests.contract.stand import OPENINGS, Opening


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
