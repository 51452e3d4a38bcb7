"""What is stored in place of what can't be."""

from __future__ import annotations

from receiver.errors import Unstorable
from receiver.life import Move
from receiver.store.values import Settlement


def in_place_of(settlement: Settlement, error: Unstorable, *, now: int) -> Settlement:
    """What is stored instead of a settlement that can't be: the job is dead and says why.

    To give the job back would be to run it again and again: what is lost costs no attempt. Its work
    may be done, and another attempt would do it twice and end the same way.
    """
    reason = f"what came of the attempt can't be stored: {error}"
    return Settlement(
        *(settlement.job, settlement.claim, Move.FAIL, now, None, reason, None, type(error).__name__)
    )
