"""What a worker has claimed and not begun: nothing while jobs take their time, else 0.1 s of work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from receiver.store.values import Row

_AHEAD_SECONDS = 0.1
_MOST_AHEAD = 512
_QUICK_PER_SECOND = 100.0
"""Below this many jobs a second nothing is claimed ahead: asking for each costs too little to matter."""
_WINDOW_SECONDS = 0.02
_STALE_SECONDS = 2.0


class Backlog:
    """Claimed jobs by handler, and how many may be claimed ahead of free slots.

    A claim is a transaction with a sync. So jobs that do next to nothing are claimed by the hundred, while of
    jobs that take long none waits here that another worker could run.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._queues: dict[str, deque[Row]] = {}
        self._filled_at = clock()
        self._size = 0
        self._done = 0
        self._rate = 0.0
        self._since = clock()

    def __len__(self) -> int:
        return self._size

    def of(self, handler: str) -> int:
        """How many jobs of one handler wait here."""
        return len(self._queues.get(handler, ()))

    def jobs(self) -> list[int]:
        """Their numbers; may be called in any thread."""
        return [row["job"] for queue in list(self._queues.values()) for row in list(queue)]

    def put(self, row: Row) -> None:
        """Add a claimed job."""
        self._queues.setdefault(row["handler"], deque()).append(row)
        self._filled_at = self._clock()
        self._size += 1

    def take(self, may_run: Callable[[str], bool]) -> Row | None:
        """The next job of a handler that has a free slot; the handlers take turns."""
        for handler, queue in self._queues.items():
            if queue and may_run(handler):
                self._queues[handler] = self._queues.pop(handler)  # to the end of the line
                self._size -= 1
                return queue.popleft()
        return None

    def note_done(self) -> None:
        """One more job has ended."""
        self._done += 1

    def ahead(self) -> int:
        """How many jobs may be claimed beyond the free slots."""
        now = self._clock()
        passed = now - self._since
        if passed >= _WINDOW_SECONDS:
            self._rate = (self._rate + self._done / passed) / 2
            self._done, self._since = 0, now
        return min(_MOST_AHEAD, int(self._rate * _AHEAD_SECONDS)) if self._rate > _QUICK_PER_SECOND else 0

    def is_stale(self) -> bool:
        """Whether what waits here has waited for longer than was meant."""
        return self._size > 0 and self._clock() - self._filled_at > _STALE_SECONDS

    def clear(self) -> None:
        """Forget all that waits here."""
        self._queues.clear()
        self._size = 0
