"""One store per database file: an advisory lock that the kernel drops with its process."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

from receiver.errors import StoreInUse
from receiver.store.wire import lock_path

_SERVER = re.compile(r"server ([0-9]{1,10}), ")


class StoreLock:
    """Held from construction to `release`. Raise StoreInUse, which says who keeps it, when somebody does."""

    def __init__(self, database: Path, *, wait_seconds: float, is_embedded: bool = False) -> None:
        """`is_embedded` is for a process that is no store child of a server, but something by itself."""
        path = lock_path(database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_seconds
        while not self._try():
            if time.monotonic() >= deadline:
                owner = os.pread(self._descriptor, 64, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(self._descriptor)
                raise StoreInUse(f"another receiver ({owner}) is using {database}; stop it first")
            time.sleep(0.02)  # a former store may be on its way out
        os.ftruncate(self._descriptor, 0)
        own = os.getpid()
        owner = f"process {own}" if is_embedded else f"server {os.getppid()}, its store {own}"
        os.pwrite(self._descriptor, f"{owner}\n".encode(), 0)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next one in."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def bereaved(database: Path) -> bool:
    """Whether the last store was killed under a server that lives: it will have another one in a moment."""
    try:
        named = _SERVER.match(lock_path(database).read_text("ascii", "replace"))
    except FileNotFoundError:
        return False
    if named is None:
        return False
    try:
        os.kill(int(named[1]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
