"""A log that nobody reads, and no descriptors left: callbacks are answered and handled all the same."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import (
    NO_TLS,
    Receiver,
    a_video,
    callback,
    headers,
    until,
)

DESCRIPTORS = 64


def state_of(receiver: Receiver, event: str) -> str:
    """The state of an event's only job."""
    (job,) = receiver.show(event)["jobs"]
    return str(job["state"])


@pytest.fixture
def reader(receiver: Receiver) -> Iterator[subprocess.Popen[bytes]]:
    """A program that reads the receiver's log from a pipe, and writes it to `read.log`."""
    os.mkfifo(receiver.log_file)
    with (receiver.folder / "read.log").open("wb") as read:
        process = subprocess.Popen(["cat", str(receiver.log_file)], stdout=read)
    yield process
    process.send_signal(signal.SIGCONT)
    process.terminate()
    process.wait()


def fill(fifo: Path) -> int:
    """Write empty lines into a pipe until not one more has room, and keep it open."""
    descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        try:
            while True:
                os.write(descriptor, b"\n" * size)
        except BlockingIOError:
            continue
    return descriptor


@pytest.mark.fault("O3")
def test_a_stopped_reader_of_a_full_log_stops_nothing(
    receiver: Receiver, reader: subprocess.Popen[bytes]
) -> None:
    kept_open = os.open(receiver.log_file, os.O_WRONLY)  # the reader is there
    reader.send_signal(signal.SIGSTOP)
    filled = fill(receiver.log_file)
    receiver.start().ready()
    read = receiver.folder / "read.log"
    event = receiver.accepted(callback("v1", video=a_video()))
    until(lambda: state_of(receiver, event) == "done", what="the job done")
    with httpx.Client(verify=NO_TLS, trust_env=False, timeout=10) as client:
        for number in range(300):
            answer = client.post(
                f"{receiver.url}/webhooks/opennote", json=callback(f"w{number}", "failed"), headers=headers()
            )
            assert answer.status_code == 200
        assert client.post(f"{receiver.url}/webhooks/opennote", json={}).status_code == 401
    assert read.read_bytes() == b"", "nobody has read a line"
    assert receiver.family()
    reader.send_signal(signal.SIGCONT)
    until(lambda: "job.finished" in said(read), what="the lines that waited")
    assert {"server.started", "store.started", "worker.started", "event.recorded"} <= set(said(read))
    reader.send_signal(signal.SIGSTOP)
    os.close(fill(receiver.log_file))
    assert receiver.stop(signal.SIGTERM, seconds=15) == 0, "it ends although nobody reads its last words"
    for descriptor in (kept_open, filled):
        os.close(descriptor)


def said(read: Path) -> list[str]:
    """The names of all that was logged: every line is whole."""
    lines = read.read_text().splitlines(keepends=True)
    return [json.loads(line)["event"] for line in lines if line.strip() and line.endswith("\n")]


@pytest.mark.fault("F6")
def test_without_descriptors_the_listener_stays_and_comes_back(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    port = httpx.URL(receiver.url).port
    assert port is not None
    used = len(list(Path(f"/proc/{receiver.pid}/fd").iterdir()))
    assert used < DESCRIPTORS
    with httpx.Client(verify=NO_TLS, trust_env=False, timeout=10) as client:

        def post(video_id: str, padding: int = 0) -> int:
            return client.post(
                f"{receiver.url}/webhooks/opennote",
                json=callback(video_id, padding="x" * padding),
                headers=headers(),
            ).status_code

        assert post("before") == 200
        resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        with ExitStack() as stack:
            crowd = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                for _ in range(2 * DESCRIPTORS)
            ]

            def is_full() -> bool:
                return len(list(Path(f"/proc/{receiver.pid}/fd").iterdir())) >= DESCRIPTORS - 1

            until(is_full, what="the last descriptor in use")
            assert post("meanwhile") == 200, "who is connected is served"
            assert post("large", 100_000) == 503, "a body file takes a descriptor"
            assert crowd[-1].recv(1) == b"", "who comes later is let go"
        until(lambda: not is_full(), what="free descriptors")
        assert post("large", 100_000) == 200
        with httpx.Client(verify=NO_TLS, trust_env=False, timeout=10) as other:
            assert other.get(f"{receiver.url}/healthz").status_code == 200, "a new connection"
    assert {event["video_id"] for event in receiver.events()} == {"before", "meanwhile", "large"}
    assert receiver.process is not None
    assert receiver.process.poll() is None
