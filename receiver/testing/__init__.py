"""For authors of handlers: ready-made events, a context that records, and one line that runs a handler.

    from receiver.testing import Done, RecordingContext, by_link, run

    def test_my_handler(tmp_path):
        event = by_link(title="Cells")
        context = RecordingContext(event, folder=tmp_path)
        assert isinstance(run("my_handler.py", event, context), Done)
        assert context.saved[0].path.name == "Cells-vid_sample.mp4"

Nothing here opens a connection or a database; what is judged is judged by the receiver's own code.
With pytest the fixtures of `receiver.testing.plugin` are there without an import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from receiver.outcome import Cancel, Done, Fail, Outcome, Retry
    from receiver.testing.canned import Asked
    from receiver.testing.captured import from_capture
    from receiver.testing.context import RecordingContext
    from receiver.testing.events import by_link, failed, from_body, inline, looked_up, progress, unknown
    from receiver.testing.recorded import Line
    from receiver.testing.running import run, run_async
    from receiver.testing.videos import sample_picture, sample_video

__all__ = [
    "by_link",
    "inline",
    "looked_up",
    "failed",
    "progress",
    "unknown",
    "from_body",
    "from_capture",
    "RecordingContext",
    "Line",
    "Asked",
    "sample_video",
    "sample_picture",
    "run",
    "run_async",
    "Done",
    "Retry",
    "Fail",
    "Cancel",
    "Outcome",
]

_HOMES = {
    "outcome": ("Cancel", "Done", "Fail", "Outcome", "Retry"),
    "testing.canned": ("Asked",),
    "testing.captured": ("from_capture",),
    "testing.context": ("RecordingContext",),
    "testing.events": ("by_link", "failed", "from_body", "inline", "looked_up", "progress", "unknown"),
    "testing.recorded": ("Line",),
    "testing.running": ("run", "run_async"),
    "testing.videos": ("sample_picture", "sample_video"),
}


def __getattr__(name: str) -> Any:
    # Resolved on first use: pytest imports this package in every project of the same environment.
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"receiver.{home}"), name)
    raise AttributeError(f"module 'receiver.testing' has no attribute {name!r}")
