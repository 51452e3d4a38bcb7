"""Load: wrk as fast as it goes, and our own sender at a fixed rate; each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bench import callbacks
from tests.bench.programs import ROOT, Broken, Running

_LUA = Path(__file__).with_name("load.lua")
_SPARE_SECONDS = 30
_ANSWER_SECONDS = 2
"""After a flood, for the answers to what was sent last."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a load has seen."""

    requests: int
    """Answered with 2xx: any other answer ends the bench."""
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    """Processor time for one request, in microseconds, by process."""


def template_in(folder: Path) -> Path:
    """The file of the request's template, for both kinds of load."""
    file = folder / "request.template"
    if not file.exists():
        file.write_bytes(callbacks.request_template().encode())
    return file


def flood(running: Running, *, seconds: int) -> Load:
    """Let wrk send as fast as answers come, over 64 connections."""
    before = running.cpu_seconds()
    duration = f"-d{seconds + _ANSWER_SECONDS}s"
    options = ["-t1", f"-c{callbacks.CONNECTIONS}", duration, "--timeout", "10s", "-s", str(_LUA)]
    arguments = [str(template_in(running.folder)), callbacks.new_run(), str(seconds)]
    output = _run(["wrk", *options, running.url, "--", *arguments], seconds=seconds)
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise Broken(f"wrk gave no result: {output}")
    seen = json.loads(line.removeprefix("RESULT "))
    if seen["bad"] or seen["broken"] or seen["requests"] <= callbacks.CONNECTIONS:
        raise Broken(f"{running.program.name}: not every request was answered with 2xx: {seen}")
    return Load(
        requests=seen["requests"],
        per_second=(seen["requests"] - callbacks.CONNECTIONS) / seconds,  # the last ones came later
        p50_ms=seen["p50"] / 1000,
        p99_ms=seen["p99"] / 1000,
        cpu_us=running.cpu_us_since(before, seen["requests"]),
    )


def send_at(running: Running, *, rate: float, seconds: int) -> Load:
    """Send at a fixed rate; latency counts from the moment at which a request was due."""
    before = running.cpu_seconds()
    arguments = [str(running.port), str(template_in(running.folder)), str(rate), str(seconds)]
    output = _run([sys.executable, "-m", "tests.bench.sender", *arguments], seconds=seconds)
    seen = json.loads(output)
    if seen["bad"]:
        raise Broken(f"{running.program.name}: not every request was answered with 200: {seen}")
    return Load(
        requests=seen["requests"],
        per_second=seen["per_second"],
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
        cpu_us=running.cpu_us_since(before, seen["requests"]),
    )


def _run(command: list[str], *, seconds: int) -> str:
    try:
        ended = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + _SPARE_SECONDS, check=True
        )
    except subprocess.CalledProcessError as error:
        raise Broken(f"{command[0]} failed: {error.stderr or error.stdout}") from error
    except subprocess.TimeoutExpired as error:
        raise Broken(f"{command[0]} did not end") from error
    return ended.stdout
