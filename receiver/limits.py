"""Takes limits on itself, then becomes another program; run as a script, by `programs.py`.

A process of its own, because `preexec_fn` would run Python between fork and exec of a process that
has threads. It imports nothing that takes time.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_DESCRIPTORS = 64


def main() -> None:
    """`limits.py PARENT BYTES SECONDS PROGRAM ARGUMENT…`: memory and processor time of the program."""
    parent, memory, seconds, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the parent has ended already")
    # Not RLIMIT_NPROC: it counts whatever the user runs, threads too, and ffmpeg needs some.
    _limit(resource.RLIMIT_AS, int(memory))
    _limit(resource.RLIMIT_CPU, int(seconds), grace=1)  # SIGXCPU says why; at the hard limit comes SIGKILL
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _DESCRIPTORS)
    _limit(resource.RLIMIT_CORE, 0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores both, and that would be inherited
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(command[0], command)  # noqa: S606 - a shell is what must not be there
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        sys.exit(127)


def _limit(which: int, most: int, *, grace: int = 0) -> None:
    _, hard = resource.getrlimit(which)
    highest = most + grace if hard == resource.RLIM_INFINITY else min(most + grace, hard)
    resource.setrlimit(which, (min(most, highest), highest))


if __name__ == "__main__":
    main()
