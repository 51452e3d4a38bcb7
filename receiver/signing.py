"""Standard Webhooks signatures (version 1 of the specification, symmetric): made and compared over the
raw bytes, piece by piece, under several secrets at once.

How old a message may be is the business of whoever verifies one; there is no clock here.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Sequence
from datetime import datetime
from typing import BinaryIO

_PREFIX = "whsec_"
_VERSION = "v1"
_PIECE_BYTES = 1 << 20
MOST_SIGNATURES = 16
LONGEST_HEADER = 4096
"""Bytes; a sender needs neither for one signature under each of its secrets."""


def read_secret(secret: str) -> bytes:
    """Decode a secret, which is base64, with or without `whsec_` before it.

    Strictly: illegal characters, missing padding and stray bits are mistakes, and so is an empty
    key. Raise ValueError, which does not repeat the secret.
    """
    text = secret.removeprefix(_PREFIX)
    try:
        key = b64decode(text, validate=True)
    except (Error, ValueError):
        key = b""
    if not key or b64encode(key).decode("ascii") != text:
        raise ValueError("a secret is base64, as a rule with whsec_ before it")
    return key


def read_keys(secret: str) -> list[bytes]:
    """Read the keys that a secret may mean to whoever signs.

    Without `whsec_` before it the specification's libraries take a secret as base64, and OpenAI's own
    package takes the text as it stands. Raise ValueError as `read_secret` does.
    """
    key = read_secret(secret)
    return [key] if secret.startswith(_PREFIX) else [key, secret.encode("ascii")]


class Signature:
    """The running signature of one message under each of `keys`; `update` it with the body's bytes."""

    def __init__(self, keys: Sequence[bytes], *, message_id: bytes, timestamp: bytes) -> None:
        head = message_id + b"." + timestamp + b"."
        self._sums = [hmac.new(key, head, "sha256") for key in keys]

    def update(self, piece: bytes) -> None:
        """Go on with the next bytes of the body."""
        for running in self._sums:
            running.update(piece)

    def header(self) -> str:
        """The value of `webhook-signature`: one signature for each key, in their order."""
        return " ".join(f"{_VERSION},{text}" for text in self._texts())

    def matches(self, header: bytes) -> bool:
        """Say whether a sent `webhook-signature` holds one of ours, with the same work for every answer.

        Other versions are skipped; a header over 4 KiB or with more than 16 signatures is none.
        """
        sent = header.split(b" ")
        if len(header) > LONGEST_HEADER or len(sent) > MOST_SIGNATURES:
            return False
        found = False
        for text in self._texts():
            expected = f"{_VERSION},{text}".encode("ascii")
            for one in sent:
                found |= hmac.compare_digest(one, expected)
        return found

    def _texts(self) -> list[str]:
        return [b64encode(running.digest()).decode("ascii") for running in self._sums]


class Signer:
    """Signs messages by Standard Webhooks, for example with `Signer(["whsec_…"])`.

    Several secrets give several signatures, so that the other side can change to a new one in its
    own time. Raise ValueError for secrets that are none.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not secrets:
            raise ValueError("at least one secret is needed")
        self._keys = [read_secret(secret) for secret in secrets]

    def headers(self, message_id: str, *, at: datetime, body: bytes | BinaryIO) -> dict[str, str]:
        """Give the three headers of a message: id, timestamp and signature.

        A file is read from where it stands to its end and put back; that takes a second for each GB,
        so leave a large one to a thread.
        """
        timestamp = str(int(at.timestamp()))
        signature = Signature(
            self._keys,
            message_id=message_id.encode("utf-8", "surrogatepass"),
            timestamp=timestamp.encode("ascii"),
        )
        if isinstance(body, bytes):
            signature.update(body)
        else:
            start = body.tell()
            while piece := body.read(_PIECE_BYTES):
                signature.update(piece)
            body.seek(start)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature.header(),
        }
