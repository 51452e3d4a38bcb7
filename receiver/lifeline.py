"""Child processes that end with their parent, however it went.

The parent keeps the write end of the pipe that is the child's standard input; when the parent is
gone, even by SIGKILL, the kernel closes it and the child reads the end of the file.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading

REPLACE_ME = 213
"""Exit status of a worker that nothing but a new process can mend; not one that handlers use."""

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 0.5


def end_with_parent() -> None:
    """From now on, end this process within a second of its parent's end (Linux: at once)."""
    descriptor = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # nothing in this process, a handler least of all, may read the lifeline away
    os.close(null)
    threading.Thread(target=_watch, args=(descriptor,), name="lifeline", daemon=True).start()
    _ask_kernel()


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE_SECONDS)
    os._exit(1)


def _ask_kernel() -> None:
    """A thread that never gets the interpreter can't watch a pipe; the kernel needs no thread."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return  # not Linux: the pipe alone has to do
