"""`make fuzz`: fuzz each target for a while; print an input that shows a defect, and how to repeat it."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.targets import NAMES, Target, load

_ROOT = Path(__file__).parents[2]
_LONGEST_INPUT = 2048
_SLOWEST_SECONDS = 10
_MOST_MEBIBYTES = 1024
_GRACE_SECONDS = 60
_DONE = re.compile(r"^Done (\d+) runs", re.MULTILINE)


def main(arguments: Sequence[str]) -> int:
    """Fuzz; return the exit status: 0 nothing was found, 1 something was, 2 it can't be done here."""
    options = _parse(arguments)
    if options.input is not None:
        for name in options.only:
            load(name).check(options.input)
        print("nothing was found")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("fuzzing needs atheris, which has packages for Linux on x86-64 only", file=sys.stderr)
        return 2
    return max(fuzz(name, seconds=options.seconds) for name in options.only)


def fuzz(name: str, *, seconds: int) -> int:
    """Fuzz one target, in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
        folder = Path(made)
        command = [sys.executable, "-m", "tests.fuzz.child", name, *_prepare(load(name), folder, seconds)]
        with (folder / "log").open("wb") as log:
            ended = subprocess.run(
                command,
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=seconds + _GRACE_SECONDS,
                check=False,
            )
        said = (folder / "log").read_text("utf-8", "replace")
        done = _DONE.search(said)
        if ended.returncode == 0 and done:
            print(f"{name}: {int(done[1]):,} inputs in {seconds} s, nothing was found", flush=True)
            return 0
        print(f"{name}: ended with {ended.returncode}\n{said[-2500:]}")
        for found in sorted((folder / "found").iterdir()):
            literal = repr(found.read_bytes())
            print(f"{name}: {found.name.partition('-')[0]} on the input\n{literal}\nTo repeat it:")
            print(f"python -m tests.fuzz --only {name} --input {shlex.quote(literal)}", flush=True)
        return 1


def _prepare(target: Target, folder: Path, seconds: int) -> list[str]:
    """Write corpus and dictionary; return the options of libFuzzer."""
    for inner in ("corpus", "found"):
        (folder / inner).mkdir()
    for number, seed in enumerate(target.SEEDS):
        (folder / "corpus" / str(number)).write_bytes(seed)
    words = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.DICTIONARY)
    (folder / "words").write_text("".join(f'"{word}"\n' for word in words), "ascii")
    return [
        f"-max_total_time={seconds}",
        f"-max_len={max(_LONGEST_INPUT, *map(len, target.SEEDS))}",
        f"-timeout={_SLOWEST_SECONDS}",
        f"-rss_limit_mb={_MOST_MEBIBYTES}",
        f"-dict={folder / 'words'}",
        f"-artifact_prefix={folder / 'found'}/",
        "-len_control=0",
        str(folder / "corpus"),
    ]


def _environment() -> dict[str, str]:
    """Without the measuring of coverage, which would be slow here, and is libFuzzer's own affair."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**kept, "PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=12, help="how long for each target (default: 12)")
    parser.add_argument("--only", type=_names, default=list(NAMES), help=f"some of {','.join(NAMES)}")
    parser.add_argument("--input", type=_literal, help="check this one input, a literal of Python's bytes")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"there is no target {', '.join(sorted(unknown))}")
    return names or list(NAMES)


def _literal(text: str) -> bytes:
    value = ast.literal_eval(text)
    if not isinstance(value, bytes):
        raise argparse.ArgumentTypeError("the input is no literal of bytes")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
