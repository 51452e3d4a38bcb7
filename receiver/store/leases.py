"""Which workers are alive: a lease for each, on the monotonic clock, held in memory only.

A clock that jumps can't expire a lease, and renewing one writes nothing to disk. After a restart of
the store, whoever may still be alive is given a whole lease anew.
"""

from __future__ import annotations

from collections.abc import Callable


class Leases:
    """Deadlines by worker."""

    def __init__(self, seconds: float, *, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._deadlines: dict[str, float] = {}

    def renew(self, worker: str) -> None:
        """Begin the lease of a worker anew."""
        self._deadlines[worker] = self._clock() + self._seconds

    def forget(self, worker: str) -> None:
        """End the lease of a worker."""
        self._deadlines.pop(worker, None)

    def expired(self) -> list[str]:
        """The workers that were silent for a whole lease."""
        now = self._clock()
        return [worker for worker, deadline in self._deadlines.items() if deadline <= now]

    def living(self) -> list[str]:
        """The workers whose lease runs."""
        now = self._clock()
        return [worker for worker, deadline in self._deadlines.items() if deadline > now]
