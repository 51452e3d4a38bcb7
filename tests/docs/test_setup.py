"""What a fresh machine needs: locks, two commands, and skips that continuous integration does not forgive."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "tests/requirements.lock", "tests/bench/requirements.lock")


def locked(lock: str) -> dict[str, tuple[str, int]]:
    """Each package of a lock file: its version and how many hashes it has."""
    text = (ROOT / lock).read_text("utf-8").replace("\\\n", " ")
    pins = re.findall(r"^([\w.-]+)==(\S+)(.*)$", text, flags=re.MULTILINE)
    return {name: (version, rest.count("--hash=sha256:")) for name, version, rest in pins}


def requirements(kind: str) -> list[Requirement]:
    """What pyproject.toml asks for: `runtime` (with the extra and the build backend), `test` or `bench`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    if kind != "runtime":
        return [Requirement(text) for text in project["dependency-groups"][kind]]
    texts = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["sandbox"]
    return [Requirement(text) for text in texts + project["build-system"]["requires"]]


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run make, free of the options of a make that may have started these tests."""
    program = shutil.which("make")
    if program is None:
        pytest.skip("needs make")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    command = [program, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder that has what setting up starts from, and no .venv; there is a blank in its path."""
    folder = tmp_path / "a fresh copy"
    (folder / "tests/bench").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", *LOCKS):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")

    assert re.findall(r"\S*://\S*|--(?:extra-)?index-url.*|--find-links.*|\S+ @ .*", text) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_hash(lock: str) -> None:
    packages = locked(lock)

    assert len(packages) > 15
    assert [name for name, (_, hashes) in packages.items() if not hashes] == []


@pytest.mark.parametrize(("kind", "lock"), [("runtime", LOCKS[0]), ("test", LOCKS[1]), ("bench", LOCKS[2])])
def test_the_lock_holds_what_pyproject_asks_for(kind: str, lock: str) -> None:
    packages = locked(lock)

    for requirement in requirements(kind):
        version, _ = packages[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement}: run make lock"


@pytest.mark.parametrize("others", LOCKS[1:])
def test_the_locks_agree_where_they_overlap(others: str) -> None:
    runtime, test = locked(LOCKS[0]), locked(others)

    both = runtime.keys() & test.keys()
    assert "pydantic" in both
    assert {name: runtime[name] for name in both} == {name: test[name] for name in both}


@pytest.mark.parametrize("kind", ["runtime", "test", "bench"])
def test_every_dependency_is_justified_in_one_sentence(kind: str) -> None:
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()

    for requirement in requirements(kind):
        above = [lines[number - 1] for number, line in enumerate(lines) if f'"{requirement.name}>' in line]
        assert any(re.fullmatch(r" *# [A-Za-z].* .*\.", line) for line in above), requirement


def test_the_readme_shows_both_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")

    assert re.search(r"\bmake demo\b", readme)
    assert re.search(r"\bmake test\b", readme)


def test_help_is_what_make_does_first_and_lists_every_target() -> None:
    targets = set(
        re.findall(r"^\.PHONY: ([a-z-]+)$", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    )

    shown = make("--no-print-directory").stdout

    assert {"demo", "test", "check", "help"} <= targets
    assert {line.split()[1] for line in shown.splitlines()} == targets
    assert all(len(line.split()) > 3 for line in shown.splitlines())


def test_an_old_python_is_named_before_anything_is_made(fresh: Path) -> None:
    outcome = make("demo", "PYTHON=false", folder=fresh)

    assert outcome.returncode != 0
    assert "false is missing or older than 3.11" in outcome.stderr
    assert not (fresh / ".venv").exists()


def test_a_python_without_venv_is_named_with_the_package_that_mends_it(fresh: Path) -> None:
    python = fresh / "python-without-venv"
    python.write_text(
        f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec "{sys.executable}" "$@"\n', "utf-8"
    )
    python.chmod(0o755)

    outcome = make("demo", f"PYTHON=./{python.name}", folder=fresh)

    assert outcome.returncode != 0
    assert "apt install python3-venv" in outcome.stderr
    assert not (fresh / ".venv").exists()


def test_the_demo_installs_no_test_packages(fresh: Path) -> None:
    demo, test = (
        make("--dry-run", "demo", folder=fresh).stdout,
        make("--dry-run", "test", folder=fresh).stdout,
    )

    assert "--requirement requirements.lock" in demo
    assert "tests/requirements.lock" not in demo
    assert "--require-hashes --no-deps --requirement tests/requirements.lock" in test


SKIPPED_TESTS = """
import pytest

@pytest.mark.debian
def test_marked(): pytest.skip("strace is not here")

@pytest.mark.skipif(True, reason="needs ffmpeg")
def test_reason(): pass

def test_other(): pytest.skip("PostgreSQL is not here")
"""
SKIPPED_MODULE = """
import pytest

pytest.skip("needs strace", allow_module_level=True)
"""


@pytest.mark.parametrize(
    ("text", "ci", "closing"),
    [
        (SKIPPED_TESTS, "true", ["1 error", "1 failed", "1 skipped"]),
        (SKIPPED_TESTS, "", ["3 skipped"]),
        (SKIPPED_MODULE, "true", ["1 error"]),
        (SKIPPED_MODULE, "", ["1 skipped"]),
    ],
    ids=["tests in CI", "tests elsewhere", "module in CI", "module elsewhere"],
)
def test_continuous_integration_fails_when_something_installable_is_missing(
    tmp_path: Path, text: str, ci: str, closing: list[str]
) -> None:
    shutil.copy(ROOT / "tests/conftest.py", tmp_path / "conftest.py")
    (tmp_path / "test_skipping.py").write_text(text, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = debian\n", "utf-8")
    options = ["-p", "no:cacheprovider", "--color=no", "--rootdir", str(tmp_path)]

    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "CI": ci, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    counts = re.findall(r"\d+ (?:error|failed|passed|skipped)", run.stdout.splitlines()[-1])
    assert sorted(counts) == closing, run.stdout


UNSTEADY = """
from pathlib import Path

def test_of_time():
    seen = Path("seen")
    once = seen.exists()
    seen.touch()
    assert once

def test_steady(): pass
"""
WRONG = "def test_wrong(): assert False\n\ndef test_steady(): pass\n"
PASSING = "def test_steady(): pass\n"


@pytest.mark.parametrize(
    ("text", "before", "status", "again"),
    [
        (PASSING, "true", 0, False),
        (UNSTEADY, "true", 0, True),
        (WRONG, "true", 1, True),
        (PASSING, "false", 2, False),
    ],
    ids=["all pass", "one fails beside others", "one fails alone, too", "the linter complains"],
)
def test_continuous_integration_forgives_only_what_passes_alone(
    tmp_path: Path, text: str, before: str, status: int, again: bool
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    (tmp_path / "test_it.py").write_text(text, "utf-8")
    (tmp_path / "Makefile").write_text(f"check:\n\t{before}\n\t.venv/bin/python -m pytest\n", "utf-8")
    stubs = tmp_path / ".venv" / "bin"
    stubs.mkdir(parents=True)
    for name in re.findall(r"\[([\w.-]+)\]=", (ROOT / ".ci/run").read_text("utf-8")):
        if shutil.which(name) is None:
            (stubs / name).write_text("#!/bin/sh\n", "utf-8")
            (stubs / name).chmod(0o755)
    (stubs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', "utf-8")
    (stubs / "python").chmod(0o755)

    run = subprocess.run(
        ["bash", ".ci/run"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:{stubs}", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == status, run.stdout
    assert ("UNSTEADY" in run.stdout) == again
