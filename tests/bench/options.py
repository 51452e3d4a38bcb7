"""What the command line of the bench says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.programs import ROOT

SECTIONS = (
    "small",
    "big",
    "stored",
    "start",
    "handlers",
    "streams",
    "attack",
    "jobs",
    "replays",
    "listen",
    "downloads",
)


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured."""

    rounds: int
    seconds: int
    """How long each load of a round takes."""
    events: int
    """How many are stored before the speed is measured with a full store."""
    only: tuple[str, ...]
    output: Path

    def tell(self, what: str) -> None:
        """Say what happens now, to those who wait."""
        print(f"… {what}", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; exit with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the receiver beside others.")
    parser.add_argument("--rounds", type=_count, default=5, help="rounds (ROUNDS=)")
    parser.add_argument("--seconds", type=_count, default=5, help="seconds of each load (DURATION=)")
    parser.add_argument("--events", type=_count, default=1_000_000, help="events of a full store (EVENTS=)")
    parser.add_argument("--only", default="", help=f"some of {','.join(SECTIONS)} (ONLY=)")
    parser.add_argument("--output", type=Path, default=ROOT / "bench.json", help="where the JSON goes")
    chosen = parser.parse_args(arguments)
    only = tuple(filter(None, chosen.only.replace(",", " ").split())) or SECTIONS
    unknown = [name for name in only if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    return Options(chosen.rounds, chosen.seconds, chosen.events, only, chosen.output)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
