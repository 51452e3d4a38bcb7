"""What code and documents say of each other: modules, log events, errors, answers, links, and absences."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver import __version__, answers, errors
from receiver.life import JobState
from receiver.logs import EVENTS
from receiver.model import EVENT_TYPES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "receiver"
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "receiver/MAP.md",
    "CHANGELOG.md",
    "deploy/README.md",
    "deploy/REFERENCE.md",
    "deploy/API.md",
    "deploy/SOURCES.md",
    "deploy/SUBMIT.md",
    "deploy/CAPTURES.md",
    "deploy/WATCHES.md",
    "handlers/README.md",
)
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def parsed(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text("utf-8"))


@pytest.mark.parametrize(("name", "most"), [("README.md", 150), ("ARCHITECTURE.md", 150)])
def test_a_document_is_short_enough_to_be_read(name: str, most: int) -> None:
    assert len(read(name).splitlines()) <= most


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_between_documents_leads_to_a_file(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", read(name))

    assert [target for target in targets if not (ROOT / name).parent.joinpath(target).exists()] == []


def test_the_changelog_names_this_version() -> None:
    assert re.search(rf"^## .*\b{re.escape(__version__)}\b", read("CHANGELOG.md"), flags=re.MULTILINE)


# Modules.


def mapped() -> Counter[str]:
    """The modules that the code map names; a folder stands for its __init__.py."""
    block = read("receiver/MAP.md").split("```")[1]
    folders: list[str] = []
    found: Counter[str] = Counter()
    for line in block.strip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = re.match(r"\s*([\w/.]+(?:, [\w/.]+)*)  +\S", line)
        assert names, f"a line of the code map without names or text: {line}"
        folders = folders[:depth]
        for name in names[1].split(", "):
            path = "".join(folders) + name
            found[f"{path}__init__.py" if path.endswith("/") else path] += 1
        if names[1].endswith("/"):
            folders.append(names[1])
    return found


def test_every_module_stands_in_the_code_map_once() -> None:
    expected = Counter(module for module in MODULES if module != "__init__.py")  # named below the map

    assert mapped() == expected


# Log events.


def logged_names(module: str) -> Iterator[str]:
    """The names of log events in a module: what log methods are called with, and tables of names."""
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            first = node.args[0] if node.args else None
            if node.func.attr in LOG_METHODS and isinstance(first, ast.Constant):
                yield str(first.value)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_LOGGED":
            assert isinstance(node.value, ast.Dict)
            yield from (str(ast.literal_eval(value)) for value in node.value.values)


def test_every_log_event_is_listed_and_every_listed_one_is_logged() -> None:
    logged = {name for module in MODULES for name in logged_names(module)}

    assert logged == EVENTS.keys()


@pytest.mark.parametrize("name", EVENTS)
def test_a_log_event_is_a_noun_and_a_past_verb_with_an_explanation(name: str) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z]+", name)
    assert len(EVENTS[name].split()) >= 3


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md"])
def test_a_document_says_where_the_log_events_are(name: str) -> None:
    assert re.search(r"logs\.py.*every (log )?event|every log event", read(name))


# Errors.


def error_tree() -> dict[str, str]:
    """Class → the one above it, as the docstring of errors.py draws them."""
    path: list[str] = []
    above: dict[str, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        drawn = re.match(r"((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)(?: {2,}\S.*)?$", line)
        if drawn:
            path = [*path[: len(drawn[1]) // 4], drawn[2]]
            above[drawn[2]] = path[-2] if len(path) > 1 else "Exception"
    return above


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    real = {
        name: error.__base__.__name__
        for name, error in inspect.getmembers(errors, inspect.isclass)
        if error.__module__ == errors.__name__ and error.__base__
    }

    assert error_tree() == real


def test_every_exception_that_a_module_defines_is_in_the_tree_or_an_outcome() -> None:
    defined = {
        node.name
        for module in MODULES
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    }

    assert defined <= error_tree().keys() | {"Retry", "Fail", "Cancel"}


# Answers.


def possible_statuses() -> set[int]:
    """What senders may be answered with: literal answers, and errors that carry their status."""
    statuses = {answers.Receipted("accepted", "evt").status} | {
        error.status
        for _, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, errors.Refused)
    }
    for module in ("answers.py", "ingress.py"):
        for node in ast.walk(parsed(module)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Answer", "answers.Answer"):
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, int):
                    statuses.add(first.value)
    return statuses


def test_the_readme_explains_every_answer_and_no_other() -> None:
    listed = re.findall(r"^\| ([0-9]{3}(?:, [0-9]{3})*) \|", read("README.md"), flags=re.MULTILINE)
    explained = [int(status) for row in listed for status in row.split(", ")]

    assert sorted(explained) == sorted(possible_statuses())


def test_no_answer_is_one_that_a_sender_would_misunderstand() -> None:
    statuses = possible_statuses()

    assert answers.UNAUTHORIZED.status in statuses
    assert {status for status in statuses if 300 <= status < 400 or status in (410, 500)} == set()


# Words.


@pytest.mark.parametrize("word", [*EVENT_TYPES, *JobState])
def test_every_event_type_and_job_state_is_told_to_those_who_use_it(word: str) -> None:
    assert re.search(rf"\b{re.escape(word)}\b", read("README.md") + read("deploy/REFERENCE.md"))


@pytest.mark.parametrize(
    "term",
    [
        *("source", "delivery", "event", "handler", "job", "attempt", "outcome", "lease"),
        *("replay", "redelivery", "rejection", "refusal"),
    ],
)
def test_the_glossary_explains_every_term(term: str) -> None:
    glossary = read("ARCHITECTURE.md").partition("## Glossary")[2]

    assert re.search(rf"\*\*{term}\*\* \w+ \w+", " ".join(glossary.split()))


# Absences that ARCHITECTURE.md promises, where the checks of imports can't see them.


def test_nobody_but_the_settings_reads_the_environment() -> None:
    reading = {
        module
        for module in MODULES
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
    }

    assert reading == {"settings/reading.py"}


def test_no_statement_on_the_tables_stands_in_python() -> None:
    statement = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|REPLACE)\s")
    found = {
        module
        for module in MODULES
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and statement.match(node.value)
    }

    assert found == {"store/migrate.py"}  # its own bookkeeping, before there are tables


def test_outgoing_requests_are_made_in_one_place() -> None:
    made = ("AsyncClient", "Client", "AsyncHTTPTransport", "AsyncConnectionPool", "urlopen", "request")
    clients = {
        module
        for module in MODULES
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Call)
        and re.fullmatch(rf"(httpx|httpcore|urllib\.request)\.({'|'.join(made)})", ast.unparse(node.func))
    }

    trying = {module for module in clients if module.startswith(("sandbox/", "cli/"))}
    assert trying == {"cli/demo.py", "cli/send.py", "sandbox/app.py"}
    assert clients - trying == {"transport.py"}
