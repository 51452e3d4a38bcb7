"""Fields of strangers' JSON: one that is of a wrong type counts as not given."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import JsonValue

from receiver.errors import BadBody
from receiver.model import VideoFailure

LONGEST_WORD = 256
_CODE = re.compile(r"[a-z0-9_.-]{1,64}")


def identity(value: JsonValue) -> str | None:
    """An id as text, or None when there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(value) or None


def identifier(value: JsonValue, where: str) -> str | None:
    """An id as text, or None when there is none. Raise BadBody for one that can't be kept or shown."""
    found = identity(value)
    return None if found is None else word(found, where)


def word(value: str, where: str) -> str:
    """A text that becomes part of an event key. Raise BadBody when it can't be kept or shown."""
    if len(value) > LONGEST_WORD or not value.isprintable():
        raise BadBody(
            f"{where}: longer than {LONGEST_WORD} characters, or with characters that can't be printed"
        )
    return value


def text(value: JsonValue) -> str | None:
    """A text."""
    return value if isinstance(value, str) else None


def number(value: JsonValue) -> float | None:
    """A finite number, or the text of one."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        read = float(value)
    except (ValueError, OverflowError):
        return None
    return read if math.isfinite(read) else None


def time(value: JsonValue) -> datetime | None:
    """A time, UTC: text as in ISO 8601, or unix seconds."""
    try:
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def failure(errors: Iterable[JsonValue], *, message: JsonValue = None) -> VideoFailure:
    """Why a video failed: the first error that is an object or a text; `message` explains a text."""
    for value in errors:
        if isinstance(value, dict):
            return VideoFailure(code=text(value.get("code")) or "", message=text(value.get("message")) or "")
        if isinstance(value, str) and value:
            code = value if _CODE.fullmatch(value) else ""
            return VideoFailure(code=code, message=text(message) or value)
    return VideoFailure()
