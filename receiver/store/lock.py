"""One store per database file: an advisory lock that the kernel drops with its process."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from receiver.errors import StoreInUse
from receiver.store.wire import lock_path


class StoreLock:
    """Held from construction to `release`. Raise StoreInUse when somebody else keeps it."""

    def __init__(self, database: Path, *, wait_seconds: float) -> None:
        path = lock_path(database)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_seconds
        while not self._try():
            if time.monotonic() >= deadline:
                owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(self._descriptor)
                raise StoreInUse(f"another receiver (process {owner}) is using {database}; stop it first")
            time.sleep(0.02)  # a former store may be on its way out
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next one in."""
        os.close(self._descriptor)
