"""What is wrong with a configuration, in one line each that names the key and never the value."""

from __future__ import annotations

import difflib
import re
from typing import Any

from receiver.settings.tables import SECRETS, SOURCES, Settings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def misnamed(tables: dict[str, Any]) -> list[str]:
    """Mistakes that a model can't name well: foreign kinds and names of sources."""
    sources = tables.get("sources")
    lines = []
    for name, table in (sources if isinstance(sources, dict) else {}).items():
        if not _NAME.fullmatch(name):
            lines.append(f"sources.{name}: a source's name is part of its URL: a-z, 0-9, - and _ only")
        if isinstance(table, dict) and table.get("kind") not in tuple(SOURCES):
            kinds = ", ".join(f'"{kind}"' for kind in SOURCES)
            lines.append(f"sources.{name}.kind: must be one of {kinds}")
    return lines


def explain(error: dict[str, Any]) -> str:
    """One line that names the key and what is wrong, without the value (it may be a secret)."""
    location = [str(part) for part in error["loc"] if not isinstance(part, int)]
    # Within a source, its kind stands behind its name: it says which model was asked.
    kind = location.pop(2) if location[0] == "sources" and len(location) > 2 else None
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        valid = _valid_keys(location[:-1], kind)
        near = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
        mend = f'did you mean "{near[0]}"?' if near else f"valid are: {', '.join(valid)}"
        return f"{key}: unknown key; {mend}"
    if error["type"] == "missing":
        also = f" (or {location[-1]}_file)" if location[-1] in SECRETS else ""
        return f"{key}{also}: is missing"
    if error["type"] == "tuple_type":
        return f'{key}: expected a list, for example ["…"]'
    return f"{key}: {error['msg'].removeprefix('Value error, ')}"


def _valid_keys(table: list[str], kind: str | None) -> list[str]:
    """The keys that a table may have, or the tables that there are."""
    fields = Settings.model_fields
    if kind is not None:
        fields = SOURCES[kind].model_fields
    elif table:
        fields = getattr(fields[table[0]].annotation, "model_fields", {})
    keys = [key for key in fields if key not in ("folder", "file")]
    return keys + [f"{key}_file" for key in keys if key in SECRETS]
