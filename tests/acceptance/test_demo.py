"""`receiver demo`: from nothing to videos on disk, and nothing left behind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from receiver.sandbox.videos import VideoMaker
from tests.acceptance.conftest import NO_TLS, children_of, decode, each, is_running, processes_in, run, until


@contextmanager
def demo(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A demo that is watched; ended with the block, whatever happened."""
    command = [sys.executable, "-m", "receiver", "demo", *options]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    with (folder / "demo.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**inherited, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def test_from_an_empty_folder_videos_of_three_providers_and_both_forms_arrive_in_time(tmp_path: Path) -> None:
    began = time.monotonic()
    prompt = {"RECEIVER_WORKER__PRIORITY": "normal"}
    ended = run("--json", "demo", "--once", folder=tmp_path, environment=prompt)
    assert ended.status == 0, ended.stderr
    assert time.monotonic() - began < 30
    assert ended.stderr == ""
    told = ended.objects
    assert told[-1]["event"] == "demo.done"
    saved = {line["sha256"]: Path(line["path"]) for line in told if line["event"] == "video.saved"}
    assert len(saved) >= 2
    compared = {line["path"] for line in told if line["event"] == "video.compared"}
    assert compared == {str(path) for path in saved.values()}, "each was compared with what the sandbox made"
    for checksum, path in saved.items():
        assert path.is_relative_to(tmp_path)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == checksum
        decode(path)
    config = tmp_path / "receiver-demo" / "receiver.toml"
    events = run("--config", config, "events", "--json", folder=tmp_path).objects
    videos = [
        run("--config", config, "show", event["id"], "--json", folder=tmp_path).objects[0]["video"]
        for event in events
    ]
    assert {video["inline"] for video in videos} == {True, False}, "at least one by link and one inline"
    assert {bool(video["url"]) for video in videos} == {True, False}
    jobs = [job for event in events if event["type"] == "video.completed" for job in event["jobs"]]
    assert {job["state"] for job in jobs} == {"done"}
    assert {event["source"] for event in events} == {"gateway", "openai", "opennote"}
    handlers = Counter(job["handler"] for job in jobs)
    assert handlers == {"save_video": 4, "probe": 4, "receiver.retrieve": 1}
    probed = {line["path"]: line for line in told if line["event"] == "video.probed"}
    assert probed.keys() == {str(path) for path in saved.values()}
    for line in probed.values():
        assert (line["duration_seconds"], line["width"], line["video_codec"]) == (3.0, 320, "h264")
        assert Path(line["thumbnail"]).read_bytes().startswith(b"\xff\xd8")
    assert processes_in(tmp_path) == []


def test_without_ffmpeg_the_videos_arrive_and_it_says_what_is_missing(tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path), "IMAGEIO_FFMPEG_EXE": str(tmp_path / "nothing")}
    ended = run("demo", "--once", folder=tmp_path, environment=nothing)

    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.count("same SHA-256") == 4
    assert ended.stdout.count("handler probe: needs ffprobe or ffmpeg: install ") == 4


def test_without_once_it_keeps_serving_until_ctrl_c(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        invitation = ""
        for line in process.stdout:
            text = line.decode()
            invitation += text
            if "receiver send" in text:
                break
        hint = next(line for line in invitation.splitlines() if "receiver send" in line).split()
        assert hint[0] == "receiver"
        url = hint[-1]
        assert httpx.get(f"{url}/readyz", verify=NO_TLS, trust_env=False).status_code == 200
        sent = run(*hint[1:], folder=tmp_path)
        assert sent.status == 0, "what it says to try next works"
        assert any(b"file: " in line for line in process.stdout), "and it tells what becomes of it"
        assert any(b"; thumbnail: " in line for line in process.stdout)
        family = children_of(process.pid)
        assert len(family) == 4, "the receiver, its store, a worker, a poller"
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
    assert not any(map(is_running, family))
    assert processes_in(tmp_path) == []


def test_ctrl_c_at_any_moment_ends_everything(tmp_path: Path) -> None:
    moments = ("sandbox.started", "server.started", "video.asked", "event.recorded")

    def interrupted_at(moment: str) -> None:
        folder = tmp_path / moment
        folder.mkdir()
        with demo(folder, "--once", "--json") as process:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)["event"] == moment:
                    break
            family = [process.pid, *children_of(process.pid)]
            process.send_signal(signal.SIGINT)
            assert process.wait(15) != 0, "not all videos had arrived"
        assert not any(map(is_running, family))
        assert b"Traceback" not in (folder / "demo.log").read_bytes()

    each(interrupted_at, moments)
    assert processes_in(tmp_path) == []


def test_kill_9_of_the_demo_leaves_nothing_running(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"the receiver is ready" in line:
                break
        process.kill()
        process.wait(10)
    until(lambda: not processes_in(tmp_path), seconds=3, what="the end of what the demo had started")
    again = run("demo", "--once", folder=tmp_path)
    assert (again.status, again.stderr) == (0, ""), "it is no obstacle to the next one"
    for word in ("news: video.completed", "handler save_video runs", "file: ", "same SHA-256"):
        assert word in again.stdout


@pytest.mark.anyio
async def test_an_end_that_comes_just_as_a_video_gets_ready_is_not_missed(tmp_path: Path) -> None:
    """Whatever turn of the loop it comes in: a job that overheard it would call back for minutes."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\ntouch $0.done\nexit 1\n")
    program.chmod(0o700)
    done = tmp_path / "ffmpeg.done"
    maker = VideoMaker(tmp_path, find=lambda: str(program))
    for turns in range(10):
        task = asyncio.create_task(maker.make(f"video{turns}"))
        while not done.exists():  # noqa: ASYNC110 - it is another process that is waited for
            await asyncio.sleep(0)
        done.unlink()
        time.sleep(0.1)  # noqa: ASYNC251 - so that the end of the process is the next thing that the loop sees
        for _ in range(turns):
            await asyncio.sleep(0)
        is_requested = task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() is is_requested
