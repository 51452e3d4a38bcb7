"""The database file: opening it safely, and the one connection that writes."""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

from receiver.errors import StoreDamaged, StoreError
from receiver.store import queries
from receiver.store.migrate import migrate, pending

_HEADER = b"SQLite format 3\x00"
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"}
)
_LOCKED_SECONDS = 2.0  # less than a sender is kept waiting, so that it is told the truth
_HINDRANCES = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked",
    sqlite3.SQLITE_FULL: "there is no room left on its disk",
    sqlite3.SQLITE_READONLY: "it can't be written",
    sqlite3.SQLITE_CANTOPEN: "it, or a file beside it, can't be opened",
    sqlite3.SQLITE_IOERR: "its disk reports an error",
}
_OLDEST_SQLITE = (3, 38, 0)  # STRICT tables, RETURNING, and ->> are used


class Database:
    """The writing connection. Synchronous on purpose: the process that owns it has nothing else to do.

    Measured on two cores, batches of 64: this and `executemany` 17 µs a row, a thread in between
    (aiosqlite) 26 µs, one `json_each` statement per table 28 µs.
    """

    def __init__(self, path: Path, *, now: int, must_exist: bool = False) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StoreError(
                f"SQLite {sqlite3.sqlite_version} is too old; {'.'.join(map(str, _OLDEST_SQLITE))} is needed"
            )
        self.path = path
        self.sql = queries.load("sqlite")
        if must_exist and not path.exists():
            raise StoreDamaged(f"{path} is gone; bring it back, or stop the server to begin anew")
        prepare_file(path)
        self._opened = self._identity()
        try:
            self._inspect()
            self.connection = sqlite3.connect(
                path, isolation_level=None, timeout=_LOCKED_SECONDS, cached_statements=256
            )
            self.connection.row_factory = sqlite3.Row
            self._configure()
            self.applied = migrate(self.connection, now=now)
            self.redactor_key = self._redactor_key()
        except sqlite3.DatabaseError as error:
            raise refusal(path, error) from error
        except StoreDamaged as error:
            raise StoreDamaged(f"{path}: {error}") from error

    def _inspect(self) -> None:
        """Refuse a foreign or newer database before anything is written: going over to WAL is a write."""
        with closing(sqlite3.connect(read_only(self.path), uri=True, timeout=_LOCKED_SECONDS)) as connection:
            pending(connection)

    def _configure(self) -> None:
        mode = self.connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(f"{self.path}: the file system does not allow write-ahead logging (got {mode})")
        for pragma in (
            "synchronous = FULL",
            "mmap_size = 0",
            "foreign_keys = OFF",  # the verbs keep them; a check on each insert costs a tenth of the speed
            "wal_autocheckpoint = 4000",
            "journal_size_limit = 67108864",
            "cache_size = -65536",
            "temp_store = MEMORY",
            "trusted_schema = OFF",
        ):
            self.connection.execute(f"PRAGMA {pragma}")

    def _redactor_key(self) -> bytes:
        kept = self.value("redactor_key")
        if kept is not None:
            return bytes.fromhex(kept)
        key = secrets.token_bytes(32)
        self.set_value("redactor_key", key.hex())
        return key

    def value(self, key: str) -> str | None:
        """One of the values that are remembered by name."""
        row = self.execute("get_meta", {"key": key}).fetchone()
        return None if row is None else str(row["value"])

    def set_value(self, key: str, value: str) -> None:
        """Remember a value by name."""
        self.execute("set_meta", {"key": key, "value": value})

    def execute(self, name: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Run a named statement."""
        return self.connection.execute(self.sql[name], parameters)

    def executemany(self, name: str, rows: Any) -> None:
        """Run a named statement once for each row."""
        self.connection.executemany(self.sql[name], rows)

    def begin(self) -> None:
        """Open a transaction that may write. Raise StoreDamaged when the file is not there any more."""
        if self._identity() != self._opened:
            raise StoreDamaged(f"{self.path} was moved or deleted; what would be written now would be lost")
        self.connection.execute("BEGIN IMMEDIATE")

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)  # noqa: PTH116 - half the time of Path.stat, before every commit
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def commit(self) -> None:
        """Make it durable: returns after the sync."""
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what is open, if anything is."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close; SQLite moves the write-ahead log into the file."""
        self.connection.close()


def refusal(path: Path, error: sqlite3.DatabaseError) -> StoreError:
    """Say why a file can't be opened: it is damaged, or something stands in the way that can pass."""
    hindrance = _HINDRANCES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    if hindrance is None:
        return StoreDamaged(f"{path}: {error}; the file was left as it is")
    return StoreError(f"{path}: {hindrance} ({error})")


def prepare_file(path: Path) -> None:
    """Create folder and file with private modes; refuse what is no database or lies on a network disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = file_system(path.parent)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise StoreError(f"{path} lies on a network file system ({kind}), where SQLite can lose data")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise StoreDamaged(f"{path} is not a file")
        if found.st_size and os.pread(descriptor, 16, 0) != _HEADER:
            raise StoreDamaged(f"{path} is not a SQLite database; the file was left as it is")
    finally:
        os.close(descriptor)


def file_system(folder: Path, *, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the file system that a folder lies on, as Linux names it; "" elsewhere."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        left, _, right = line.partition(" - ")
        if left.split()[2] == wanted:
            return right.split()[0]
    return ""


def read_only(path: Path) -> str:
    """The URI that opens a database for reading only."""
    return f"{path.absolute().as_uri()}?mode=ro"
