"""Fixtures for tests of handlers; pytest finds them by itself where the receiver is installed.

Importing it costs nothing: what a fixture needs is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from receiver.event import Event
    from receiver.outcome import Outcome
    from receiver.testing.context import RecordingContext


@pytest.fixture
def receiver_context(tmp_path: Path) -> Callable[..., RecordingContext]:
    """Make contexts that save below `tmp_path`: `receiver_context(event, settings=…, video=…)`."""
    from receiver.testing.context import RecordingContext

    def make(event: Event, **options: Any) -> RecordingContext:
        return RecordingContext(event, **{"folder": tmp_path, **options})

    return make


@pytest.fixture
def run_handler(receiver_context: Callable[..., RecordingContext]) -> Callable[..., Outcome]:
    """Run a handler on an event, saving below `tmp_path`: `run_handler(handler, event, settings=…)`."""
    from receiver.testing.running import run

    def run_it(handler: Any, event: Event, **options: Any) -> Outcome:
        return run(handler, event, receiver_context(event, **options))

    return run_it
