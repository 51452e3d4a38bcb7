"""Machines with and without the programs that `probe` wants, and a saved video for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handlers import probe as module
from receiver.testing import Done, Fail, Outcome, RecordingContext, by_link, run, sample_video

FFMPEG, FFPROBE = shutil.which("ffmpeg"), shutil.which("ffprobe")


@pytest.fixture
def having(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A machine that has only these programs, or scripts in their place; gives the folder on PATH."""
    if FFMPEG is None or FFPROBE is None:
        pytest.skip("needs ffmpeg and ffprobe (Debian package ffmpeg)")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as if it were not installed

    def have(*names: str, **scripts: str) -> Path:
        for name in names:
            (folder / name).symlink_to({"ffmpeg": FFMPEG, "ffprobe": FFPROBE}[name] or "")
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)
        return folder

    return have


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A saved video."""
    path = tmp_path / "videos" / "Cells-vid.mp4"
    path.parent.mkdir(mode=0o700)
    path.write_bytes(sample_video())
    return path


def context_of(path: Path, **settings: Any) -> RecordingContext:
    results = {"save_video": {"path": str(path)}}
    return RecordingContext(by_link(), folder=path.parent, results=results, settings=settings)


def probe(path: Path, **settings: Any) -> Outcome:
    context = context_of(path, **settings)
    return run(module, context.event, context)


def done(path: Path, **settings: Any) -> dict[str, Any]:
    outcome = probe(path, **settings)
    assert isinstance(outcome, Done), outcome
    assert isinstance(outcome.result, dict)
    return outcome.result


def failure(path: Path) -> str:
    outcome = probe(path)
    assert isinstance(outcome, Fail), outcome
    return outcome.reason
