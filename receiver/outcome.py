"""What an attempt decided: Done, Retry, Fail or Cancel. A handler may return or raise the last three."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from receiver.units import duration


@dataclass(frozen=True, slots=True)
class Done:
    """The handler returned; `result` is its JSON value (or None)."""

    result: Any = None


class Retry(Exception):
    """Run the job again later; this attempt counts.

    `after` is the delay: a duration as people write it (`"30s"`), seconds, or a timedelta. Without
    it the ordinary backoff decides. `reason` is kept as the job's last error.
    """

    def __init__(self, after: str | float | timedelta | None = None, reason: str = "") -> None:
        self.after: timedelta | None = None if after is None else duration(after)
        self.reason = reason or "the handler asked for another attempt"
        super().__init__(self.reason)


class Fail(Exception):
    """Give the job up at once; it becomes a dead letter with this `reason`."""

    def __init__(self, reason: str = "the handler gave up") -> None:
        self.reason = reason
        super().__init__(reason)


class Cancel(Exception):
    """The event is not this handler's business; the job is cancelled with this `reason`."""

    def __init__(self, reason: str = "not this handler's business") -> None:
        self.reason = reason
        super().__init__(reason)


Outcome = Done | Retry | Fail | Cancel
