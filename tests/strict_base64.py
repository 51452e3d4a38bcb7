"""What decoders of inline videos are compared with: the standard library's, plus the forms that we allow."""

from __future__ import annotations

import base64
import binascii
import json
import re
from itertools import pairwise


def sliced(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


def reference(raw: bytes) -> bytes | None:
    """Decode plain text of one alphabet; None for what is an error. Surplus bits are ignored."""
    if re.search(rb"[-_]", raw) and re.search(rb"[+/]", raw):
        return None
    match = re.fullmatch(rb"([A-Za-z0-9+/_-]*)(=*)", raw)
    if match is None or not match[1] or (match[2] and len(raw) % 4):
        return None
    try:
        text = match[1].translate(bytes.maketrans(b"-_", b"+/"))
        decoded = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return None
    return decoded if match[2] in (b"", b"=" * (-len(text) % 4)) else None


def in_json(raw: bytes, *, is_strict: bool = True) -> bytes | None:
    """Decode the raw inside of a JSON string; None for what is an error.

    Without `is_strict` it may hold control characters, and a prefix anything, which no JSON string may.
    """
    try:
        begin = _prefix(raw)
        if is_strict:
            json.loads(f'"{raw[:begin].decode()}"')
        text: str = json.loads(f'"{raw[begin:].decode()}"', strict=is_strict)
        return reference(re.sub("[ \t\r\n]", "", text).encode())
    except ValueError:
        return None


def in_text(text: str) -> bytes | None:
    """Decode a string of the payload; None for what is an error."""
    try:
        raw = text.encode("ascii")
        return reference(re.sub(rb"[ \t\r\n]", b"", raw[_prefix(raw) :]))
    except ValueError:
        return None


def _prefix(raw: bytes) -> int:
    """Say how long the `data:` prefix is. Raise ValueError for one that doesn't say base64."""
    if raw[:5].lower() != b"data:":
        return 0
    media_type, comma, _ = raw[:1024].partition(b",")
    if not comma or not media_type.lower().endswith(b";base64"):
        raise ValueError("a prefix of another kind")
    return len(media_type) + 1
