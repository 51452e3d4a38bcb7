"""Numbered migrations: forward only, each in one transaction, checked by checksum both ways."""

from __future__ import annotations

import hashlib
import sqlite3
from importlib import resources
from typing import NamedTuple

from receiver.errors import StoreDamaged

APPLICATION_ID = 0x52435652  # "RCVR", in the header of every database file of ours


class Migration(NamedTuple):
    """One numbered step."""

    number: int
    name: str
    sql: str
    checksum: str


def available(database: str) -> list[Migration]:
    """The migrations that this version knows, in order."""
    folder = resources.files("receiver.store").joinpath("sql", database, "migrations")
    found = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        number, _, name = file.name.removesuffix(".sql").partition("_")
        text = file.read_text("utf-8")
        found.append(Migration(int(number), name, text, hashlib.sha256(text.encode()).hexdigest()))
    return found


def migrate(connection: sqlite3.Connection, *, now: int) -> list[Migration]:
    """Bring a database up to date; return what was applied. Raise StoreDamaged as `pending` does."""
    steps = pending(connection)
    for step in steps:
        _apply(connection, step, now=now)
    return steps


def pending(connection: sqlite3.Connection) -> list[Migration]:
    """The steps that a database lacks; it is only read.

    Raise StoreDamaged for a database of a newer version, or one whose steps are not ours.
    """
    known = available("sqlite")
    applied = _applied(connection)
    if len(applied) > len(known):
        raise StoreDamaged(
            f"the database has {len(applied)} migrations and this version knows {len(known)}: "
            "it was written by a newer receiver; use that version or a newer one"
        )
    for step, (number, checksum) in zip(known, applied, strict=False):
        if (step.number, step.checksum) != (number, checksum):
            raise StoreDamaged(f"migration {number} of the database is not the one that this version knows")
    return known[len(applied) :]


def _applied(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if not tables and application_id in (0, APPLICATION_ID):
        return []
    if application_id != APPLICATION_ID or "migrations" not in tables:
        raise StoreDamaged("the file is a database of some other program")
    return connection.execute("SELECT number, checksum FROM migrations ORDER BY number").fetchall()


def _apply(connection: sqlite3.Connection, step: Migration, *, now: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, "
            "checksum TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT"
        )
        for statement in _statements(step.sql):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO migrations VALUES (?, ?, ?, ?)", (step.number, step.name, step.checksum, now)
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(sql: str) -> list[str]:
    """Split a script: sqlite3's own executescript would commit in between."""
    statements, current = [], ""
    for line in sql.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
