"""What the stand-ins share: the same jobs and the same luck for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from receiver.sandbox.hooks import Endpoint
from receiver.sandbox.jobs import VideoJobs
from receiver.sandbox.mischief import Luck
from receiver.sandbox.options import Options, Tell
from receiver.sandbox.runner import Runner
from receiver.sandbox.turnstile import Turnstile


@dataclass(frozen=True, slots=True)
class Backstage:
    """One sandbox behind the APIs that it serves."""

    options: Options
    jobs: VideoJobs
    runner: Runner
    turnstile: Turnstile
    endpoint: Endpoint
    """Where OpenAI's events go."""
    luck: Luck
    tell: Tell
    new_id: Callable[[], str]
    """Gives 32 hexadecimal digits, other ones each time."""
