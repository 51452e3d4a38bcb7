"""Every fault that is due has a test, every mark names a fault, and the page says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.faults.catalogue import ROWS, Row
from tests.faults.page import TESTS, Marked, marked, missing, page, unknown

DUE = {
    *(f"A{number}" for number in range(1, 14)),
    *(f"P{number}" for number in range(1, 12)),
    *(f"B{number}" for number in range(1, 12)),
    *(f"D{number}" for number in range(1, 10)),
    *(f"C{number}" for number in range(1, 13)),
    *(f"R{number}" for number in range(1, 13)),
    *(f"S{number}" for number in range(1, 15)),
    *(f"F{number}" for number in range(1, 10)),
    *(f"W{number}" for number in (1, *range(4, 11))),
    *(f"O{number}" for number in (1, 2, 3, 4, 5, 6, 7, 10, 11, 12)),
}


def test_every_fault_that_is_due_has_a_test() -> None:
    assert missing(ROWS, marked(TESTS)) == []


def test_every_mark_names_a_fault_of_the_catalogue() -> None:
    assert unknown(ROWS, marked(TESTS)) == []


def test_nothing_that_is_due_is_put_off() -> None:
    ids = [row.id for row in ROWS]

    assert len(ids) == len(set(ids))
    assert {row.id for row in ROWS if not row.later} == DUE
    assert set(ids) > DUE


def test_the_page_is_current() -> None:
    written = (TESTS / "FAULTS.md").read_text("utf-8")

    assert written == page(ROWS, marked(TESTS)), "write it anew: make faults"


SUITE = """
import pytest

pytestmark = pytest.mark.fault("A1")


@pytest.mark.fault("A2", "A3")
def test_one_thing(): ...


@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.fault("A4"))])
async def test_another(n): ...


@pytest.mark.fault("A5")
class TestGroup:
    def test_inside(self): ...

    @pytest.mark.fault("A6")
    def helper(self): ...
"""


def test_marks_are_found_wherever_they_may_stand(tmp_path: Path) -> None:
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit" / "test_it.py").write_text(SUITE)

    assert [(mark.file, mark.test, mark.fault) for mark in marked(tmp_path)] == [
        ("unit/test_it.py", "test_another", "A1"),
        ("unit/test_it.py", "test_another", "A4"),
        ("unit/test_it.py", "test_inside", "A1"),
        ("unit/test_it.py", "test_inside", "A5"),
        ("unit/test_it.py", "test_one_thing", "A1"),
        ("unit/test_it.py", "test_one_thing", "A2"),
        ("unit/test_it.py", "test_one_thing", "A3"),
    ]


def test_a_mark_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("@pytest.mark.fault(ID)\ndef test_it(): ...\n")

    with pytest.raises(TypeError, match="line 1: a fault is named by a plain string"):
        marked(tmp_path)


def test_what_is_missing_and_what_is_unknown_shows() -> None:
    rows = (Row("A1", "f", "d"), Row("A2", "f", "d"), Row("B1", "f", "d", "with more"))
    found = [Marked("test_it.py", "test_a_thing", "A1"), Marked("test_it.py", "test_b", "Z9")]

    assert missing(rows, found) == ["A2"]
    assert unknown(rows, found) == [found[1]]
    assert page(rows, found).splitlines()[5:] == [
        "## A",
        "",
        "| id | fault | duty | tests |",
        "|---|---|---|---|",
        "| A1 | f | d | [test_it.py](test_it.py): a thing |",
        "| A2 | f | d | **none** |",
        "",
        "## B",
        "",
        "| id | fault | duty | tests |",
        "|---|---|---|---|",
        "| B1 | f | d | later: with more |",
    ]


def test_the_helper_files_of_the_suite_hold_no_mark() -> None:
    """Only files that pytest collects are searched."""
    others = [path for path in TESTS.rglob("*.py") if not path.name.startswith("test_")]
    calls = [
        path.name
        for path in others
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault"
    ]

    assert calls == []
