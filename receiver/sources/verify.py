"""Comparing and hiding credentials: always bytes, always in constant time, never kept as they came."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence

import orjson

from receiver.sources.base import Headers

KEPT_HEADERS = frozenset(
    [
        *(
            b"accept",
            b"accept-charset",
            b"accept-encoding",
            b"accept-language",
            b"cache-control",
            b"connection",
        ),
        *(b"content-digest", b"content-encoding", b"content-language", b"content-length", b"content-md5"),
        *(b"content-type", b"date", b"expect", b"host", b"keep-alive", b"pragma", b"te", b"trailer"),
        *(b"transfer-encoding", b"upgrade", b"user-agent", b"via"),
        *(b"x-organization-id", b"x-origin", b"x-request-id", b"x-webhook-platform"),
        *(b"webhook-id", b"webhook-timestamp"),
        *(b"cf-connecting-ip", b"cf-ipcountry", b"cf-ray", b"cf-visitor", b"cdn-loop", b"traceparent"),
        *(b"x-amzn-trace-id", b"x-correlation-id", b"x-forwarded-for", b"x-forwarded-host"),
        *(b"x-forwarded-port", b"x-forwarded-proto", b"x-forwarded-server", b"x-real-ip", b"x-trace-id"),
    ]
)
"""Headers that hold no secret. Those with a URL or with anybody's own words are missing on purpose."""

_LONGEST_VALUE = 1024
_MOST_REMEMBERED = 1024


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


class Redactor:
    """Turns headers into text that may be kept.

    What may be a credential becomes `redacted:<8 hex digits>`, an HMAC-SHA256 under `key` cut short: the
    same credential always gives the same digits, so that one sees *which* key was used.
    """

    def __init__(self, key: bytes, *, known: Collection[bytes] = ()) -> None:
        self._key = key
        self._fingerprints: Mapping[bytes, str] = {value: self._compute(value) for value in known}
        self._as_json: dict[tuple[bytes, bytes], str] = {}

    def _compute(self, value: bytes) -> str:
        return "redacted:" + hmac.digest(self._key, value, "sha256").hex()[:8]

    def fingerprint(self, value: bytes) -> str:
        """Name a credential without giving it away."""
        return self._fingerprints.get(value) or self._compute(value)

    def redact(self, headers: Headers) -> list[tuple[str, str]]:
        """Keep names, and the values of KEPT_HEADERS, cut when very long; never a credential of ours."""
        kept, ours = KEPT_HEADERS, self._fingerprints
        return [
            (
                name.decode("latin-1"),
                value[:_LONGEST_VALUE].decode("latin-1")
                if name in kept and value not in ours
                else self.fingerprint(value),
            )
            for name, value in headers
        ]

    def to_json(self, headers: Headers) -> str:
        """Redact, and write as a JSON array of [name, value]; what one sender repeats is done once."""
        done = self._as_json
        return f"[{','.join([done.get(line) or self._remember(line) for line in headers])}]"

    def _remember(self, line: tuple[bytes, bytes]) -> str:
        if len(self._as_json) >= _MOST_REMEMBERED:
            self._as_json.clear()
        self._as_json[line] = kept = orjson.dumps(self.redact([line])[0]).decode()
        return kept
