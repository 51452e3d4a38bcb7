"""A child ends within a second of its parent, even of one that was killed and could tell nobody."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

GRACE_SECONDS = 1.0
WITHOUT_KERNEL = "import receiver.lifeline; receiver.lifeline._ask_kernel = lambda: None"
LIFELINE = "from receiver.lifeline import end_with_parent; end_with_parent()"
READY = "import os; os.write(1, b'ready\\n')"
# Starts one child as `serve` does, and waits. Both hold the write end of our pipe as their standard output.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, start_new_session=True)
time.sleep(600)
"""


@contextmanager
def family(*code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A parent with a child that runs this code; it has said "ready"."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, "\n".join(code)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        assert select.select([parent.stdout], [], [], 20)[0], "the child did not become ready"
        assert os.read(parent.stdout.fileno(), 6) == b"ready\n"
        yield parent
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def end_of_family(parent: subprocess.Popen[bytes]) -> tuple[float, bytes]:
    """Kill the parent; say how long anybody held the pipe after that, and what was written to it."""
    assert parent.stdout is not None
    began = time.monotonic()
    parent.kill()
    written = b""
    while True:
        if not select.select([parent.stdout], [], [], 10)[0]:
            pytest.fail("the child outlived its parent by ten seconds")
        if not (chunk := os.read(parent.stdout.fileno(), 4096)):
            return time.monotonic() - began, written
        written += chunk


SLEEP = "import time; time.sleep(30)"


@pytest.mark.parametrize(
    "code",
    [
        (LIFELINE, READY, SLEEP),
        (WITHOUT_KERNEL, LIFELINE, READY, SLEEP),
        ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)", LIFELINE, READY, SLEEP),
        (
            "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
            WITHOUT_KERNEL,
            LIFELINE,
            READY,
            SLEEP,
        ),
        (LIFELINE, READY, "import re; re.match('(a+)+$', 'a' * 60 + 'b')"),
        (LIFELINE, READY, "import sys; sys.stdin.read(); " + SLEEP),
    ],
    ids=[
        "asleep",
        "by the pipe alone",
        "deaf to SIGTERM",
        "deaf to SIGTERM, by the pipe alone",
        "holding the interpreter",
        "reading its input",
    ],
)
def test_a_child_ends_within_a_second_of_its_killed_parent(code: tuple[str, ...]) -> None:
    with family(*code) as parent:
        seconds, _ = end_of_family(parent)

    assert seconds < GRACE_SECONDS


def test_without_a_lifeline_a_child_outlives_its_parent() -> None:
    with family(READY, "import time; time.sleep(1.5)") as parent:
        seconds, _ = end_of_family(parent)

    assert seconds > GRACE_SECONDS


def test_by_the_pipe_a_child_has_half_a_second_to_clean_up() -> None:
    clean_up = (
        "import signal, os, sys; signal.signal(15, lambda *_: (os.write(1, b'cleaned up'), sys.exit(0)))"
    )
    with family(clean_up, WITHOUT_KERNEL, LIFELINE, READY, SLEEP) as parent:
        seconds, written = end_of_family(parent)

    assert written == b"cleaned up"
    assert seconds < GRACE_SECONDS


def test_a_child_lives_on_while_its_parent_does() -> None:
    tick = "import os, time; [(time.sleep(0.1), os.write(1, b'.')) for _ in range(100)]"
    with family(LIFELINE, READY, tick) as parent:
        assert parent.stdout is not None
        assert parent.stdout.read(8) == b"." * 8
        assert parent.poll() is None


def test_nothing_in_the_child_can_read_the_lifeline_away() -> None:
    read = "import sys; data = sys.stdin.buffer.read(); os.write(1, b'read %d bytes' % len(data))"
    with family(LIFELINE, READY, read, SLEEP) as parent:
        assert parent.stdout is not None
        assert parent.stdout.read(12) == b"read 0 bytes"


def test_the_end_of_its_input_is_a_terminate_signal_first() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "\n".join((LIFELINE, READY, SLEEP))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.read(6) == b"ready\n"
    child.stdin.close()

    assert child.wait(10) == -signal.SIGTERM
    child.stdout.close()
