"""Large bodies: how long until the 200, and how much more memory at the peak."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import catalogue
from tests.bench.load import flood
from tests.bench.options import Options
from tests.bench.programs import ROOT, Broken, Program, Running, running
from tests.bench.report import Goal, Section

MB = 10**6
SIZE = 200 * MB
_SIZES = (10 * MB, 100 * MB, 200 * MB, 1000 * MB)
_BLOCK_BYTES = 12 * 2**20
_SYNCED = "ASGI, written and synced"
_OURS = "receiver: default"
_UPLOAD_SECONDS = 300


def measure(options: Options) -> list[Section]:
    """The time of 200 MB beside others, then our memory at several sizes."""
    with _inline_video(max(_SIZES)) as source:
        return [_time(options, source), _memory(options, source)]


def _time(options: Options, source: Path) -> Section:
    section = Section("big", "An inline video, 200 MB of JSON, to the 200")
    video = {"source": "payload", "name": "response.b64_video", "base64decode": True}
    peers = [
        catalogue.on_uvicorn("ASGI, thrown away", "large:sink"),
        catalogue.on_uvicorn(_SYNCED, "large:synced"),
        catalogue.receiver("default"),
        catalogue.on_uvicorn("request.json() and b64decode", "large:decoding", "starlette"),
        catalogue.webhook("adnanh/webhook, file to command", **{"pass-file-to-command": [video]}),
    ]
    section.made_of = {program.name: program.built_of for program in peers}
    section.notes = ["the sender is a process of its own (sendfile); everything is synced before each upload"]
    for number in range(options.rounds):
        for program in peers if number % 2 == 0 else reversed(peers):
            options.tell(f"big, round {number + 1}: {program.name}")
            section.add(program.name, _timed(program, source))
    for program in peers:
        section.ratios[program.name] = {"× synced": section.ratio(program.name, _SYNCED, "s")}
    ratio = section.ratios[_OURS]["× synced"]
    section.goals = [Goal("200 MB inline, against written and synced", ratio, 1.6, 1.1, "×")]
    return section


def _timed(program: Program, source: Path) -> dict[str, float]:
    with running(program) as started:
        upload(started, source, MB)  # so that nothing is done for the first time
        before = started.cpu_seconds()
        seconds = upload(started, source, SIZE)
        used = sum(started.cpu_seconds().values()) - sum(before.values())
    return {"s": seconds, "MB/s": SIZE / MB / seconds, "cpu s": used}


def _memory(options: Options, source: Path) -> Section:
    section = Section("memory", "Growth of peak memory in MB, by the size of the body")
    program = catalogue.receiver("default")
    section.notes = [
        "a new receiver for each size, warm from small callbacks; VmHWM is reset before the body"
    ]
    for size in _SIZES:
        options.tell(f"memory, {size // MB} MB")
        with running(program) as started:
            flood(started, seconds=1)
            before = started.forget_peaks()
            seconds = upload(started, source, size)
            grown = {f"{role} MB": (peak - before[role]) / MB for role, peak in started.peaks().items()}
        section.add(f"{size // MB} MB", {**grown, "s": seconds})
    rows = [section.row(row) for row in section.rounds]
    most = max(value for row in rows for name, value in row.items() if name.endswith(" MB"))
    section.goals = [Goal("growth of peak memory, 10 MB to 1 GB", most, 64, 32, "MB")]
    return section


def upload(started: Running, source: Path, size: int) -> float:
    """Send one inline video; return the seconds until its 200."""
    os.sync()
    command = [sys.executable, "-m", "tests.bench.upload", str(started.port), str(source), str(size)]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=_UPLOAD_SECONDS, check=False
    )
    if ended.returncode:
        raise Broken(f"{started.program.name}: the upload failed: {ended.stderr}")
    seen = json.loads(ended.stdout)
    if seen["status"] != 200:
        raise Broken(f"{started.program.name} answered {seen['status']} to {size} bytes")
    return float(seen["seconds"])


@contextmanager
def _inline_video(size: int) -> Iterator[Path]:
    """A file of so many bytes of base64."""
    with TemporaryDirectory(prefix="receiver-bench-") as folder:
        path = Path(folder, "video.base64")
        block = base64.b64encode(secrets.token_bytes(_BLOCK_BYTES))
        with path.open("wb") as file:
            while file.tell() < size:
                file.write(block)
        yield path
