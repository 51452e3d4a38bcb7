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
        self._checked_at = clock()

    def renew(self, worker: str) -> None:
        """Begin the lease of a worker anew."""
        self._deadlines[worker] = self._clock() + self._seconds

    def end(self, worker: str) -> None:
        """Let the lease of a worker have run out."""
        self._deadlines[worker] = self._clock()

    def forget(self, worker: str) -> None:
        """Know nothing more of a worker."""
        self._deadlines.pop(worker, None)

    def expired(self) -> list[str]:
        """The workers that were silent for a whole lease."""
        now = self._clock()
        return [worker for worker, deadline in self._deadlines.items() if deadline <= now]

    def note_check(self) -> None:
        """All that silent workers held has just been given back."""
        self._checked_at = self._clock()

    @property
    def check_age(self) -> float:
        """How many seconds ago that was last so."""
        return self._clock() - self._checked_at

    def living(self) -> list[str]:
        """The workers whose lease runs."""
        now = self._clock()
        return [worker for worker, deadline in self._deadlines.items() if deadline > now]
