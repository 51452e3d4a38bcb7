"""Decide what becomes of a job after an attempt: pure, with time and randomness passed in."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from receiver.life import Move
from receiver.links import unsigned
from receiver.outcome import Cancel, Done, Fail, Outcome, Retry

FIRST_SECONDS = 2.0
LONGEST_SECONDS = 30 * 60.0
LEAST_WAIT_MS = 1000
"""What a job waits at least, however soon its link expires."""
ERROR_LIMIT = 4096
"""Bytes of UTF-8 that are kept of an error."""

_GOLDEN = (5**0.5 - 1) / 2
# C0 and C1 controls, lone surrogates, line separators, and what changes the direction of writing.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Decision:
    """How a job is settled."""

    move: Move
    run_at_ms: int | None = None
    """When it runs again, in Unix milliseconds; set for RETRY only."""
    error: str | None = None
    """Why it is not done, fit for a terminal and at most 4 KiB; None for FINISH only."""
    result: Any = None
    """What the handler returned; set for FINISH only."""


def decide(
    outcome: Outcome,
    *,
    attempt: int,
    attempts: int,
    now_ms: int,
    random: float,
    expires_at_ms: int | None = None,
) -> Decision:
    """Turn the outcome of attempt number `attempt` (from 1, of at most `attempts`) into a decision.

    `random` lies in [0, 1); give all attempts of a job the same one (see `backoff_seconds`). A job whose
    link expires never waits past that: at most half of the time that is left.
    """
    if isinstance(outcome, Done):
        return Decision(Move.FINISH, result=outcome.result)
    if isinstance(outcome, Cancel):
        return Decision(Move.CANCEL, error=error_text(outcome.reason))
    if isinstance(outcome, Fail):
        return Decision(Move.FAIL, error=error_text(outcome.reason))
    if attempt >= attempts:
        ending = f" (after {attempt} attempt{'' if attempt == 1 else 's'})"
        return Decision(Move.FAIL, error=error_text(outcome.reason, ending=ending))
    wait_ms = _wait_ms(outcome, attempt, random)
    if expires_at_ms is not None and expires_at_ms > now_ms:
        wait_ms = min(wait_ms, max(LEAST_WAIT_MS, (expires_at_ms - now_ms) // 2))
    run_at_ms = now_ms + wait_ms
    return Decision(Move.RETRY, run_at_ms=run_at_ms, error=error_text(outcome.reason))


def _wait_ms(outcome: Retry, attempt: int, random: float) -> int:
    wait = outcome.after
    if wait is None:
        wait = timedelta(seconds=backoff_seconds(attempt, random=random))
    return round(wait / timedelta(milliseconds=1))


def backoff_seconds(attempt: int, *, random: float) -> float:
    """Say how long to wait after failed attempt number `attempt` (from 1), in seconds.

    Exponential with full jitter: spread evenly from 0 to a limit of 2 s that doubles up to 30 min
    (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). The limits of the 19
    waits between 20 attempts add up to 18,246 s, so the mean total is 9,123 s (2.5 h). With luck
    drawn anew for each wait, one job in 8,400 would use up its attempts within an hour. So `random`
    is drawn once for a job, and its waits step through the range by the golden ratio: each wait is
    spread as evenly as before and jobs stay independent, but none is unlucky nine times in a row.
    The total then lies between 7,616 s and 10,581 s (2.1 h and 2.9 h) whatever the luck. A fresh
    `random` for every attempt is allowed, and is the ordinary full jitter.
    """
    doublings = min(attempt - 1, 30)  # far beyond the limit, and no overflow for absurd numbers
    limit = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0**doublings)
    return limit * ((random + (attempt - 1) * _GOLDEN) % 1.0)


def luck_of(job: str) -> float:
    """Give the number in [0, 1) that belongs to a job, the same in every process."""
    digest = hashlib.sha256(job.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def error_text(text: str, *, ending: str = "") -> str:
    """Make a text fit to be stored and shown: escaped, one line, at most 4 KiB, no link in it signed.

    `ending` is never cut.
    """
    room = ERROR_LIMIT - len(ending.encode())
    # A character never gets shorter by being escaped, so what lies beyond the limit can't be seen.
    seen = unsigned(text)[: room + 1]
    escaped = _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), seen)
    encoded = escaped.encode()
    if len(encoded) <= room:
        return escaped + ending
    return encoded[: room - len("…".encode())].decode("utf-8", "ignore") + "…" + ending
