"""Room for what a command needs only while it runs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ON_DISK = Path("/var/tmp")  # noqa: S108 - where /tmp may be memory; the folder is our own


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A folder that goes away, with `name` in its own."""
    parent = _ON_DISK if os.access(_ON_DISK, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix=f"receiver-{name}-", dir=parent) as folder:
        yield Path(folder)
