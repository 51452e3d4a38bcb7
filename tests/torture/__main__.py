"""`make torture`: kill, stop, break and cut so many times; print what it came to; 1 if anything was lost."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.torture.cuts import cut
from tests.torture.eio import break_disk
from tests.torture.kills import kill
from tests.torture.report import Counts, as_table
from tests.torture.terms import term

KINDS = ("kill", "term", "eio", "cut")


def main(options: argparse.Namespace) -> int:
    """Do it all; return the exit status."""
    chance = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    kinds: dict[str, Callable[[], list[Counts]]] = {
        "kill": lambda: [kill(folder, kills=options.kills, chance=chance, tell=_tell)],
        "term": lambda: [term(folder, terms=options.terms, chance=chance, tell=_tell)],
        "eio": lambda: [break_disk(folder, step=1, tell=_tell)],
        "cut": lambda: cut(folder, cuts=options.cuts, chance=chance, tell=_tell),
    }
    done: list[Counts] = []
    for name in options.only:
        if name == "cut" and os.geteuid():
            print("power cuts were not made: they need root", flush=True)
        elif name == "eio" and shutil.which("strace") is None:
            print("no call was made to fail: that needs strace (Debian: apt install strace)", flush=True)
        else:
            done += kinds[name]()
    print(as_table(done))
    if any(counts.problems for counts in done):
        print(f"what is left of it lies in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; exit with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(prog="make torture", description="Kill the receiver, again and again.")
    parser.add_argument("--kills", type=_count, default=1000, help="kill -9 (KILLS=)")
    parser.add_argument("--terms", type=_count, default=500, help="SIGTERM (TERMS=)")
    parser.add_argument("--cuts", type=_count, default=100, help="power cuts, as root (CUTS=)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help=f"some of {','.join(KINDS)} (ONLY=)")
    chosen = parser.parse_args(arguments)
    chosen.only = tuple(filter(None, chosen.only.replace(",", " ").split())) or KINDS
    unknown = [name for name in chosen.only if name not in KINDS]
    if unknown:
        parser.error(f"there is no {unknown[0]!r}; there are {', '.join(KINDS)}")
    return chosen


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _tell(what: str) -> None:
    print(f"… {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(parse(sys.argv[1:])))
