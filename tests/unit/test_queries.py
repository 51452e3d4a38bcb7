"""The named statements: each has a name and a purpose, is used, and moves jobs as the table of moves says."""

from __future__ import annotations

import ast
import re
import sqlite3
from contextlib import closing
from importlib import resources

import pytest

from receiver.life import TRANSITIONS, JobState, Move
from receiver.store import queries
from receiver.store.migrate import available

PACKAGE = resources.files("receiver.store")
DATABASES = [folder.name for folder in PACKAGE.joinpath("sql").iterdir() if folder.is_dir()]
MOVES = re.compile(r"^-- ((?:(?:" + "|".join(move.name for move in Move) + r")(?:, )?)+):", re.MULTILINE)


def texts(database: str) -> dict[str, str]:
    """The text of each `.sql` file of named statements."""
    folder = PACKAGE.joinpath("sql", database)
    return {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".sql")}


def words_of_the_code(database: str) -> set[str]:
    """Every string constant in the modules that speak to a database."""
    modules = [file for file in PACKAGE.joinpath(database).iterdir() if file.name.endswith(".py")]
    trees = [ast.walk(ast.parse(file.read_text("utf-8"))) for file in modules]
    constants = [node.value for tree in trees for node in tree if isinstance(node, ast.Constant)]
    for name in ("service.py", "submitting.py"):
        module = ast.walk(ast.parse(PACKAGE.joinpath(name).read_text("utf-8")))
        constants += [node.value for node in module if isinstance(node, ast.Constant)]
    return {value for value in constants if isinstance(value, str)}


def moves() -> list[tuple[str, tuple[Move, ...]]]:
    """The statements whose purpose begins with the moves that they make."""
    return [
        (statement, tuple(Move[name] for name in found[1].split(", ")))
        for statement in queries.load("sqlite").values()
        if (found := MOVES.search(statement))
    ]


@pytest.mark.parametrize("database", DATABASES)
def test_every_statement_has_a_name_and_a_line_of_purpose(database: str) -> None:
    for name, text in texts(database).items():
        heads = re.findall(r"^-- name: (.+)\n(.*)", text, re.MULTILINE)
        assert heads, name
        for statement, purpose in heads:
            assert re.fullmatch(r"[a-z_]+", statement), f"{name}: {statement}"
            assert re.match(r"-- [A-Z:]", purpose), f"{name}: {statement} says nothing of its purpose"
    names = [
        found
        for text in texts(database).values()
        for found in re.findall(r"^-- name: (\w+)$", text, re.MULTILINE)
    ]
    assert sorted(names) == sorted(queries.load(database))


@pytest.mark.parametrize("database", DATABASES)
def test_every_statement_is_used(database: str) -> None:
    assert set(queries.load(database)) - words_of_the_code(database) == set()


def test_every_statement_is_one_statement_that_the_schema_understands() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for step in available("sqlite"):
            connection.executescript(step.sql)
        for name, statement in queries.load("sqlite").items():
            named = dict.fromkeys(re.findall(r"(?<!:):(\w+)", re.sub(r"--.*", "", statement)))
            parameters = named or (None,) * statement.count("?")
            try:
                connection.execute(f"EXPLAIN {statement}", parameters)
            except sqlite3.Error as error:
                pytest.fail(f"{name}: {error}")


def test_every_move_is_one_statement_from_and_to_the_states_of_the_table() -> None:
    made = [move for _, of_statement in moves() for move in of_statement]
    assert sorted(made) == sorted(Move)
    for statement, of_statement in moves():
        change, _, condition = statement.partition("WHERE")
        for move in of_statement:
            (origin,) = [state for state, other in TRANSITIONS if other is move]
            assert re.findall(r"\bstate = '?(:?\w+)'?", condition) == [origin.value]
            target = TRANSITIONS[origin, move].value
            assert re.findall(r"SET state = '?([?\w]+)'?", change) == [
                target if len(of_statement) == 1 else "?"
            ]


def test_nothing_but_a_move_changes_the_state_of_a_job() -> None:
    known = {statement for statement, _ in moves()}
    for name, statement in queries.load("sqlite").items():
        if re.search(r"UPDATE jobs SET state", statement):
            assert statement in known, name


def test_only_the_holder_of_the_claim_can_move_a_job_out_of_running() -> None:
    for statement, of_statement in moves():
        _, _, condition = statement.partition("WHERE")
        if Move.LOSE in of_statement:
            assert "worker = :worker" in condition
        elif (JobState.RUNNING, of_statement[0]) in TRANSITIONS:
            assert "claim = ?" in condition


def test_the_schema_knows_the_states_of_the_model_and_no_other() -> None:
    schema = "".join(step.sql for step in available("sqlite"))
    (names,) = re.findall(r"state TEXT NOT NULL CHECK \(state IN \((.+?)\)\)", schema)
    assert sorted(names.replace("'", "").split(", ")) == sorted(JobState)


@pytest.mark.parametrize(
    ("statement", "step"),
    [
        ("given_deliveries", "USING COVERING INDEX deliveries_by_event (event=? AND rowid>?)"),
        ("count_equal_deliveries", "USING INDEX deliveries_repeated (event=? AND received_at=?)"),
    ],
)
def test_no_question_looks_at_every_delivery_of_an_event(statement: str, step: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for migration in available("sqlite"):
            connection.executescript(migration.sql)
        sql = queries.load("sqlite")[statement]
        named = dict.fromkeys(re.findall(r"(?<!:):(\w+)", re.sub(r"--.*", "", sql)))
        plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", named)]
    assert [each for each in plan if "deliveries_" in each] == [f"SEARCH deliveries {step}"]
