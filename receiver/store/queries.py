"""Named SQL: `.sql` files in which each statement has a name and a line of purpose."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_HEAD = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load(database: str) -> dict[str, str]:
    """Read every named statement for a database ("sqlite"), by its name."""
    statements: dict[str, str] = {}
    folder = resources.files("receiver.store").joinpath("sql", database)
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        _, *parts = _HEAD.split(file.read_text("utf-8"))
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            if name in statements:
                raise ValueError(f"{file.name}: a second statement is called {name}")
            statements[name] = text.strip().rstrip(";")
    return statements
