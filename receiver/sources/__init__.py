"""The senders: what is believed, and what it means."""

from __future__ import annotations

from receiver.settings import Settings
from receiver.sources.base import Source
from receiver.sources.opennote import Opennote


def configured(settings: Settings, *, redactor_key: bytes = b"") -> dict[str, Source]:
    """Build every configured source, by its name.

    `redactor_key` keys the fingerprints of credentials; only what keeps headers needs it.
    """
    return {
        name: Opennote(name, table, redactor_key=redactor_key, max_body=settings.server.max_body)
        for name, table in settings.sources.items()
    }
