"""The page that says which tests make which fault happen, read from the marks on the tests."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.faults.catalogue import Row

TESTS = Path(__file__).parents[1]
_HEAD = """\
# Faults, and the tests that make them happen

Written by `make faults` from the catalogue in `tests/faults/` and the marks `@pytest.mark.fault(…)` on the
tests; don't edit it. A row that is not due yet says with what its tests come.
"""


@dataclass(frozen=True, slots=True, order=True)
class Marked:
    """A test that makes a fault happen."""

    file: str
    """Relative to the folder of the tests."""
    test: str
    fault: str


def marked(folder: Path) -> list[Marked]:
    """Find every mark below a folder, without importing anything."""
    return sorted(
        {
            Marked(path.relative_to(folder).as_posix(), test, fault)
            for path in folder.rglob("test_*.py")
            for test, fault in _marks(ast.parse(path.read_text("utf-8")))
        }
    )


def _marks(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Marks of the whole file, of classes, of tests, and of single cases of a parametrized test."""
    for test, marks in _tests(module, _assigned(module)):
        for mark in marks:
            yield from ((test, fault) for fault in _ids(mark))


def _tests(scope: ast.Module | ast.ClassDef, above: list[ast.expr]) -> Iterator[tuple[str, list[ast.expr]]]:
    for node in scope.body:
        if isinstance(node, ast.ClassDef):
            yield from _tests(node, [*above, *node.decorator_list, *_assigned(node)])
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            yield node.name, [*above, *node.decorator_list]


def _assigned(scope: ast.Module | ast.ClassDef) -> list[ast.expr]:
    return [
        node.value
        for node in scope.body
        if isinstance(node, ast.Assign) and any(ast.unparse(name) == "pytestmark" for name in node.targets)
    ]


def _ids(expression: ast.expr) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
            for argument in node.args:
                if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                    raise TypeError(f"line {node.lineno}: a fault is named by a plain string")
                yield argument.value


def missing(rows: Iterable[Row], found: Iterable[Marked]) -> list[str]:
    """The rows that are due and have no test."""
    covered = {mark.fault for mark in found}
    return [row.id for row in rows if not row.later and row.id not in covered]


def unknown(rows: Iterable[Row], found: Iterable[Marked]) -> list[Marked]:
    """The marks that name no row."""
    known = {row.id for row in rows}
    return [mark for mark in found if mark.fault not in known]


def page(rows: Sequence[Row], found: Sequence[Marked]) -> str:
    """Write the page as Markdown."""
    lines = [_HEAD]
    for group, members in groupby(rows, key=lambda row: row.id[0]):
        lines += [f"## {group}\n", "| id | fault | duty | tests |", "|---|---|---|---|"]
        for row in members:
            cells = (row.id, row.fault, row.duty, _tests_of(row, found))
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _tests_of(row: Row, found: Sequence[Marked]) -> str:
    tests = [mark for mark in found if mark.fault == row.id]
    by_file = [
        f"[{file}]({file}): " + ", ".join(mark.test.removeprefix("test_").replace("_", " ") for mark in marks)
        for file, marks in groupby(tests, key=lambda mark: mark.file)
    ]
    if row.later:
        by_file.append(f"later: {row.later}")
    return "<br>".join(by_file) or "**none**"
