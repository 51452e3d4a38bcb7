"""The key that a client shows with a request, `Authorization: Bearer …`."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.requests import Request


def bearer_key(request: Request) -> str | None:
    """Give the key as it was sent; None when none was, or one that is no printable ASCII."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    # The key may go back in a header, where only printable ASCII is safe.
    return key if scheme.lower() == "bearer" and key and key.isascii() and key.isprintable() else None


def is_let_in(key: str, known: Sequence[str]) -> bool:
    """Say whether a key is one of those that are known; any is when none are."""
    return not known or any(hmac.compare_digest(key.encode(), one.encode()) for one in known)
