"""What is wrong with a configuration, in one line each that names the key and never the value."""

from __future__ import annotations

import difflib
import re
from typing import Any

from receiver.settings.tables import SECRETS, OpennoteSettings, Settings

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def misnamed(tables: dict[str, Any]) -> list[str]:
    """Mistakes that a model can't name well: foreign kinds and names of sources."""
    sources = tables.get("sources")
    lines = []
    for name, table in (sources if isinstance(sources, dict) else {}).items():
        if not _NAME.fullmatch(name):
            lines.append(f"sources.{name}: a source's name is part of its URL: a-z, 0-9, - and _ only")
        if isinstance(table, dict) and table.get("kind") != "opennote":
            lines.append(f'sources.{name}.kind: must be "opennote", the only kind that this version knows')
    return lines


def explain(error: dict[str, Any]) -> str:
    """One line that names the key and what is wrong, without the value (it may be a secret)."""
    location = [part for part in error["loc"] if not isinstance(part, int)]
    key = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _valid_keys(location[:-1]), n=1, cutoff=0.5)
        valid = (
            f'did you mean "{near[0]}"?' if near else "valid are: " + ", ".join(_valid_keys(location[:-1]))
        )
        return f"{key}: unknown key; {valid}"
    if error["type"] == "missing":
        also = f" (or {location[-1]}_file)" if location[-1] in SECRETS else ""
        return f"{key}{also}: is missing"
    if error["type"] == "tuple_type":
        return f'{key}: expected a list, for example ["…"]'
    return f"{key}: {error['msg'].removeprefix('Value error, ')}"


def _valid_keys(location: list[Any]) -> list[str]:
    model: Any = Settings
    for part in location:
        if model is None:
            return []
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        model = OpennoteSettings if part == "sources" else annotation
        if part != "sources" and location[0] == "sources":
            model = OpennoteSettings
    keys = [key for key in model.model_fields if key not in ("folder", "file")] if model else []
    return keys + [f"{key}_file" for key in keys if key in SECRETS]
