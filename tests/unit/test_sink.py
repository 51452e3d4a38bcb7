"""Lines for a log that nobody reads: nobody waits, what is lost is counted, the last words get out."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import structlog

from receiver.sink import Sink

SECONDS = 10.0


@dataclass
class Pipe:
    """A pipe of one page, which is soon full."""

    read: int
    write: int

    @property
    def capacity(self) -> int:
        return fcntl.fcntl(self.write, fcntl.F_GETPIPE_SZ)

    def content(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        read = b""
        while len(read) < size:
            read += os.read(self.read, size - len(read))
        return read

    def lines(self, count: int) -> list[str]:
        """Read so many lines."""
        read = b""
        while read.count(b"\n") < count:
            read += os.read(self.read, 1)
        return read.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    made = Pipe(read, write)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    yield made
    for descriptor in (read, write):
        try:
            os.close(descriptor)
        except OSError:
            continue


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def logging_to(sink: Sink) -> None:
    """Let the program's logger write to a sink."""
    structlog.configure(
        processors=[lambda _, method, line: orjson.dumps(line).decode()],
        logger_factory=structlog.WriteLoggerFactory(sink),  # type: ignore[arg-type]
    )


def test_lines_are_written_in_their_order(pipe: Pipe) -> None:
    sink = Sink(pipe.write)
    for number in range(100):
        sink.write(f"{number}\n")
    assert sink.finish(seconds=SECONDS)
    assert pipe.lines(100) == [str(number) for number in range(100)]


@pytest.mark.fault("O3")
def test_a_reader_who_stops_reading_makes_nobody_wait_and_what_is_lost_is_told(pipe: Pipe) -> None:
    os.write(pipe.write, bytes(pipe.capacity))
    sink = Sink(pipe.write, most_bytes=20_000)
    logging_to(sink)
    began = time.monotonic()
    for _ in range(1000):  # there is a place for 200
        sink.write("x" * 99 + "\n")
    assert time.monotonic() - began < SECONDS / 2
    assert not sink.finish(seconds=0.01), "it is blocked"
    assert pipe.content(pipe.capacity) == bytes(pipe.capacity)
    *kept, told = pipe.lines(201)
    assert kept == ["x" * 99] * 200
    assert orjson.loads(told) == {"event": "logs.dropped", "count": 800}
    sink.write("after\n")
    assert pipe.lines(1) == ["after"], "and it goes on"


def test_a_line_longer_than_the_pipe_is_written_whole(pipe: Pipe) -> None:
    sink = Sink(pipe.write)
    sink.write("y" * 50_000 + "\n")
    assert pipe.content(50_001) == b"y" * 50_000 + b"\n"
    assert sink.finish(seconds=SECONDS)


def test_a_descriptor_that_somebody_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.write, False)
    sink = Sink(pipe.write)
    sink.write("z" * 50_000 + "\n")
    assert pipe.content(50_001) == b"z" * 50_000 + b"\n"


def test_a_reader_who_is_gone_is_no_error(pipe: Pipe) -> None:
    os.close(pipe.read)
    sink = Sink(pipe.write)
    for _ in range(10):
        sink.write("nobody\n")
    assert sink.finish(seconds=SECONDS)


@pytest.mark.fault("O3")
def test_a_full_disk_loses_lines_and_tells_how_many_when_there_is_room() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    descriptor = os.dup(full)
    sink = Sink(descriptor)
    logging_to(sink)
    for _ in range(3):
        sink.write("lost\n")
    assert sink.finish(seconds=SECONDS)
    read, write = os.pipe()
    os.dup2(write, descriptor)  # now there is room
    sink.write("kept\n")
    assert sink.finish(seconds=SECONDS)
    kept, told = Pipe(read, write).lines(2)
    assert kept == "kept"
    assert orjson.loads(told) == {"event": "logs.dropped", "count": 3}
    for open_one in (full, descriptor, read, write):
        os.close(open_one)


def test_lines_of_many_threads_are_never_mixed(pipe: Pipe) -> None:
    sink = Sink(pipe.write)

    def write(name: str) -> None:
        for _ in range(200):
            sink.write(name * 30 + "\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    lines = pipe.lines(800)
    for thread in threads:
        thread.join()
    assert sorted(lines) == sorted(name * 30 for name in "abcd" for _ in range(200))


ENDS = {
    "returns": "",
    "sys.exit": "sys.exit(3)",
    "raises": "raise RuntimeError('at top level')",
    "os._exit": "logs.finish(); os._exit(3)",
}
PROGRAM = """\
import os, sys
from receiver import logs
logs.configure(style="json", waits=False)
for number in range(500):
    logs.get().info("server.started", number=number)
logs.get().error("server.failed", reason="the last words")
"""


@pytest.mark.parametrize("end", ENDS)
def test_the_last_words_get_out_however_a_process_ends(end: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM + ENDS[end]], capture_output=True, timeout=60, check=False
    )
    said: list[Any] = [orjson.loads(line) for line in ended.stderr.splitlines() if line.startswith(b"{")]
    assert len(said) == 501
    assert said[-1]["reason"] == "the last words"
    if end == "raises":
        *_, last = ended.stderr.splitlines()
        assert last == b"RuntimeError: at top level", "what ended it comes after all lines"


def test_a_process_whose_log_is_blocked_ends_all_the_same(pipe: Pipe) -> None:
    with io.FileIO(pipe.write, "w", closefd=False) as blocked:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=blocked)
    assert process.wait(SECONDS) == 0
