"""Comparing and hiding credentials: always bytes, always in constant time, never kept as they came."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence

from receiver.sources.base import Headers

CREDENTIAL_HEADERS = frozenset(
    {
        b"authorization",
        b"cookie",
        b"proxy-authorization",
        b"set-cookie",
        b"webhook-signature",
        b"x-api-key",
    }
)
_TELLING = (b"key", b"secret", b"token", b"signature", b"password", b"auth", b"cookie", b"credential")
_LONGEST_VALUE = 1024
_MOST_NAMES = 256
_SHORTEST_FOUND = 8
"""Bytes: a known credential that is shorter may be part of an innocent word."""


def digest(value: bytes) -> bytes:
    """SHA-256, so that what is compared has one length whatever was sent."""
    return hashlib.sha256(value).digest()


def is_one_of(value: bytes, digests: Sequence[bytes]) -> bool:
    """Say whether the digest of `value` is among `digests`, with the same work for every outcome."""
    sent = digest(value)
    found = False
    for known in digests:
        found |= hmac.compare_digest(sent, known)
    return found


def may_be_credential(name: bytes) -> bool:
    """Say whether a header of this (lower-case) name may carry a secret, ours or somebody's."""
    return name in CREDENTIAL_HEADERS or any(word in name for word in _TELLING)


class Redactor:
    """Turns headers into text that may be kept.

    A credential becomes `redacted:<8 hex digits>`, an HMAC-SHA256 under `key` cut short: the same
    credential always gives the same digits, so that one sees *which* key was used.
    """

    def __init__(self, key: bytes, *, known: Collection[bytes] = ()) -> None:
        self._key = key
        self._seen: dict[bytes, bool] = {}
        self._fingerprints: Mapping[bytes, str] = {value: self._compute(value) for value in known}

    def _compute(self, value: bytes) -> str:
        return "redacted:" + hmac.digest(self._key, value, "sha256").hex()[:8]

    def fingerprint(self, value: bytes) -> str:
        """Name a credential without giving it away."""
        return self._fingerprints.get(value) or self._compute(value)

    def redact(self, headers: Headers) -> list[tuple[str, str]]:
        """Keep names and values; replace credentials, and ours wherever they stand; cut what is very long."""
        hides, ours = self._hides, self._fingerprints
        return [
            (
                name.decode("latin-1"),
                self.fingerprint(value)
                if (known := self._seen.get(name)) or (known is None and hides(name)) or value in ours
                else value[:_LONGEST_VALUE].decode("latin-1"),
            )
            for name, value in headers
        ]

    def _hides(self, name: bytes) -> bool:
        """Decide once for each name; names are the sender's choice, so the memory for them is bounded."""
        is_hidden = may_be_credential(name)
        if len(self._seen) < _MOST_NAMES:
            self._seen[name] = is_hidden
        return is_hidden
