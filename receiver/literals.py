"""What may stand inside one JSON string or one number, checked in pieces as they arrive."""

from __future__ import annotations

import codecs
import re

import orjson

from receiver.errors import BadBody

MAX_NUMBER_LENGTH = 128
# Whole units only, so that a piece of a string never ends inside an escape or a surrogate pair. The last
# alternative has no counts: before Python 3.11.5 the match could end within one on which it failed.
_HEX = rb"[0-9a-fA-F]"
_UNITS = re.compile(
    rb'(?:[^"\\]++|\\[^u]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}'
    rb"|\\u[dD][89abAB]" + 2 * _HEX + rb"\\u" + 4 * _HEX + rb")*+",
    re.DOTALL,
)
LONGEST_UNIT = 12
"""Bytes: two escapes, which make one character beyond the first 65,536."""

_CUT_UNIT = re.compile(
    rb"(?<!\\)(?:\\\\)*+(\\(?:u[0-9a-fA-F]{0,3})?"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?)\Z"
)
_CONTROL = re.compile(rb"[\x00-\x1f]")


def whole_units(data: bytes, position: int, end: int) -> tuple[int, bool]:
    """Say where the whole units between two places in a string end, and whether there are escapes.

    A unit is a byte, an escape or two escapes that make one character. The closing quote ends them too.
    """
    stop = data.find(b'"', position, end)
    is_closed = stop >= 0
    stop = stop if is_closed else end
    if data.find(b"\\", position, stop) < 0:
        return stop, False
    # The regular expression is slow; it is needed only when a backslash stands where it matters.
    if is_closed and data[stop - 1 : stop] != b"\\":
        return stop, True
    window = max(position, stop - LONGEST_UNIT)
    if not is_closed and data[max(window - 1, 0) : window] != b"\\":
        cut = _CUT_UNIT.search(data, window, end)
        return cut.start(1) if cut else stop, True
    units = _UNITS.match(data, position, end)
    return units.end() if units else position, True


def whole_characters(piece: bytes, offset: int, *, is_closed: bool) -> int:
    """Return how many bytes of a piece are whole UTF-8 characters; all of them when nothing follows."""
    try:
        return codecs.utf_8_decode(piece, "strict", is_closed)[1]
    except UnicodeDecodeError as error:
        raise BadBody(f"not valid JSON: invalid UTF-8, at byte {offset + error.start}") from error


def check_text(piece: bytes, offset: int, *, is_escaped: bool) -> None:
    """Check the inside of a string that is cut between characters."""
    # orjson writes a string ten times as fast as anything else here would look for control characters,
    # and what it writes is longer when there was one, or a backslash. The one escape that many senders
    # use in base64 is taken out first.
    plain = piece.replace(rb"\/", b"") if is_escaped else piece
    if plain.isascii() and len(orjson.dumps(plain.decode("ascii"))) == len(plain) + 2:
        return
    if control := _CONTROL.search(piece):
        raise BadBody(f"a control character in a string, at byte {offset + control.start()}")
    try:
        text = orjson.loads(b'"%b"' % piece)
    except orjson.JSONDecodeError as error:
        index = len(piece.decode()[: max(error.pos - 1, 0)].encode())
        raise BadBody(f"not valid JSON: {error.msg}, at byte {offset + index}") from error
    if "\0" in text:
        raise BadBody("a string holds a NUL character")


def check_number(literal: bytes) -> None:
    """Check the size of a number that is over 17 characters long; its grammar is orjson's affair."""
    if len(literal) > MAX_NUMBER_LENGTH:
        raise BadBody(f"a number has more than {MAX_NUMBER_LENGTH} characters")
    digits = literal.removeprefix(b"-")
    if digits.isdigit() and not -(2**63) <= int(literal) < 2**64:
        raise BadBody("an integer does not fit into 64 bits")
