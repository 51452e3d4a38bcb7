"""Where log lines wait to be written, so that a reader who stops reading stops nobody here.

A thread of its own writes them to a descriptor, one by one. What finds no place any more is dropped and
counted; the count is logged as soon as a line can be written again.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import threading
from collections import deque

import structlog

MOST_BYTES = 2 * 2**20
FINISH_SECONDS = 1.0


class Sink(io.TextIOBase):
    """A text stream over a descriptor; writing to it never waits and never fails."""

    def __init__(self, descriptor: int, *, most_bytes: int = MOST_BYTES) -> None:
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        self._lines: deque[bytes] = deque()
        """What waits; the first one is being written."""
        self._waiting = 0
        self._dropped = 0
        self._is_torn = False
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write_all, name="logs", daemon=True)
        self._writer.start()
        atexit.register(self.finish)

    def write(self, text: str) -> int:
        """Take one line, its end included."""
        line = text.encode("utf-8", "backslashreplace")
        with self._changed:
            has_place = self._waiting + len(line) <= self._most_bytes
            if has_place or threading.current_thread() is self._writer:  # what was dropped is always told
                self._lines.append(line)
                self._waiting += len(line)
                self._changed.notify_all()
            else:
                self._dropped += 1
        return len(text)

    def finish(self, *, seconds: float = FINISH_SECONDS) -> bool:
        """Wait until everything is written, but no longer than that; say whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines, seconds)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                line = self._lines[0]
            is_written = self._write_line(line)
            with self._changed:
                if not is_written:
                    self._dropped += 1
                dropped = self._dropped if is_written else 0
                self._dropped -= dropped
            if dropped:
                structlog.get_logger().warning("logs.dropped", count=dropped)
            with self._changed:
                self._lines.popleft()
                self._waiting -= len(line)
                self._changed.notify_all()

    def _write_line(self, line: bytes) -> bool:
        """Write one line; False when it is lost: a full disk or a dead reader must not stop the work."""
        rest = memoryview(b"\n" + line if self._is_torn else line)
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
                self._is_torn = True
        except OSError:
            return False
        self._is_torn = False
        return True

    def _write_some(self, data: memoryview) -> int:
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # whoever shares the descriptor wants it so
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
