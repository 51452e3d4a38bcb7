"""Links within texts, without what signs them."""

from __future__ import annotations

import re

_LINK = re.compile(r"https?://[^\s\"<>]+", re.IGNORECASE)


def unsigned(text: str) -> str:
    """Replace the query string of each link in a text: that is where links are signed."""
    return _LINK.sub(_without_query, text) if "://" in text else text


def _without_query(found: re.Match[str]) -> str:
    path, _, query = found[0].partition("?")
    return f"{path}?redacted" if query else found[0]
