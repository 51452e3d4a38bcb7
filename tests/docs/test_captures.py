"""What the documents say of captures: every field is explained, and the bug hunt that is shown works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from receiver.capture import layout
from receiver.capture.layout import Manifest
from receiver.copies import CopiedDelivery, CopiedNews, CopiedVideo
from tests.acceptance.conftest import Receiver, callback

ROOT = Path(__file__).parents[2]
FORMAT = (ROOT / "deploy" / "CAPTURES.md").read_text("utf-8")
HANDLERS = (ROOT / "handlers" / "README.md").read_text("utf-8")
BUGGY = """\
from receiver import Router
router = Router()

@router.on("video.completed", attempts=1)
def shelve(event):
    return {"shelf": event.video.title[0].upper()}
"""


def first_cells() -> list[str]:
    """What stands between backticks in the first column of all tables."""
    cells = re.findall(r"^\| (.*?) \|", FORMAT, flags=re.MULTILINE)
    return [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("model", [Manifest, CopiedDelivery, CopiedNews])
def test_every_field_of_a_capture_is_explained(model: type[BaseModel]) -> None:
    assert set(model.model_fields) - set(first_cells()) == set()


def test_no_field_is_explained_that_there_is_not() -> None:
    fields = {name for model in (Manifest, CopiedDelivery, CopiedNews) for name in model.model_fields}
    members = {layout.MANIFEST, layout.DELIVERIES, layout.SUMS, "bodies/<sha256>", "videos/<event id>"}

    assert set(first_cells()) - {"news"} == (fields | members) - {"news"}
    assert all(f"`{name}`" in FORMAT for name in CopiedVideo.model_fields)
    assert f"`{layout.FORMAT}`" in FORMAT


@pytest.fixture
def production(tmp_path: Path) -> Receiver:
    """A receiver where the handler has failed on one of two events."""
    receiver = Receiver(tmp_path / "production").configure()
    receiver.handler(BUGGY, name="my_handler.py")
    with receiver:
        receiver.start("--handlers", "my_handler.py")
        receiver.accepted(callback("fine"))
        receiver.accepted(callback("untitled", title=None))
        receiver.settled(count=2)
        receiver.stop()
    return receiver


def test_a_bug_hunt_takes_the_three_commands_that_are_shown(production: Receiver, tmp_path: Path) -> None:
    section = HANDLERS.partition("## From a failure in production")[2].partition("\n## ")[0]
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    (test,) = re.findall(r"^```python\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    export, replay, pytest_command = (shlex.split(line, comments=True) for line in commands.splitlines())
    laptop = tmp_path / "laptop"
    laptop.mkdir()
    (laptop / "my_handler.py").write_text(BUGGY)
    (laptop / test.splitlines()[0].removeprefix("# ")).write_text(test)

    def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        program = {"receiver": ["-P", "-m", "receiver"], "pytest": ["-m", "pytest", "-p", "no:cacheprovider"]}
        command = [sys.executable, *program[words[0]], *words[1:]]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)

    assert run(export, production.folder).returncode == 0
    (production.folder / "bug.tar").rename(laptop / "bug.tar")
    seen = run(replay, laptop)
    assert seen.returncode == 1
    assert "TypeError: 'NoneType' object is not subscriptable" in seen.stderr
    assert "1 jobs, 1 failed" in seen.stderr
    failing = run(pytest_command, laptop)
    assert failing.returncode == 1
    assert "1 failed" in failing.stdout

    mended = BUGGY.replace("event.video.title[0]", '(event.video.title or "-")[0]')
    (laptop / "my_handler.py").write_text(mended)

    assert run(replay, laptop).returncode == 0
    assert "1 passed" in run(pytest_command, laptop).stdout
