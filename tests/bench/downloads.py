"""Videos on their way to a file: 500 MB by link beside curl, 200 MB inline beside cp, and our memory."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from receiver import __version__
from tests.bench import callbacks
from tests.bench.big import upload
from tests.bench.options import Options
from tests.bench.programs import ROOT, Broken, Program, Running, running
from tests.bench.report import Goal, Section

MB = 10**6
_LINKED = 500 * MB
_INLINE = 200 * MB
_HEAD = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"
_BLOCK_BYTES = 12 * 2**20
_PATIENCE_SECONDS = 300
_CONFIGURATION = """\
[worker]
priority = "normal"

[sources.opennote]
kind = "opennote"
organization_id = "{organization}"
api_keys = ["{key}"]
s3_base_url = "{base}"
"""


def measure(options: Options) -> list[Section]:
    """Both ways to a file."""
    with TemporaryDirectory(prefix="receiver-bench-") as name:
        folder = Path(name)
        return [_downloads(options, folder), _decoding(options, folder)]


def _downloads(options: Options, folder: Path) -> Section:
    section = Section("downloads", "A linked video of 500 MB, from loopback to a file")
    source = folder / "linked.mp4"
    _write_video(source, _LINKED)
    _write_video(folder / "small.mp4", MB)
    with _hosted(folder) as base:
        program = _receiver(base)
        section.made_of = {program.name: program.built_of, "curl -o": _first_line("curl", "--version")}
        for number in range(options.rounds):
            options.tell(f"downloads, round {number + 1}")
            curl = ["curl", "--silent", "--fail", "--output", str(folder / "got.mp4"), f"{base}/linked.mp4"]
            section.add("curl -o", _plain(curl, folder / "got.mp4", source))
            with running(program) as started:
                section.add(program.name, _saved(started, partial(_post_link, base), _LINKED))
    _conclude(section, program.name, "curl -o", "500 MB with save_video, against curl -o", (1.5, 1.1))
    source.unlink()
    return section


def _decoding(options: Options, folder: Path) -> Section:
    section = Section("decoding", "An inline video, 200 MB of JSON, from the body file to a file of its own")
    encoded, decoded = folder / "video.base64", folder / "decoded.mp4"
    _write_video(decoded, _INLINE // 4 * 3)
    with decoded.open("rb") as plain, encoded.open("wb") as file:
        while block := plain.read(_BLOCK_BYTES):
            file.write(base64.b64encode(block))
    program = _receiver("http://127.0.0.1:9")
    section.made_of = {program.name: program.built_of, "cp": _first_line("cp", "--version")}
    for number in range(options.rounds):
        options.tell(f"decoding, round {number + 1}")
        section.add("cp", _plain(["cp", str(decoded), str(folder / "got.mp4")], folder / "got.mp4", decoded))
        section.add("SHA-256", _checksummed(decoded))
        with running(program) as started:
            section.add(program.name, _saved(started, partial(_post_inline, encoded), _INLINE))
    _conclude(section, program.name, "cp", "200 MB inline to a file, against cp", (1.5, 1.5))
    section.ratios["SHA-256"] = {"× cp": section.ratio("SHA-256", "cp", "s")}
    section.notes.append("SHA-256: the checksum of the decoded file alone, by hashlib")
    return section


def _conclude(section: Section, ours: str, theirs: str, goal: str, bounds: tuple[float, float]) -> None:
    section.notes = [
        'priority = "normal", as theirs is; by default a worker takes only what nobody else wants',
        "ours: the whole attempt, with checksum, sync, and the description beside the video",
        "synced: theirs with a sync of the file; VmHWM is reset before each video",
    ]
    section.ratios[ours] = {f"× {theirs}": section.ratio(ours, theirs, "s")}
    synced = [row["s"] / other["synced s"] for row, other in _pairs(section, ours, theirs)]
    section.ratios[ours]["× synced"] = sorted(synced)[len(synced) // 2]
    grown = max(row["worker MB"] for row in section.rounds[ours])
    section.goals = [
        Goal(goal, section.ratios[ours][f"× {theirs}"], *bounds, "×"),
        Goal(f"growth of the worker's peak memory ({section.key})", grown, 64, 32, "MB"),
    ]


def _pairs(section: Section, ours: str, theirs: str) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    return zip(section.rounds[ours], section.rounds[theirs], strict=True)


def _plain(command: list[str], target: Path, source: Path) -> dict[str, float]:
    """Run a program that makes a copy, then sync the copy; both times."""
    os.sync()
    began = time.perf_counter()
    subprocess.run(command, check=True)  # with a timeout, its end is looked for every 50 ms only
    copied = time.perf_counter() - began
    with target.open("rb") as file:
        os.fsync(file.fileno())
    synced = time.perf_counter() - began
    if target.stat().st_size != source.stat().st_size:
        raise Broken(f"{command[0]} made another file")
    target.unlink()
    return {"s": copied, "MB/s": source.stat().st_size / MB / copied, "synced s": synced}


def _checksummed(file: Path) -> dict[str, float]:
    """What of our time the checksum needs at least: it can't be shared out."""
    began = time.perf_counter()
    with file.open("rb") as content:
        hashlib.file_digest(content, "sha256")
    seconds = time.perf_counter() - began
    return {"s": seconds, "MB/s": file.stat().st_size / MB / seconds}


def _saved(started: Running, send: Callable[[Running, int], Any], size: int) -> dict[str, float]:
    """Let a receiver save one video; how long the attempt took, by its own log."""
    send(started, MB)  # so that nothing is done for the first time
    _finished(started, 1)
    os.sync()
    before = started.forget_peaks()
    used = started.cpu_seconds()
    send(started, size)
    seconds = _finished(started, 2)
    peaks, after = started.peaks(), started.cpu_seconds()
    grown = (peaks["worker"] - before["worker"]) / MB
    cpu = after["worker"] - used["worker"]
    return {"s": seconds, "MB/s": size / MB / seconds, "worker MB": grown, "worker cpu s": cpu}


def _post_link(base: str, started: Running, size: int) -> None:
    name = "linked" if size == _LINKED else "small"
    _post(started, {"s3_url": f"{base}/{name}.mp4", "success": True})


def _post_inline(encoded: Path, started: Running, size: int) -> None:
    upload(started, encoded, size)


def _post(started: Running, response: dict[str, Any]) -> None:
    name = callbacks.video_id(callbacks.new_run(), 1)
    body = json.dumps(
        {"success": True, "status": "completed", "video_id": name, "response": response}
    ).encode()
    request = urllib.request.Request(started.url, body, callbacks.headers(len(body), name))  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        if answer.status != 200:
            raise Broken(f"the receiver answered {answer.status}")


def _finished(started: Running, count: int) -> float:
    """Wait until so many jobs have ended; the seconds of the last one."""
    log = started.folder / "output.log"
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        lines = [
            json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("}\n")
        ]
        ended = [line for line in lines if line["event"] in ("job.finished", "job.retried", "job.failed")]
        if len(ended) >= count:
            if ended[-1]["event"] != "job.finished":
                raise Broken(f"the video was not saved: {ended[-1]}")
            return float(ended[-1]["seconds"])
        time.sleep(0.05)
    raise Broken("the video was not saved in time")


def _receiver(base: str) -> Program:
    def command(port: int, folder: Path) -> list[str]:
        file = folder / "receiver.toml"
        values = {"organization": callbacks.ORGANIZATION, "key": callbacks.KEY, "base": base}
        file.write_text(_CONFIGURATION.format(**values), "utf-8")
        file.chmod(0o600)
        serve = ["serve", "--config", str(file), "--port", str(port), "--handlers", "save_video"]
        return [sys.executable, "-m", "receiver", *serve]

    return Program("save_video", f"receiver {__version__}", command, "/readyz", 200, role="ingress")


@contextmanager
def _hosted(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.bench.filehost", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def _write_video(path: Path, size: int) -> None:
    """A file that begins like a video; the rest can't be made smaller."""
    block = secrets.token_bytes(_BLOCK_BYTES)
    with path.open("wb") as file:
        file.write(_HEAD)
        while (left := size - file.tell()) > 0:
            file.write(block[:left])


def _first_line(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0]
