"""Body files: bodies over 64 KiB, kept verbatim, each in a file named by its SHA-256.

    <directory>/incoming/<random>.part      while it arrives
    <directory>/<first two hex>/<sha256>    once it is durable
    <directory>/passing/<random>/           what is looked at and not kept, in the same form

Every method blocks; the caller runs it in a thread. Several processes may share the directory.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from receiver.permits import Permits, Room

PASSING = "passing"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_THREADS = 4
_BATCH = 500


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep removed."""

    temporary: int = 0
    """Files of bodies that never arrived completely."""
    orphans: int = 0
    """Body files that no row names."""
    freed: int = 0
    """Bytes of both."""

    @property
    def removed(self) -> int:
        """Files of both."""
        return self.temporary + self.orphans


class Bodies:
    """The folder of the body files; it is made, with mode 0700, when it is first needed.

    `reserve` is how many bytes must stay free on its disk when a body arrives; `permits` is how much may
    arrive at the same time.
    """

    def __init__(
        self, directory: Path, *, reserve: int = 256 * 1024 * 1024, permits: Permits | None = None
    ) -> None:
        self.directory = directory
        self.permits = permits or Permits()
        self.room = Room(self.free_bytes, reserve)
        self.executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="bodies")
        """Where bodies are written while they arrive; its threads start when they are needed."""
        self._durable_shards: set[str] = set()

    def close(self) -> None:
        """Wait for what is being written, and end the threads."""
        self.executor.shutdown()

    def path(self, sha256: str) -> Path:
        """Say where the body file is, or would be. Raise ValueError when it isn't a lower-case SHA-256."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError("not a SHA-256 in lower-case hex")
        return self.directory / sha256[:2] / sha256

    def open(self, sha256: str) -> BinaryIO:
        """Open a body file for reading. Raise FileNotFoundError."""
        return self.path(sha256).open("rb")

    def free_bytes(self) -> int:
        """Say how much may still be written to the file system. Raise OSError."""
        make_directory(self.directory)
        status = os.statvfs(self.directory)
        return status.f_bavail * status.f_frsize

    def spool(self) -> Spool:
        """Begin a body file. Raise OSError."""
        make_directory(self.directory / "incoming")
        return Spool(self, self.directory / "incoming" / f"{secrets.token_hex(16)}.part")

    def place(self, temporary: Path, sha256: str) -> Path:
        """Give a complete, synced file its name, durably. Raise OSError.

        When the body is there already, that file stays and is made new in the eyes of the sweep.
        """
        final = self.path(sha256)
        make_directory(final.parent)
        with _locked(final.parent, fcntl.LOCK_SH) as shard:
            if _is_same_size(final, temporary):
                _refresh(final)
                temporary.unlink()
            else:
                temporary.replace(final)
            os.fsync(shard)
        # Another process may have made the shard and died before it was durable, so that it is not
        # enough to sync what this call has made.
        if sha256[:2] not in self._durable_shards:
            _sync_directory(self.directory)
            self._durable_shards.add(sha256[:2])
        return final

    def missing(self, shas: Iterable[str]) -> list[str]:
        """Say which of these bodies have no file."""
        return [sha256 for sha256 in shas if not self.path(sha256).is_file()]

    def remove(self, sha256: str, *, before: float) -> int | None:
        """Remove a body file unless it was kept (again) since `before`; return its size, or None.

        `before` is in Unix seconds. A `place` of the same body either comes first, and its file stays,
        or comes after, and writes the file anew.
        """
        final = self.path(sha256)
        with suppress(FileNotFoundError), _locked(final.parent, fcntl.LOCK_EX):
            return _remove_older(final, before)
        return None

    async def sweep(
        self, *, known: Callable[[Sequence[str]], Awaitable[Collection[str]]], before: float
    ) -> SweepReport:
        """Remove temporary files, and body files without a row, that are older than `before`.

        `known` is asked which of up to 500 SHA-256s have a row; `before` is in Unix seconds, at the latest
        the start of the oldest process that may be receiving. Only here nothing blocks: the files are
        handled in threads. Raise OSError.
        """
        sizes = await asyncio.to_thread(self._sweep_temporary, before)
        temporary, orphans, freed = len(sizes), 0, sum(sizes)
        for batch in _batches(await asyncio.to_thread(self._older, before)):
            unknown = set(batch) - set(await known(batch))
            for sha256 in sorted(unknown):
                size = await asyncio.to_thread(self.remove, sha256, before=before)
                if size is not None:
                    orphans += 1
                    freed += size
        return SweepReport(temporary=temporary, orphans=orphans, freed=freed)

    def _sweep_temporary(self, before: float) -> list[int]:
        sizes = [
            _remove_older(file, before)
            for file in _children(self.directory / "incoming")
            if file.suffix == ".part"
        ]
        for folder in _children(self.directory / PASSING):
            with suppress(FileNotFoundError):  # whoever has it is done with it just now
                if folder.stat().st_mtime < before:
                    sizes += [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
                    shutil.rmtree(folder)
        return [size for size in sizes if size is not None]

    def _older(self, before: float) -> list[str]:
        """List the bodies that were last kept before a time; files of other names are not ours."""
        if not self.directory.is_dir():
            return []
        shards = [shard for shard in self.directory.iterdir() if _SHARD.fullmatch(shard.name)]
        return [
            entry.name
            for shard in sorted(shards)
            for entry in os.scandir(shard)
            if _SHA256.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < before
        ]


class Spool:
    """A body file that is being written; end it with `keep` or `discard`."""

    def __init__(self, bodies: Bodies, path: Path) -> None:
        self._bodies, self._path = bodies, path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file: int | None = os.open(path, flags, 0o600)

    def write(self, data: bytes) -> None:
        """Append all of `data`. Raise OSError."""
        if self._file is None:
            raise ValueError("the spool is closed")
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def keep(self, sha256: str) -> Path:
        """Make the file durable under its name. Raise OSError; then `discard` is still to be called."""
        if self._file is None:
            raise ValueError("the spool is closed")
        os.fsync(self._file)
        final = self._bodies.place(self._path, sha256)
        self._close()
        return final

    def discard(self) -> None:
        """Remove the file, unless it was kept; what can't be removed is left to the sweep."""
        if self._file is not None:
            self._close()
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what was written has been synced, or is being thrown away
                os.close(file)


def make_directory(directory: Path) -> None:
    """Make a directory, and those above it, durably and with mode 0700 where they are missing."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(directory: Path, kind: int) -> Iterator[int]:
    """Hold a lock on a directory, so that no sweep stands between a look at a file and its use."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, kind)
        yield descriptor
    finally:
        os.close(descriptor)


def _is_same_size(final: Path, temporary: Path) -> bool:
    try:
        return final.stat().st_size == temporary.stat().st_size
    except FileNotFoundError:
        return False


def _refresh(final: Path) -> None:
    """Set the time of a file to now, and make it durable, whoever wrote it."""
    descriptor = os.open(final, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.utime(descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_older(file: Path, before: float) -> int | None:
    try:
        status = file.lstat()
        if status.st_mtime >= before:
            return None
        file.unlink()
    except FileNotFoundError:
        return None
    return status.st_size


def _children(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _batches(shas: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(shas), _BATCH):
        yield shas[begin : begin + _BATCH]
