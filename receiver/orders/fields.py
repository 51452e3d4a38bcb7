"""`name=value` on the command line: fields that have no option of their own, with JSON values."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
from pydantic import JsonValue

from receiver.model import Payload


def parse(texts: Iterable[str]) -> Payload:
    """Read fields; a dot leads into an object (`a.b=1` is `{"a": {"b": 1}}`). Raise ValueError."""
    fields: Payload = {}
    for text in texts:
        name, equals, value = text.partition("=")
        *parents, leaf = name.split(".")
        if not equals or not all((*parents, leaf)):
            raise ValueError(f"{text!r} is not name=value")
        table = fields
        for parent in parents:
            inner = table.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{parent} is given as a value and as an object")
            table = inner
        if leaf in table:
            raise ValueError(f"{name} is given twice")
        table[leaf] = _value(name, value)
    return fields


def _value(name: str, text: str) -> JsonValue:
    try:
        value: JsonValue = orjson.loads(text)
    except orjson.JSONDecodeError:
        example = orjson.dumps(text or "text").decode()
        raise ValueError(f"{name}: the value is JSON; text stands in quotes: {name}='{example}'") from None
    return value
