"""Finished files: they appear whole or not at all, and no event ever overwrites what isn't its own.

Everything happens relative to an open descriptor of the output directory, so that neither a planted
link nor a swapped folder can lead a write elsewhere. Calls block; the caller runs them in a thread.

The folder `.receiver` inside an output directory holds what is being written (`partial/`) and for
every name that was given away a note with the id of the event that owns it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from receiver import partials
from receiver.errors import Hopeless, Unfinished
from receiver.names import folded, suffixed
from receiver.partials import Part, opened

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LONGEST_FILE_NAME = 255
_STRIDE_BYTES = 4 << 20
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class OutputDirectory:
    """A folder that finished files go to; it and what leads to it are made when missing (mode 0700).

    `path` is either absolute, and then taken as it is, or relative to `folder`; of a relative path
    no part may be a symbolic link or "..". Close it after use, or use it in a `with` statement.
    Raise Hopeless for a path that can't be one, Unfinished where a link stands in the way, and
    OSError.
    """

    def __init__(self, path: str | Path, *, folder: Path | None = None) -> None:
        given = Path(path)
        self.path = given if folder is None else folder.absolute() / given
        if not self.path.is_absolute():
            raise Hopeless("a relative output directory needs a folder that it is relative to")
        if ".." in given.parts or "\0" in str(given):
            raise Hopeless('an output directory may not contain ".."; write an absolute path instead')
        start = self.path if given.is_absolute() or folder is None else folder.absolute()
        start.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(start, _FOLDER & ~os.O_NOFOLLOW)
        for part in self.path.relative_to(start).parts:
            descriptor = _descend(descriptor, part)
        self.descriptor = descriptor
        with ExitStack() as failing:
            failing.callback(os.close, descriptor)
            self.notes = _descend(os.dup(descriptor), ".receiver")
            failing.callback(os.close, self.notes)
            self.partials = _descend(os.dup(self.notes), "partial")
            failing.pop_all()

    def begin(self, event_id: str, *, key: str | None = None) -> Partial:
        """Start a file for an event, or go on with the one that was kept under `key`, a file name.

        What earlier, ended processes left half written is removed, unless it was kept.
        """
        partials.sweep(self.partials)
        part = None if key is None else partials.go_on(self.partials, key)
        return Partial(self, event_id, part or partials.create(self.partials))

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in (self.partials, self.notes, self.descriptor):
            os.close(descriptor)

    def __enter__(self) -> OutputDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other receivers from giving names away meanwhile."""
        with opened("lock", os.O_RDWR | os.O_CREAT, self.notes) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield


class Partial:
    """A file that is being written and can't be seen yet. End it with `commit`, `discard` or `leave`.

    Only one thread at a time may use it.
    """

    def __init__(self, directory: OutputDirectory, event_id: str, part: Part) -> None:
        self.part = part
        self._directory = directory
        self._event_id = event_id
        self._is_open = True
        self._unsynced = 0

    def write(self, data: bytes) -> None:
        """Append bytes. Raise OSError, for example when the disk is full."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.part.descriptor, rest) :]
        self._unsynced += len(data)
        if self._unsynced >= _STRIDE_BYTES:
            # Linux begins to write it out; then there is little left for the sync at the end to wait for.
            end = os.lseek(self.part.descriptor, 0, os.SEEK_CUR)
            os.posix_fadvise(
                self.part.descriptor, end - self._unsynced, self._unsynced, os.POSIX_FADV_DONTNEED
            )
            self._unsynced = 0

    def commit(self, name: str) -> Path:
        """Make the file durable and let it appear, under `name` if that is free or the event's own.

        Otherwise it gets a suffix from the event's id. A file that the same event wrote there before
        is replaced. Return the path. Raise Hopeless when even the suffixed names are taken, OSError.
        """
        os.fsync(self.part.descriptor)
        with self._directory.locked():
            placed = next((candidate for candidate in self._candidates(name) if self._place(candidate)), None)
        if placed is None:
            raise Hopeless("every name that this file could have belongs to somebody else")
        self._end()
        os.fsync(self._directory.descriptor)
        return self._directory.path / placed

    def discard(self) -> None:
        """Throw the file away; does nothing after `commit`."""
        self._end()

    def leave(self) -> None:
        """Keep the file for the next attempt if it is worth it; does nothing after `commit`."""
        self._end(keep=True)

    def _candidates(self, name: str) -> Iterator[str]:
        yield name
        yield suffixed(name, self._event_id[-8:])
        yield suffixed(name, self._event_id)

    def _place(self, name: str) -> bool:
        """Give the file its name; False when the name belongs to somebody else."""
        top, parts, notes = self._directory.descriptor, self._directory.partials, self._directory.notes
        owner = _owner(name, notes)
        if owner == self._event_id:
            os.replace(self.part.name, name, src_dir_fd=parts, dst_dir_fd=top)
            return True
        if owner is not None or _exists(name, top):
            return False
        self._claim(name)
        try:
            _link(self.part.name, parts, name, top)
        except FileExistsError:
            # Some other program was quicker: the name is not ours to replace later.
            os.unlink(_note(name), dir_fd=notes)
            return False
        return True

    def _claim(self, name: str) -> None:
        """Write the note that makes the name the event's own, before the file appears."""
        notes = self._directory.notes
        with suppress(FileNotFoundError):
            os.unlink(_note(name), dir_fd=notes)
        with opened(_note(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, notes) as descriptor:
            os.write(descriptor, self._event_id.encode())
            os.fsync(descriptor)
        os.fsync(notes)

    def _end(self, *, keep: bool = False) -> None:
        if self._is_open:
            self._is_open = False
            self.part.end(keep=keep)


def open_own(path: Path, *, event_id: str) -> BinaryIO:
    """Open a finished file for reading, if it was saved for this event. Raise FileNotFoundError.

    Whatever else stands at that path is not there, in the eyes of who asks.
    """
    try:
        with ExitStack() as stack:
            folder = os.open(path.parent, _FOLDER & ~os.O_NOFOLLOW)
            stack.callback(os.close, folder)
            notes = os.open(".receiver", _FOLDER, dir_fd=folder)
            stack.callback(os.close, notes)
            if _owner(path.name, notes) != event_id:
                raise FileNotFoundError(path)
            descriptor = stack.enter_context(opened(path.name, os.O_RDONLY, folder))
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileNotFoundError(path)
            return os.fdopen(os.dup(descriptor), "rb")
    except (OSError, ValueError) as error:  # the latter for a path that none could have
        raise FileNotFoundError(path) from error


def _descend(parent: int, part: str) -> int:
    """Open the folder `part` of `parent`, making it if need be, and close `parent`."""
    try:
        with suppress(FileExistsError):
            os.mkdir(part, mode=0o700, dir_fd=parent)
            os.fsync(parent)
        return os.open(part, _FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Unfinished(f"{part!r} in the output directory's path is a link or no folder") from error
        raise
    finally:
        os.close(parent)


def _note(name: str) -> str:
    """Name the ownership note of a file; names that fold together share one."""
    note = f"{folded(name)}.owner"
    if len(note.encode()) <= _LONGEST_FILE_NAME:
        return note
    return f"{hashlib.sha256(note.encode()).hexdigest()}.owner"


def _owner(name: str, notes: int) -> str | None:
    """Read who owns a name: None when nobody does, "?" when what stands there is no note of ours.

    An empty note is one that its writer did not live to finish; nothing was placed under it.
    """
    try:
        with opened(_note(name), os.O_RDONLY, notes) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return "?"
            return os.read(descriptor, 256).decode("utf-8", "replace") or None
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return "?"
        raise


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _link(source: str, source_folder: int, target: str, target_folder: int) -> None:
    """Give a file a second name. Raise FileExistsError when something has that name.

    Where the file system has no hard links it is renamed, which can't notice a file that another
    program put there since the caller looked.
    """
    try:
        os.link(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.rename(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder)
