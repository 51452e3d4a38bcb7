"""Turns API requests away on purpose, before they do anything."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from receiver.sandbox.jobs import VideoJobs
from receiver.sandbox.mischief import Luck, Mischief

WAIT = {"Retry-After": "1"}
"""Goes with the answer to one request too many."""


class Turned(StrEnum):
    """Why a request is turned away."""

    THROTTLED = "throttled"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class _Request:
    number: int
    mischief: Mischief


class Turnstile:
    """Every request to the API of a provider passes it; they are numbered as they come."""

    def __init__(self, jobs: VideoJobs, *, luck: Luck) -> None:
        self._jobs = jobs
        self._luck = luck
        self._passed = 0

    def turn_away(self) -> Turned | None:
        """Say whether, and why, the next request is turned away."""
        request = _Request(self._passed, self._jobs.behaviour.mischief)
        self._passed += 1
        return next((why for why in Turned if self._luck.strikes(why.value, request)), None)
