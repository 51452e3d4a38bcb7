"""Cursors: places in the record, written so that nobody takes one of another record for one of this."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NamedTuple

PATTERN = "^[A-Za-z0-9_-]{20}([A-Za-z0-9_-]{4})?$"
_VERSION = b"\x01"
_RECORD_BYTES = 6
_SEQ_BYTES = 8
_MARK_BYTES = 3
_LARGEST_SEQ = 2**63 - 1
_HEAD = len(_VERSION) + _RECORD_BYTES
_PLACE = _HEAD + _SEQ_BYTES


class Spot(NamedTuple):
    """What a cursor says."""

    seq: int
    mark: bytes | None
    """Of the event that had this number then; None when it does not say."""


class Cursors:
    """Writes and reads the cursors of one record."""

    def __init__(self, key: bytes) -> None:
        """`key` was made with the database, and stays with it."""
        self._key = key
        self._record = hashlib.blake2b(b"cursor", key=key, digest_size=_RECORD_BYTES).digest()

    def write(self, seq: int, event: str | None = None) -> str:
        """The place behind an event: 24 letters that mean nothing to anybody else, 20 without its id.

        The number alone is not enough: a database that was restored from an older copy, and went on, has
        given it to another event.
        """
        place = _VERSION + self._record + seq.to_bytes(_SEQ_BYTES)
        return base64.urlsafe_b64encode(place + (b"" if event is None else self.mark(event))).decode()

    def mark(self, event: str) -> bytes:
        """What a cursor carries of an event's id."""
        return hashlib.blake2b(event.encode(), key=self._key, digest_size=_MARK_BYTES).digest()

    def read(self, cursor: str) -> Spot | None:
        """The place; None for what is no cursor of this record."""
        try:
            place = base64.urlsafe_b64decode(cursor.encode("ascii"))
        except (binascii.Error, UnicodeEncodeError):
            return None
        seq, mark = int.from_bytes(place[_HEAD:_PLACE]), place[_PLACE:]
        is_ours = place[:_HEAD] == _VERSION + self._record and seq <= _LARGEST_SEQ
        is_canonical = base64.urlsafe_b64encode(place).decode() == cursor
        if not is_ours or not is_canonical or len(place) not in (_PLACE, _PLACE + _MARK_BYTES):
            return None
        return Spot(seq, mark or None)
