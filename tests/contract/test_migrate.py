"""The database file: how it is made, and that what is not ours is refused untouched."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from receiver.errors import StoreDamaged, StoreError
from receiver.store.migrate import APPLICATION_ID, available, migrate
from receiver.store.sqlite.database import Database
from tests.contract.stand import StoreProcess, arrival, claim, in_its_own_process, in_this_process, ready

NOW = 1_700_000_000_000
PAGE = 4096

KILLED_WHILE_MIGRATING = """
import os, signal, sqlite3, sys
from receiver.store.migrate import migrate

path, table, moment = sys.argv[1:]
seen = []

def authorize(action, first, second, *_):
    seen.append(first)
    is_there = first == table if moment == "table" else (first == "COMMIT" and "rejections" in seen)
    if is_there:
        os.kill(os.getpid(), signal.SIGKILL)
    return sqlite3.SQLITE_OK

connection = sqlite3.connect(path, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.set_authorizer(authorize)
migrate(connection, now=1)
"""


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def schema(connection: sqlite3.Connection) -> dict[str, str]:
    """The names of tables and indexes, and what each is."""
    return dict(connection.execute("SELECT name, type FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"))


def contents(folder: Path) -> dict[str, str]:
    """The checksum of every file that can hold data of the database."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name.endswith((".db", "-wal", "-journal")) and path.stat().st_size
    }


# A new file.


def test_every_statement_of_the_migrations_is_applied(database: Path) -> None:
    with closing(Database(database, now=NOW)):
        pass
    expected = {"migrations": "table"}
    for step in available("sqlite"):
        for name in re.findall(r"^DROP INDEX (\w+)", step.sql, re.MULTILINE):
            del expected[name]
        created = re.findall(r"^CREATE (?:UNIQUE )?(TABLE|INDEX|TRIGGER) (\w+)", step.sql, re.MULTILINE)
        expected |= {name: kind.lower() for kind, name in created}
    with connected(database) as connection:
        assert schema(connection) == expected
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        strict = {name: strict for _, name, kind, _, _, strict in connection.execute("PRAGMA table_list")}
        assert all(strict[name] for name, kind in expected.items() if kind == "table")


def test_each_migration_is_noted_once_and_applied_once(database: Path) -> None:
    steps = available("sqlite")
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    first = Database(database, now=NOW)
    assert first.applied == steps
    first.close()
    second = Database(database, now=NOW + 1)
    assert second.applied == []
    noted = [tuple(row) for row in second.connection.execute("SELECT * FROM migrations ORDER BY number")]
    assert noted == [(step.number, step.name, step.checksum, NOW) for step in steps]
    second.close()


def test_a_commit_is_synced_into_a_write_ahead_log_and_nothing_is_mapped(database: Path) -> None:
    with closing(Database(database, now=NOW)) as opened:
        found = {
            name: opened.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "mmap_size")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "mmap_size": 0}


def test_files_and_folders_are_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "receiver.db"
    before = os.umask(0)
    try:
        with closing(Database(path, now=NOW)) as opened:
            opened.begin()
            opened.execute("set_meta", {"key": "a", "value": "b"})
            opened.commit()
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"receiver.db": 0o600, "receiver.db-wal": 0o600, "receiver.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO jobs (event, handler, state) VALUES (1, 'save', 'asleep')",
        "INSERT INTO jobs (event, handler, state) VALUES (1, 'save', 'DONE')",
        "INSERT INTO attempts VALUES (1, 1, 1, 'w', 1, 2, 'vanished', NULL, NULL)",
        "INSERT INTO attempts VALUES (1, 1, 1, 'w', 'noon', 2, 'done', NULL, NULL)",
        "INSERT INTO deliveries VALUES (1,1,'maybe', 'poll',1, '','','',2, '{}',NULL,NULL,NULL,NULL,NULL)",
        "INSERT INTO deliveries VALUES (1,1,'accepted', 'fax',1, '','','',2, '{}',NULL,NULL,NULL,NULL,NULL)",
        "INSERT INTO deliveries VALUES (1,1,'accepted', 'poll',1, '','','',2,NULL,NULL,NULL,NULL,NULL,NULL)",
        "INSERT INTO deliveries VALUES (1,1,'accepted', 'poll',1, '','','',2, '{}','aa','{}',NULL,NULL,NULL)",
        "INSERT INTO deliveries VALUES (1,1,'accepted', 'poll',1, '','','',2,NULL,'aa',NULL,NULL,NULL,NULL)",
    ],
)
def test_the_schema_itself_refuses_what_makes_no_sense(database: Path, statement: str) -> None:
    with closing(Database(database, now=NOW)) as opened, pytest.raises(sqlite3.IntegrityError):
        opened.connection.execute(statement)


# A migration that is interrupted.


@pytest.mark.fault("C11")
@pytest.mark.parametrize("table", ["migrations", "meta", "events", "rejections"])
def test_a_migration_that_fails_leaves_the_former_state(database: Path, table: str) -> None:
    def refuse(action: int, first: str | None, *_: str | None) -> int:
        is_it = action == sqlite3.SQLITE_CREATE_TABLE and first == table
        return sqlite3.SQLITE_DENY if is_it else sqlite3.SQLITE_OK

    with connected(database) as connection:
        connection.set_authorizer(refuse)
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            migrate(connection, now=NOW)
        assert not connection.in_transaction
        connection.set_authorizer(None)
        assert schema(connection) == {}
        assert connection.execute("PRAGMA application_id").fetchone() == (0,)
        assert migrate(connection, now=NOW) == available("sqlite")


@pytest.mark.fault("C11")
@pytest.mark.parametrize(
    ("table", "moment"), [("migrations", "table"), ("jobs", "table"), ("rejections", "table"), ("", "commit")]
)
def test_a_migration_that_is_killed_leaves_the_former_state(database: Path, table: str, moment: str) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_MIGRATING, str(database), table, moment]
    ended = subprocess.run(command, timeout=60, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    with connected(database) as connection:
        assert schema(connection) == {}
    with closing(Database(database, now=NOW)) as opened:
        assert opened.applied == available("sqlite")


# What is not ours, or not any more.


def _text_file(path: Path) -> None:
    path.write_bytes(b"[server]\nport = 8000\n")


def _empty(path: Path) -> None:
    path.touch()


def _foreign(path: Path) -> None:
    with connected(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")


def _foreign_with_an_application_id(path: Path) -> None:
    with connected(path) as connection:
        connection.execute("PRAGMA application_id = 252006674")


def _newer(path: Path) -> None:
    _ours(path)
    with connected(path) as connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'future', 'abc', 1)")


def _other_steps(path: Path) -> None:
    _ours(path)
    with connected(path) as connection:
        connection.execute("UPDATE migrations SET checksum = 'abc'")


def _lost_its_migrations(path: Path) -> None:
    _ours(path)
    with connected(path) as connection:
        connection.execute("DROP TABLE migrations")


def _zeroed_header(path: Path) -> None:
    _ours(path)
    with path.open("r+b") as file:
        file.write(bytes(100))


def _bad_page_size(path: Path) -> None:
    _ours(path)
    with path.open("r+b") as file:
        file.seek(16)
        file.write(b"\x00\x03")


def _zeroed_schema(path: Path) -> None:
    _ours(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(bytes(3996))


def _cut_off(path: Path) -> None:
    _ours(path)
    os.truncate(path, 2048)


def _ours(path: Path) -> None:
    Database(path, now=NOW).close()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_text_file, "is not a SQLite database"),
        (_foreign, "some other program"),
        (_foreign_with_an_application_id, "some other program"),
        (_newer, "newer receiver"),
        (_other_steps, "is not the one"),
        (_lost_its_migrations, "some other program"),
        (_zeroed_header, "is not a SQLite database"),
        (_bad_page_size, "the file was left as it is"),
        (_zeroed_schema, "the file was left as it is"),
        (_cut_off, "the file was left as it is"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
@pytest.mark.fault("C8")
def test_a_file_that_is_not_as_we_wrote_it_is_refused_untouched(
    database: Path, make: Callable[[Path], None], reason: str
) -> None:
    make(database)
    before = contents(database.parent)
    with pytest.raises(StoreDamaged, match=reason) as refused:
        Database(database, now=NOW)
    assert contents(database.parent) == before
    assert str(refused.value).startswith(f"{database}")
    assert "\n" not in str(refused.value)


def test_a_folder_where_the_file_should_be_is_refused(database: Path) -> None:
    database.mkdir()
    with pytest.raises((StoreError, OSError), match=r"is not a file|Is a directory"):
        Database(database, now=NOW)


@pytest.mark.anyio
@pytest.mark.fault("C11")
async def test_a_newer_database_that_was_not_closed_keeps_its_log_too(database: Path) -> None:
    process = StoreProcess(database, run="run1")
    remote = await process.connected()
    await remote.record(arrival())
    await remote.close()
    with connected(database) as newer:
        newer.execute("INSERT INTO migrations VALUES (99, 'future', 'abc', 1)")
        process.kill()
        before = contents(database.parent)
        assert "receiver.db-wal" in before
        with pytest.raises(StoreDamaged, match="newer receiver"):
            Database(database, now=NOW)
        assert contents(database.parent) == before


@pytest.mark.anyio
@pytest.mark.parametrize("damage", [bytes, lambda length: b"\xa5" * length], ids=["zeroed", "overwritten"])
@pytest.mark.fault("C8")
async def test_a_page_that_is_damaged_is_found_at_the_start_or_by_the_check(
    tmp_path: Path, damage: Callable[[int], bytes]
) -> None:
    async with in_this_process(tmp_path / "good.db", run="former") as store:
        for number in range(20):
            await store.record(arrival(f"v{number}", jobs=ready("save")))
        await claim(store, "former/1.0", "save")
    good = _content(tmp_path / "good.db")
    refused = 0
    for begin in range(0, len(good), PAGE):
        path = tmp_path / str(begin) / "receiver.db"
        _write(path, good[:begin] + damage(PAGE) + good[begin + PAGE :])
        try:
            async with in_this_process(path, run="next") as store:
                assert await store.check(), f"page at {begin}"
        except StoreDamaged:
            refused += 1
    assert 0 < refused < len(good) / PAGE


def _content(path: Path) -> bytes:
    return path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)


def test_the_store_process_refuses_a_foreign_file_with_one_line_and_status_2(database: Path) -> None:
    _foreign(database)
    before = contents(database.parent)
    process = StoreProcess(database, run="run1")
    assert process.exit_status() == 2
    (line,) = process.log.read_text().splitlines()
    assert line == f"receiver: {database}: the file is a database of some other program"
    assert contents(database.parent) == before


@pytest.mark.anyio
async def test_an_empty_file_becomes_a_database(database: Path) -> None:
    _empty(database)
    async with in_its_own_process(database) as store:
        assert await store.check() == []
