"""Reads the fields of a request's body: JSON, or the forms in which files are sent (RFC 7578)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from email.message import Message
from email.parser import HeaderParser

from starlette.requests import Request

from receiver.sandbox.refusals import Refusal

_MOST_BYTES = 32 << 20
_NESTED = re.compile(r"(\w+)\[(\w+)\]")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came in a form."""

    name: str
    media_type: str
    content: bytes = field(repr=False)


class FormText(str):
    """A value that came in a form, where numbers and the like are text, too."""

    __slots__ = ()


async def read_fields(request: Request) -> dict[str, object]:
    """Give the fields by name: values of JSON, or texts and uploads. Raise Refusal for what is neither."""
    header = Message()
    header["Content-Type"] = request.headers.get("content-type", "")
    body = await _body(request)
    if header.get_content_type() == "multipart/form-data":
        boundary = header.get_boundary("")
        if not boundary:
            raise Refusal("The form has no boundary in its Content-Type.")
        return _nested(parts(body, boundary))
    return _json(body)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise Refusal(f"The request is larger than {_MOST_BYTES} bytes.", status=413)
    return bytes(body)


def _json(body: bytes) -> dict[str, object]:
    try:
        fields = json.loads(body)
        # Half a surrogate pair is JSON, but can't go back in an answer.
        json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refusal("We could not parse the JSON body of your request.") from error
    if not isinstance(fields, dict):
        raise Refusal("The body of the request is no JSON object.")
    return fields


def parts(body: bytes, boundary: str) -> dict[str, FormText | Upload]:
    """Take a form apart. Raise Refusal for one that ends too soon, or with a part that has no name."""
    mark = b"\r\n--" + boundary.encode("latin-1", "replace")
    first, *rest = (b"\r\n" + body).split(mark)
    if first or not rest or not rest[-1].startswith(b"--"):
        raise Refusal("The form is not complete.")
    return dict(_part(one) for one in rest[:-1])


def _part(content: bytes) -> tuple[str, FormText | Upload]:
    head, separator, value = content.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    fields = HeaderParser().parsestr(head.decode("utf-8", "replace"))
    name = fields.get_param("name", header="content-disposition")
    if not separator or not isinstance(name, str):
        raise Refusal("A part of the form has no name.")
    filename = fields.get_filename()
    if filename is None:
        return name, FormText(value.decode("utf-8", "replace"))
    return name, Upload(filename, fields.get_content_type(), value)


def _nested(flat: dict[str, FormText | Upload]) -> dict[str, object]:
    """Put `name[key]` where JSON has an object: so do the published packages."""
    fields: dict[str, object] = {}
    for name, value in flat.items():
        match = _NESTED.fullmatch(name)
        outer = fields.setdefault(match[1], {}) if match else None
        if match and isinstance(outer, dict):
            outer[match[2]] = value
        else:
            fields[name] = value
    return fields
