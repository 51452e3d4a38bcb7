"""Who may look from outside: the admin token, compared in constant time, and a limit for guessing it."""

from __future__ import annotations

import hmac
from collections.abc import Container

from receiver.answers import GUARDED, UNKNOWN_PATH, Answer, RawHeaders, Scope, retry_after
from receiver.peers import BadCredentials, peer_of
from receiver.rejections import Rejections
from receiver.settings.tables import AdminSettings
from receiver.sources.verify import digest, is_one_of

_CHECK = "the admin token is missing or wrong"
_NO_TOKEN = Answer(
    401,
    {"status": "rejected", "error": _CHECK},
    closes=True,
    headers=[(b"www-authenticate", b"Bearer"), *GUARDED],
)


class Gate:
    """Lets in who has the token; it is asked before what it guards is even imported."""

    def __init__(
        self,
        admin: AdminSettings,
        *,
        bad_tokens: BadCredentials,
        rejections: Rejections,
        trusted_proxies: Container[str] = (),
    ) -> None:
        self._bad_tokens = bad_tokens
        self._rejections = rejections
        self._trusted_proxies = trusted_proxies
        self._tokens: list[bytes] = []
        self.admit(admin)

    def admit(self, admin: AdminSettings) -> bool:
        """Let in whom these settings name, from the next request on; say whether that is somebody else."""
        token = admin.token.get_secret_value() if admin.token else ""
        before, self._tokens = self._tokens, [digest(token.encode())] if token else []
        return not hmac.compare_digest(b"".join(before), b"".join(self._tokens))

    def refusal(self, scope: Scope, *, what: str) -> Answer | None:
        """Judge a request for `what`: None when it may pass. Without a token configured there is nothing."""
        if not self._tokens:
            return UNKNOWN_PATH
        if is_one_of(_bearer(scope["headers"]), self._tokens):
            return None
        wait = self._bad_tokens.seconds_to_wait(self.peer(scope))
        self._rejections.add(what, 429 if wait else 401, _CHECK, self.peer(scope))
        if not wait:
            return _NO_TOKEN
        content = {"status": "rejected", "error": "too many requests with a bad token"}
        return Answer(429, content, closes=True, headers=[*retry_after(wait), *GUARDED])

    def peer(self, scope: Scope) -> str:
        """The address that a request came from."""
        return peer_of(scope["client"], scope["headers"], self._trusted_proxies)


def _bearer(headers: RawHeaders) -> bytes:
    """The token of `Authorization: Bearer` (RFC 6750, 2.1); nothing when it was not said exactly once."""
    said = [value for name, value in headers if name == b"authorization"]
    if len(said) != 1 or said[0][:7].lower() != b"bearer ":
        return b""
    return said[0][7:].strip()
