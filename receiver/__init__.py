"""A webhook receiver and event processor for video-generation callbacks: the names for handlers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from receiver.context import Context, Saved
    from receiver.event import Event
    from receiver.model import Video
    from receiver.outcome import Cancel, Fail, Retry
    from receiver.programs import Ended
    from receiver.router import Router
    from receiver.signing import Signer
    from receiver.units import Duration

__all__ = [
    "Cancel",
    "Context",
    "Duration",
    "Ended",
    "Event",
    "Fail",
    "Retry",
    "Router",
    "Saved",
    "Signer",
    "Video",
    "__version__",
]

__version__ = "0.1.0"

_HOMES = {
    "Cancel": "receiver.outcome",
    "Context": "receiver.context",
    "Duration": "receiver.units",
    "Ended": "receiver.programs",
    "Event": "receiver.event",
    "Fail": "receiver.outcome",
    "Retry": "receiver.outcome",
    "Router": "receiver.router",
    "Saved": "receiver.context",
    "Signer": "receiver.signing",
    "Video": "receiver.model",
}


def __getattr__(name: str) -> Any:
    # Resolved on first use, so that `receiver --help` does not wait for what only handlers need.
    if name not in _HOMES:
        raise AttributeError(f"module 'receiver' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
