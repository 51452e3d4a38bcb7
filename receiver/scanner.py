"""An incremental, strict walk through one JSON object of any size, in flat memory.

It finds strings (and with them the long ones), brackets and numbers by itself, and leaves the grammar
of what remains without the long strings to orjson. It judges no meaning and does no I/O.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from receiver.errors import BadBody, TooLarge
from receiver.literals import LONGEST_UNIT, check_number, check_text, whole_characters, whole_units
from receiver.model import INLINE_BODY_LIMIT, LongString, Payload

MAX_DEPTH = 64
REST_LIMIT = 4 * 1024 * 1024

_STEP = 256 * 1024  # of a long string; what is made of it fits into the processor's cache
_SPACE = b" \t\n\r"
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_NUMBER = re.compile(rb"[-+.0-9eE]{18,}")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_OPENED_BY = {ord("}"): ord("{"), ord("]"): ord("[")}
# No sender can write this string, since NUL is refused everywhere else.
_PLACEHOLDER = rb'"\u0000"'


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a body holds."""

    payload: Payload
    """The object, a long string in it replaced by `{"$long_string": {"bytes": n}}`. A sender may write
    the same thing; what tells them apart is that only a real one is in `strings`."""
    strings: tuple[LongString, ...] = ()
    """Where the long strings lie, in the order of the body."""
    checksums: dict[tuple[str | int, ...], str] = field(default_factory=dict)
    """By path: the raw length of a long string and the CRC-32 of its raw bytes, `123-89abcdef`."""


@dataclass(slots=True)
class _Long:
    offset: int
    rest_offset: int
    length: int = 0
    crc: int = 0
    escaped: bool = False


class Scanner:
    """Take a body in chunks cut anywhere, then say what it holds.

    Strings whose raw length is over `long_limit` bytes are left out; everything else together may have
    `rest_limit` bytes. At most the rest, one chunk and `long_limit` bytes are held. Both methods raise
    BadBody or TooLarge, after which the scanner is of no more use.
    """

    def __init__(self, *, rest_limit: int = REST_LIMIT, long_limit: int = INLINE_BODY_LIMIT) -> None:
        self._rest_limit, self._long_limit = rest_limit, long_limit
        self._fed = 0
        self._tail = b""  # fed but not placed yet: the begin of a string, or of a unit of a long one
        self._rest = bytearray()  # the body, a placeholder instead of each long string
        self._kept = 0  # bytes of the rest that the sender wrote
        self._longs: list[_Long] = []
        self._is_inside = False  # inside the last of _longs
        self._judged = 0  # how much of the rest has been judged
        self._depth = bytearray()  # the brackets that are open there
        self._last = 0  # the last significant byte there
        self._keys = 0  # how many keys are there

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        data, start = self._tail + chunk, self._fed - len(self._tail)
        self._fed += len(chunk)
        self._tail = b""
        position = 0
        while position < len(data):
            step = self._inside if self._is_inside else self._outside
            position = step(data, position, start)

    def finish(self) -> Scanned:
        """Judge the whole, after the last chunk."""
        if self._is_inside or self._tail:
            raise BadBody(f"the body ends inside a string, at byte {self._fed}")
        if not self._rest.strip(_SPACE):
            raise BadBody("the body is empty")
        self._judge()
        payload = self._parse()
        paths: list[tuple[str | int, ...]] = []
        if self._restore(payload, paths) != self._keys:
            raise BadBody("an object has the same key twice")
        found = list(zip(paths, self._longs, strict=True))
        return Scanned(
            payload=payload,
            strings=tuple(
                LongString(path=path, offset=long.offset, length=long.length, escaped=long.escaped)
                for path, long in found
            ),
            checksums={path: f"{long.length}-{long.crc:08x}" for path, long in found},
        )

    def _outside(self, data: bytes, position: int, start: int) -> int:
        """Keep everything up to the next long string, or to the end; return the position there."""
        for match in _STRING.finditer(data, position):
            opening, end = match.span()
            is_closed = bool(match[1])
            if (end - 2 if is_closed else len(data) - 1) - opening > self._long_limit:
                self._keep(data[position:opening])
                position = opening
                if self._stands_for_a_value(start + opening):
                    self._longs.append(_Long(start + opening + 1, len(self._rest)))
                    self._is_inside = True
                    return opening + 1
            if not is_closed:
                self._keep(data[position:opening])
                self._tail = data[opening:]
                if len(self._tail) > self._long_limit + 1:
                    self._check_room(len(self._tail))
                return len(data)
        self._keep(data[position:])
        return len(data)

    def _inside(self, data: bytes, position: int, start: int) -> int:
        """Check and sum up the next piece of a long string; return the position after it."""
        end = min(position + _STEP, len(data))
        stop, is_escaped = whole_units(data, position, end)
        is_closed = data[stop : stop + 1] == b'"'
        if not is_closed and end - stop >= LONGEST_UNIT:
            raise BadBody(f"an invalid escape in a string, at byte {start + stop}")
        piece = data[position:stop]
        if not piece.isascii():
            # Before a quote or the begin of an escape, a character can't be one that goes on.
            piece = piece[: whole_characters(piece, start + position, is_closed=stop < end)]
        long = self._longs[-1]
        check_text(piece, start + position, is_escaped=is_escaped)
        long.crc = zlib.crc32(piece, long.crc)
        long.length += len(piece)
        long.escaped |= is_escaped
        if not is_closed:
            position += len(piece)
            if len(data) - position < LONGEST_UNIT:
                self._tail, position = data[position:], len(data)
            return position
        self._is_inside = False
        self._rest += _PLACEHOLDER
        self._judged = len(self._rest)
        self._last = ord('"')
        return stop + 1

    def _keep(self, part: bytes) -> None:
        self._check_room(len(part))
        self._kept += len(part)
        self._rest += part
        # All that is not JSON by far (markup, archives, a list) is refused at the first byte.
        if not self._last and (begin := part.lstrip(_SPACE)):
            if begin[:1] != b"{":
                raise BadBody("the body is not a JSON object")
            self._last = begin[0]

    def _check_room(self, more: int) -> None:
        # The two quotes of every long string belong to the rest.
        if self._kept + 2 * len(self._longs) + more > self._rest_limit:
            raise TooLarge(f"the body has more than {self._rest_limit} bytes outside its long strings")

    def _stands_for_a_value(self, offset: int) -> bool:
        """Tell a value from a key by what stands before the string. Raise BadBody when it is neither."""
        self._judge()
        is_in_object = self._depth[-1:] == b"{"
        if self._depth and self._last in (b":" if is_in_object else b"[,"):
            return True
        if is_in_object and self._last in b"{,":
            return False
        raise BadBody(f"a string where none may stand, at byte {offset}")

    def _judge(self) -> None:
        """Count the keys and check depth, numbers and NULs in what was kept since the last time."""
        part = bytes(self._rest[self._judged :])
        self._judged = len(self._rest)
        if rb"\u0000" in part and _NUL.search(part):
            raise BadBody("a string holds a NUL character")
        bare = _STRING.sub(b'""', part)
        self._keys += bare.count(b":")
        self._last = (bytes([self._last]) + bare).rstrip(_SPACE)[-1]
        self._nest(bare.translate(None, _NOT_BRACKETS))
        for match in _NUMBER.finditer(bare):
            check_number(match[0])

    def _nest(self, brackets: bytes) -> None:
        depth = self._depth
        for bracket in brackets:
            if bracket in b"{[":
                depth.append(bracket)
                if len(depth) > MAX_DEPTH:
                    raise BadBody(f"objects and lists are nested more than {MAX_DEPTH} deep")
            elif not depth or depth.pop() != _OPENED_BY[bracket]:
                raise BadBody("a bracket is closed that is not open")

    def _parse(self) -> Payload:
        try:
            payload: Payload = orjson.loads(self._rest)
        except orjson.JSONDecodeError as error:
            raise BadBody(f"not valid JSON: {self._explain(error)}") from error
        return payload

    def _explain(self, error: orjson.JSONDecodeError) -> str:
        """Put into words, with the offset in the original, what orjson says of the rest."""
        reason = error.msg
        try:
            index = len(self._rest.decode()[: error.pos].encode())
        except UnicodeDecodeError as undecodable:
            reason, index = "invalid UTF-8", undecodable.start
        left_out = sum(
            long.length + 2 - len(_PLACEHOLDER) for long in self._longs if long.rest_offset < index
        )
        return f"{reason}, at byte {index + left_out}"

    def _restore(self, node: Any, paths: list[tuple[str | int, ...]]) -> int:
        """Count the keys in `node` and put the marks of the long strings in place of their placeholders.

        `paths` gets where they are, in the order of the body.
        """
        is_object = type(node) is dict
        keys = len(node) if is_object else 0
        for name, value in node.items() if is_object else enumerate(node):
            if type(value) is str:
                # A key that stands twice makes fewer placeholders than strings; the caller tells.
                if value == "\0":
                    node[name] = {"$long_string": {"bytes": self._longs[len(paths)].length}}
                    paths.append((name,))
            elif value and (type(value) is dict or type(value) is list):
                before = len(paths)
                keys += self._restore(value, paths)
                paths[before:] = [(name, *path) for path in paths[before:]]
        return keys
