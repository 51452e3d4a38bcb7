"""Any configuration is either understood or refused with lines that name the keys, and never the values."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel

from receiver.errors import SettingsError
from receiver.settings import SOURCES, Settings
from receiver.settings.reading import parse

FOLDER = Path("/somewhere")
TABLES = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and name != "handlers"
}
KEYS = [(table, key) for table, model in TABLES.items() for key in model.model_fields] + [
    (f"sources.{kind}", key) for kind, model in SOURCES.items() for key in model.model_fields if key != "kind"
]
CANARY = "canary-never-shown"
NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=30)
    | st.just(CANARY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


def good() -> dict[str, Any]:
    tables: dict[str, dict[str, Any]] = {
        "opennote": {"organization_id": "org", "api_keys": ["key"]},
        "openai": {"webhook_secrets": ["whsec_c2VjcmV0"], "api_key": "key"},
        "openai-compatible": {"api_key": "key", "api_url": "https://api.example.com/v1"},
    }
    return {"sources": {kind: {"kind": kind, **table} for kind, table in tables.items()}}


def with_key(path: str, value: Any) -> dict[str, Any]:
    """A good configuration with one key set, by its dotted path."""
    tables = good()
    *parents, leaf = path.split(".")
    table = tables
    for parent in parents:
        table = table.setdefault(parent, {})
    table[leaf] = value
    return tables


def complaints(tables: dict[str, Any]) -> list[str]:
    try:
        parse(tables, folder=FOLDER)
    except SettingsError as error:
        return str(error).splitlines()
    return []


def test_the_configuration_that_the_others_change_is_fine() -> None:
    assert complaints(good()) == []
    assert good()["sources"].keys() == SOURCES.keys()
    assert len(KEYS) > 25


@pytest.mark.fault("O11")
@given(st.sampled_from(sorted({table for table, _ in KEYS})), NAMES, VALUES)
def test_an_unknown_key_is_refused_by_its_name(table: str, key: str, value: Any) -> None:
    assume((table, key) not in KEYS and key != "kind")
    assume((table, key.removesuffix("_file")) not in KEYS)

    lines = complaints(with_key(f"{table}.{key}", value))

    assert len(lines) == 1
    assert f"{table}.{key}: unknown key" in lines[0]
    assert CANARY not in lines[0]


@pytest.mark.fault("O11")
@given(st.sampled_from(KEYS), VALUES)
def test_a_value_is_understood_or_refused_by_the_name_of_its_key(where: tuple[str, str], value: Any) -> None:
    path = ".".join(where)

    for line in complaints(with_key(path, value)):
        assert line.startswith(f"the environment: {path}")
        assert CANARY not in line
        assert line.isprintable()


@pytest.mark.fault("O11")
@pytest.mark.parametrize(("table", "key"), KEYS)
def test_a_table_where_a_value_belongs_is_refused(table: str, key: str) -> None:
    lines = complaints(with_key(f"{table}.{key}", {"nested": [CANARY]}))

    assert lines
    assert all(f"{table}.{key}" in line and CANARY not in line for line in lines)


@pytest.mark.fault("O11")
@given(st.dictionaries(st.sampled_from([*TABLES, "sources", "handlers"]) | NAMES, VALUES, max_size=4))
def test_any_tables_give_settings_or_complaints(tables: dict[str, Any]) -> None:
    for line in complaints(tables):
        assert line.startswith("the environment: ")
        assert CANARY not in line
