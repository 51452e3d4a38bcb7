"""Safe file names: whatever a title or an id holds, the name stays one ordinary file name.

Fields are data: nothing in them is interpreted, neither slashes nor braces nor dots.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from string import Formatter

from receiver.errors import Hopeless
from receiver.media import CONTAINERS

FIELDS = ("id", "title", "event", "source", "model", "date")
"""What a template may name: the video's id (the event's when it has none), its title, the event's
id, the source's name, the model, and the day of the first delivery (UTC, 2026-01-31)."""

LONGEST_NAME_BYTES = 200
"""UTF-8 bytes of a whole file name. File systems take 255; the rest is room for a suffix."""

_KNOWN_EXTENSIONS = {container.extension for container in CONTAINERS} | {"mpeg", "ogg", "m2ts", "json"}
_FORBIDDEN = re.compile(r'[/\\:*?"<>|]')
_SEPARATOR = re.compile(r"[ ._~+,-]+")
_DROPPED = {"Cc", "Cf", "Cs", "Cn"}
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)

Piece = tuple[str, str | None]
"""A part of a template: literal text, and the field that follows it, if one does."""


def safe_name(template: str, fields: Mapping[str, str | None], *, extension: str, ending: str = "") -> str:
    """Fill a template such as "{title}-{id}" and return a file name that ends in `ending.extension`.

    A field that is None or has nothing left is left out together with the separator beside it. When
    the whole is too long the title is cut first. An extension in the template that is one of a video
    gives way to `extension`. Raise Hopeless for a template that can't be used.
    """
    pieces = parse_template(template)
    safe = {name: clean(value or "") for name, value in fields.items()}
    room = LONGEST_NAME_BYTES - len(f"{ending}.{extension}".encode())
    excess = len(_fill(pieces, safe).encode()) - room
    if excess > 0 and safe.get("title"):
        left = max(len(safe["title"].encode()) - excess, 0)
        safe["title"] = clean(_cut(safe["title"], left))
    stem = _fill(pieces, safe)
    return whole_name(stem if clean(stem) else safe.get("event", ""), extension=extension, ending=ending)


def whole_name(stem: str, *, extension: str, ending: str = "") -> str:
    """Clean a stem, cut it to what fits, and add `ending.extension`; an empty one becomes "video"."""
    room = LONGEST_NAME_BYTES - len(f"{ending}.{extension}".encode())
    cut = clean(_cut(clean(stem), room)) or "video"
    if _RESERVED.fullmatch(cut):
        cut = f"_{clean(_cut(cut, room - 1))}"
    return f"{cut}{ending}.{extension}"


def parse_template(template: str) -> Sequence[Piece]:
    """Read a template into its parts, without a video's extension. Raise Hopeless."""
    if "/" in template or "\\" in template:
        raise Hopeless("a file name template has no slashes; the folder goes into `directory`")
    try:
        parsed = list(Formatter().parse(_without_extension(template)))
    except ValueError:
        raise Hopeless("a file name template has a brace that is not closed or not opened") from None
    for _, name, form, conversion in parsed:
        if name is not None and (name not in FIELDS or form or conversion):
            raise Hopeless(f"a file name template knows only {{{'}, {'.join(FIELDS)}}}")
    return [(literal, name) for literal, name, _, _ in parsed]


def clean(text: str) -> str:
    """Make text fit to be a file name without its extension; may be empty.

    NFC; without control, format (direction marks too) and unassigned characters; every kind of
    white space is one space; separators of paths and what Windows forbids become "_"; no dots,
    dashes and spaces in front, no dots and spaces behind.
    """
    kept = (
        " " if character.isspace() else character
        for character in unicodedata.normalize("NFC", text)
        if character.isspace() or unicodedata.category(character) not in _DROPPED
    )
    spaced = " ".join("".join(kept).split())
    return unicodedata.normalize("NFC", _FORBIDDEN.sub("_", spaced)).lstrip(" .-").rstrip(" .")


def folded(name: str) -> str:
    """Reduce a name to what it shares with all names that some file system takes for the same."""
    decomposed = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", decomposed).casefold())


def suffixed(name: str, suffix: str) -> str:
    """Put "~suffix" between the stem and the extension of a name."""
    stem, dot, extension = name.rpartition(".")
    return f"{stem}~{suffix}{dot}{extension}" if dot else f"{name}~{suffix}"


def _fill(pieces: Sequence[Piece], fields: Mapping[str, str]) -> str:
    """Join literals and fields, leaving out the separator that an empty field would strand."""
    parts: list[str] = []
    skips_separator = False
    for literal, name in pieces:
        if literal and not (skips_separator and _SEPARATOR.fullmatch(literal)):
            parts.append(literal)
        skips_separator = False
        if name is None:
            continue
        if fields.get(name):
            parts.append(fields[name])
        elif parts and _SEPARATOR.fullmatch(parts[-1]):
            parts.pop()
        else:
            skips_separator = True
    return "".join(parts)


def _cut(text: str, longest_bytes: int) -> str:
    """Cut text to so many UTF-8 bytes, between two characters."""
    return text.encode()[:longest_bytes].decode(errors="ignore")


def _without_extension(template: str) -> str:
    stem, dot, extension = template.rpartition(".")
    return stem if dot and stem and extension.lower() in _KNOWN_EXTENSIONS else template
