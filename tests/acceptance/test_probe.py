"""`probe` in a real worker that is killed while it makes a thumbnail."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Receiver, a_video, callback, is_running, until

# The first time it writes half a picture and then nothing more; each run leaves its process id.
HALF = """\
#!/bin/sh
mkdir '{runs}'/$$
[ $(ls '{runs}' | wc -l) -gt 1 ] && exec '{ffmpeg}' "$@"
printf '\\377\\330half'
exec sleep 60
"""


@pytest.mark.debian
@pytest.mark.fault("C5", "R1")
def test_kill_9_in_the_middle_of_a_thumbnail_leaves_none_and_the_next_worker_makes_it(
    receivers: Callable[..., Receiver], tmp_path: Path
) -> None:
    ffmpeg, ffprobe = shutil.which("ffmpeg"), shutil.which("ffprobe")
    if ffmpeg is None or ffprobe is None:
        pytest.skip("needs ffmpeg and ffprobe (Debian package ffmpeg)")
    programs, runs = tmp_path / "bin", tmp_path / "runs"
    programs.mkdir()
    runs.mkdir()
    (programs / "ffprobe").symlink_to(ffprobe)
    (programs / "ffmpeg").write_text(HALF.format(runs=runs, ffmpeg=ffmpeg))
    (programs / "ffmpeg").chmod(0o755)
    receiver = receivers('[handlers]\nload = ["save_video", "probe"]\n')
    receiver.environment = {"PATH": str(programs)}
    receiver.start().accepted(callback("v1", video=a_video()))
    [pid] = until(lambda: [int(entry.name) for entry in runs.iterdir()], what="a run of ffmpeg")
    assert list(receiver.videos.glob("*.jpg")) == []
    worker = receiver.child("receiver.worker")
    os.kill(worker, signal.SIGKILL)

    until(lambda: not is_running(pid), seconds=5, what="the end of ffmpeg")
    [event] = receiver.settled(count=1)
    assert {job["handler"]: job["state"] for job in event["jobs"]} == {"save_video": "done", "probe": "done"}
    [thumbnail] = receiver.videos.glob("*.jpg")
    assert thumbnail.read_bytes().startswith(b"\xff\xd8\xff")
    assert thumbnail.read_bytes().endswith(b"\xff\xd9")
    assert receiver.halves() == []
    assert len(list(runs.iterdir())) == 2
