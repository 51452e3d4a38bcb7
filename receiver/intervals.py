"""When a video is asked about again: pure, with time and randomness passed in."""

from __future__ import annotations

from dataclasses import dataclass

from receiver.settings.tables import WatchSettings

GROWTH = 1.5
"""How much longer each interval is than the one before."""
MOST_UNANSWERED = 5
"""So many times in a row without an answer, and a video whose deadline has passed is given up."""
_LEAST_MS = 200
"""What a provider waits between two questions about a video, whatever it says."""
_MOST_DOUBLINGS = 60


@dataclass(frozen=True, slots=True)
class Intervals:
    """The shortest and the longest time between two questions about a video, in milliseconds."""

    first_ms: int
    longest_ms: int

    @classmethod
    def of(cls, settings: WatchSettings) -> Intervals:
        """As they are configured."""
        first, longest = settings.first_interval, settings.longest_interval
        return cls(round(first.total_seconds() * 1000), round(max(first, longest).total_seconds() * 1000))

    def next_at(
        self,
        now: int,
        *,
        asked: int,
        deadline_at: int,
        random: float,
        poll_after_seconds: float | None = None,
        retry_after_seconds: float | None = None,
    ) -> int:
        """Say when a video is asked about again that was asked about `asked` times before, and just now.

        The intervals grow by half each time, from the first to the longest one, and each is drawn from
        three quarters to five quarters of that, so that videos of one batch part. Where a provider says
        when it wants to be asked (`openai-poll-after-ms`), that is the interval; where it says how long
        it is not to be asked (Retry-After), no interval is shorter. `random` lies in [0, 1). Nobody is
        asked after a deadline but once, at the deadline; one that has passed without an answer moves
        nothing.
        """
        if poll_after_seconds is not None:
            wait = max(_LEAST_MS, poll_after_seconds * 1000) * (1 + random / 10)
        else:
            grown = self.first_ms * GROWTH ** min(asked, _MOST_DOUBLINGS)
            wait = min(self.longest_ms, grown) * (0.75 + random / 2)
        wait = max(wait, (retry_after_seconds or 0.0) * 1000)
        at = now + round(wait)
        return min(at, deadline_at) if now < deadline_at else at


def is_over(now: int, *, deadline_at: int, unanswered: int) -> bool:
    """Say whether a video is given up that was asked about just now, and had not come to its end.

    Not for want of an answer: who was away when the deadline passed asks some times before.
    """
    return now >= deadline_at and (unanswered == 0 or unanswered >= MOST_UNANSWERED)
