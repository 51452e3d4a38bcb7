"""Rules of the house that the import contracts can't say: what only one place may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import receiver
from receiver.cli import COMMANDS

PACKAGE = Path(receiver.__file__).parent
HANDLERS = PACKAGE.parent / "handlers"
TREES = {
    file.relative_to(PACKAGE.parent).as_posix(): ast.parse(file.read_text("utf-8"))
    for folder in (PACKAGE, HANDLERS)
    for file in folder.rglob("*.py")
}


def places(matches: Callable[[ast.AST], bool]) -> set[str]:
    """The files in which some node matches."""
    return {file for file, tree in TREES.items() if any(matches(node) for node in ast.walk(tree))}


def calls(node: ast.AST, *names: str) -> bool:
    """Whether a node is a call of one of these dotted names."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) in names


def test_the_environment_is_read_by_the_settings_only() -> None:
    found = places(lambda node: isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"))

    assert found == {"receiver/settings/reading.py"}


def test_any_exception_is_caught_where_a_handler_is_run_and_nowhere_else() -> None:
    def swallows(node: ast.AST) -> bool:
        if not isinstance(node, ast.ExceptHandler):
            return False
        is_broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
        return is_broad and not any(
            isinstance(part, ast.Raise) and part.exc is None for part in ast.walk(node)
        )

    assert places(swallows) == {"receiver/dispatch.py"}


def test_sql_stands_in_sql_files_only() -> None:
    def is_sql(node: ast.AST) -> bool:
        verbs = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "CREATE TABLE", "DROP ")
        return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(verbs)

    allowed = {"receiver/store/migrate.py"}  # which has to ask whether there are tables at all
    assert places(is_sql) <= allowed


def test_no_module_holds_state_that_its_functions_change() -> None:
    assert places(lambda node: isinstance(node, ast.Global)) == set()


def test_nothing_is_pickled_evaluated_or_run_in_a_shell() -> None:
    unsafe = (
        "eval",
        "exec",
        "pickle.load",
        "pickle.loads",
        "marshal.loads",
        "os.system",
        "os.popen",
        "yaml.load",
    )

    assert places(lambda node: calls(node, *unsafe)) == set()
    assert places(lambda node: isinstance(node, ast.keyword) and node.arg == "shell") == set()


def test_handlers_import_nothing_of_ours_but_the_public_names() -> None:
    for file, tree in TREES.items():
        if not file.startswith("handlers/"):
            continue
        for node in ast.walk(tree):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            assert not any(module.startswith("receiver.") for module in modules), file


def test_no_answer_is_a_redirect_or_gone() -> None:
    def is_refusing_forever(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or not calls(node, "Answer") or not node.args:
            return False
        status = getattr(node.args[0], "value", None)
        return isinstance(status, int) and (300 <= status < 400 or status in (410, 500))

    assert places(is_refusing_forever) == set()


def test_the_help_of_no_command_waits_for_a_library_that_only_its_work_needs() -> None:
    modules = ", ".join(sorted({f"receiver.cli.{module}" for module, _ in COMMANDS.values()}))
    heavy = (
        "pydantic",
        "httpx",
        "rich",
        "aiosqlite",
        "receiver.settings",
        "receiver.sources",
        "receiver.store",
    )
    look = f"import sys, {modules}; print(*sorted(set({heavy!r}) & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []
