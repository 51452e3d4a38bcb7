"""The shipped handler that everybody copies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from handlers import log as module
from receiver import Context, Event, Video
from receiver.event import StoredBody
from receiver.fetch import Fetcher
from receiver.model import EVENT_TYPES


class Lines:
    """A log that can be read."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))


@pytest.mark.anyio
async def test_an_event_becomes_one_line_without_the_rest_of_its_payload(tmp_path: Path) -> None:
    event = Event(
        id="evt_aaaaaaaa11111111",
        source="opennote",
        type="video.completed",
        key="vid:completed",
        received_at=datetime(2026, 1, 31, tzinfo=UTC),
        warnings=(),
        video=Video(
            id="vid", status="completed", title="Cells", transcript="secret", url="https://x/?secret"
        ),
        payload={"secret": "secret"},
        body=StoredBody(raw=b"{}"),
    )
    context = Context(
        event=event,
        place=None,
        fetcher=Fetcher(max_bytes=1),
        folder=tmp_path,
        log=Lines(),
        attempt=1,
        attempts=20,
        idempotency_key="key",
        replay=None,
        settings=None,
        results={},
        deadline=datetime.now(UTC) + timedelta(minutes=1),
    )
    await module.log(event, context)
    fields = {"type": "video.completed", "video": "vid", "status": "completed", "title": "Cells"}
    assert context.log.lines == [("event.handled", fields)]


def test_it_wants_every_event() -> None:
    (handler,) = module.router.handlers
    assert handler.name == "log"
    assert handler.types == set(EVENT_TYPES)
