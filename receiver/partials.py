"""Files that are being written: each is locked while somebody writes it, and swept when nobody does.

What came over the network may be kept when its writer ends, so that the next attempt goes on with it.
A kept file is named after what it is a part of. Beside it lies a note with the ETag of the whole, and
with the boot it was written in: a kill loses nothing that was written, a power cut may.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LEAST_KEPT_BYTES = 1 << 20
"""Less than that is sooner fetched again than gone on with."""
KEPT_SECONDS = 2 * 86400.0
"""How long nobody may have written to a kept file; no attempt is put off for longer than a day."""

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SLICE_BYTES = 1 << 20
_LONGEST_NOTE = 4096


@dataclass(slots=True)
class Part:
    """A file that is being written, locked by its descriptor. One thread at a time may use it."""

    folder: int
    name: str
    descriptor: int
    can_be_kept: bool = False
    etag: str | None = None
    """Of the file that this is the beginning of; None when nobody could go on with it."""

    @property
    def size(self) -> int:
        """How many bytes are there."""
        return os.fstat(self.descriptor).st_size

    def slices(self) -> Iterator[bytes]:
        """Read what is there from the start."""
        at = 0
        while data := os.pread(self.descriptor, _SLICE_BYTES, at):
            yield data
            at += len(data)

    def restart(self, etag: str | None) -> None:
        """Empty it; what is written from now on is the beginning of the file with this ETag."""
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        self.etag = None
        boot = _boot()
        if self.can_be_kept and etag is not None and boot is not None:
            with suppress(OSError):  # without the note it is a file that nobody can go on with
                self._write_note({"etag": etag, "boot": boot})
                self.etag = etag

    def end(self, *, keep: bool = False) -> None:
        """Close it, and remove it unless it is to be kept and worth it. It may have been renamed."""
        try:
            if not (keep and self.etag is not None and self.size >= LEAST_KEPT_BYTES):
                _remove(self.name, self.folder)
                if self.can_be_kept:
                    _remove(_note(self.name), self.folder)
        finally:
            os.close(self.descriptor)

    def _write_note(self, said: dict[str, str]) -> None:
        _remove(_note(self.name), self.folder)
        with opened(_note(self.name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, self.folder) as descriptor:
            os.write(descriptor, json.dumps(said).encode())


def create(folder: int) -> Part:
    """Create a file that is locked from its first moment, so that a sweep leaves it alone."""
    while True:
        name = f"{secrets.token_hex(16)}.part"
        descriptor = os.open(name, _NEW_FILE, mode=0o600, dir_fd=folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Between the two calls a sweep may have taken the file for an abandoned one.
        if os.fstat(descriptor).st_nlink:
            return Part(folder, name, descriptor)
        os.close(descriptor)


def go_on(folder: int, key: str) -> Part | None:
    """Open what an earlier attempt kept under this key, or an empty file that can be kept under it.

    None when somebody else is writing it, or something stands there that is no file of ours alone.
    """
    name = f"{key}.part"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, mode=0o600, dir_fd=folder)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            # A second link is a finished video whose writer was killed before it removed this one.
            _remove(name, folder)
            os.close(descriptor)
            return None
        part = Part(folder, name, descriptor, can_be_kept=True, etag=_noted_etag(_note(name), folder))
        if part.etag is None or status.st_size < LEAST_KEPT_BYTES:
            part.restart(None)
        else:
            # Its last byte is asked for again: there may be none behind it, and no answer to that.
            os.ftruncate(descriptor, status.st_size - 1)
            os.lseek(descriptor, 0, os.SEEK_END)
    except OSError:
        os.close(descriptor)
        return None
    return part


def sweep(folder: int) -> None:
    """Remove what ended processes left half written, but not what was kept lately."""
    with os.scandir(folder) as entries:
        names = {entry.name for entry in entries}
    for name in names:
        if name.endswith(".note"):
            if f"{name.removesuffix('.note')}.part" not in names:
                _remove(name, folder)
        elif _note(name) not in names or not _is_recent(name, folder):
            _sweep_away(name, folder)


@contextmanager
def opened(name: str, flags: int, folder: int) -> Iterator[int]:
    """Open a file of a folder, but no link, and without waiting at a pipe."""
    always = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags | always, mode=0o600, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sweep_away(name: str, folder: int) -> None:
    with suppress(OSError), opened(name, os.O_RDWR, folder) as descriptor:
        # The kernel drops the lock of a process that died, however it died.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
        _remove(_note(name), folder)


def _is_recent(name: str, folder: int) -> bool:
    try:
        written = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return True  # it has ended meanwhile
    return written.st_nlink == 1 and time.time() - written.st_mtime < KEPT_SECONDS


def _noted_etag(note: str, folder: int) -> str | None:
    """Read the ETag from a note; None unless it was written whole, since the machine was started."""
    try:
        with opened(note, os.O_RDONLY, folder) as descriptor:
            said = json.loads(os.read(descriptor, _LONGEST_NOTE))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(said, dict) and said.get("boot") == _boot() is not None
    etag = said.get("etag") if is_ours else None
    return etag if isinstance(etag, str) else None


def _boot() -> str | None:
    """What tells this run of the kernel from every other one; None where it doesn't say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None


def _note(name: str) -> str:
    return f"{name.removesuffix('.part')}.note"


def _remove(name: str, folder: int) -> None:
    with suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(name, dir_fd=folder)
