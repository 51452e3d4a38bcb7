"""`make chaos`: a sandbox that misbehaves, and kills; print what it came to; 1 if anything is wrong."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.storm import chaos

_MOST = 5000
"""`receiver events` lists ten thousand at most, and a video may have two."""


def main(options: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    report = chaos(
        folder,
        videos=options.videos,
        seconds=options.seconds,
        seed=options.seed,
        chance=random.Random(options.seed),
        tell=lambda what: print(f"… {what}", file=sys.stderr, flush=True),
    )
    print(report.as_table())
    if report.problems:
        print(f"what is left of it lies in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exit with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Everything goes wrong at once.")
    parser.add_argument("--videos", type=_count, default=2000, help="how many are asked for (VIDEOS=)")
    parser.add_argument("--seconds", type=_count, default=300, help="how long that takes (SECONDS=)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="(SEED=)")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_MOST}")
    return number


if __name__ == "__main__":
    sys.exit(main(parse(sys.argv[1:])))
