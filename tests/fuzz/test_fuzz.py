"""Every target is fuzzed for a while; its seeds are checked everywhere, with or without atheris."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import NAMES, load

SECONDS = 5
ROOT = Path(__file__).parents[2]
ROWS = {
    "json_bodies": ("P1", "P2", "P3", "P4"),
    "base64_texts": ("B9",),
    "headers": ("A1", "A3", "P6"),
    "signatures": ("A9", "A10"),
    "connections": ("P7",),
}
FUZZED = [
    pytest.param(name, marks=[pytest.mark.fault(*ROWS[name])] if name in ROWS else []) for name in NAMES
]
HAS_PACKAGE = (platform.machine(), sys.platform) == ("x86_64", "linux") and sys.version_info < (3, 15)


@pytest.mark.parametrize("name", NAMES)
def test_no_seed_shows_a_defect(name: str) -> None:
    target = load(name)
    seeds = [*target.SEEDS, *target.DICTIONARY, b""]
    for seed in seeds:
        target.check(seed)
    assert len(seeds) > 30


@pytest.mark.slow
@pytest.mark.parametrize("name", FUZZED)
def test_fuzzing_finds_nothing(name: str) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip(
            "needs atheris: pip install atheris" if HAS_PACKAGE else "there is no atheris for this platform"
        )
    command = [sys.executable, "-m", "tests.fuzz", "--only", name, "--seconds", str(SECONDS)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nothing was found" in ended.stdout
