"""Cursors: places in the record, written so that nobody takes one of another record for one of this."""

from __future__ import annotations

import base64
import binascii
import hashlib

PATTERN = "^[A-Za-z0-9_-]{20}$"
_VERSION = b"\x01"
_RECORD_BYTES = 6
_SEQ_BYTES = 8
_LARGEST_SEQ = 2**63 - 1


class Cursors:
    """Writes and reads the cursors of one record."""

    def __init__(self, key: bytes) -> None:
        """`key` was made with the database, and stays with it."""
        self._record = hashlib.blake2b(b"cursor", key=key, digest_size=_RECORD_BYTES).digest()

    def write(self, seq: int) -> str:
        """The place behind an event: 20 letters that mean nothing to anybody else."""
        place = _VERSION + self._record + seq.to_bytes(_SEQ_BYTES)
        return base64.urlsafe_b64encode(place).decode()

    def read(self, cursor: str) -> int | None:
        """The number of the event; None for what is no cursor of this record."""
        try:
            place = base64.urlsafe_b64decode(cursor.encode("ascii"))
        except (binascii.Error, UnicodeEncodeError):
            return None
        seq = int.from_bytes(place[-_SEQ_BYTES:])
        is_ours = place[:-_SEQ_BYTES] == _VERSION + self._record and seq <= _LARGEST_SEQ
        return seq if is_ours and self.write(seq) == cursor else None
