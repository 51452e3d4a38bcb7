"""An order in OpenAI's shape: JSON, or a form when a picture goes with it; a remix has an address of its own.

The limits are those of the published reference, which OpenAI's own models have.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

import orjson
from pydantic import Field

from receiver.orders.base import Endpoint, FieldsOf, Image, Mistake, Order, listed, read
from receiver.sources.base import ApiRequest

_LONGEST_PROMPT = 32_000
MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp")


class _Fields(FieldsOf):
    prompt: str = Field(min_length=1, max_length=_LONGEST_PROMPT)
    model: str | None = Field(None, pattern=r"^sora-2(-pro)?(-\d{4}-\d{2}-\d{2})?$")
    seconds: Literal["4", "8", "12"] | None = None
    size: Literal["720x1280", "1280x720", "1024x1792", "1792x1024"] | None = None


def mistakes(order: Order) -> list[Mistake]:
    """What OpenAI would refuse."""
    _, found = read(_Fields, order.fields)
    found = [
        Mistake("model", "must be sora-2, sora-2-pro, or one of them with its date")
        if mistake.field == "model"
        else mistake
        for mistake in found
    ]
    if order.remix_of is not None:
        return found + _remix_mistakes(order)
    return found + _reference_mistakes(order) + image_mistakes(order)


def _reference_mistakes(order: Order) -> list[Mistake]:
    """What is wrong with a picture that is only named."""
    named = order.fields.get("input_reference")
    if named is None or order.image is not None:
        return []
    if isinstance(named, dict) and len(named) == 1 and named.keys() <= {"file_id", "image_url"}:
        (place,) = named.values()
        if isinstance(place, str) and place:
            return []
    return [Mistake("input_reference", 'must be {"image_url": "…"}, {"file_id": "…"}, or a file')]


def _remix_mistakes(order: Order) -> list[Mistake]:
    others = [name for name in order.fields if name != "prompt"]
    others += ["input_reference"] if order.image else []
    return [Mistake(name, "a remix keeps all of its original but the prompt") for name in others]


def image_mistakes(order: Order) -> list[Mistake]:
    """What is wrong with the picture, or can't stand beside it in a form."""
    if order.image is None:
        return []
    if order.image.media_type is None:
        return [Mistake("input_reference", f"the file is neither {listed(MEDIA_TYPES, 'nor')}")]
    if "input_reference" in order.fields:
        return [Mistake("input_reference", "it is given as a file and as a field")]
    return [
        Mistake(name, "an object or a list can't go along with a file")
        for name, value in order.fields.items()
        if isinstance(value, (dict, list))
    ]


def request(order: Order, *, at: Endpoint, boundary: str) -> ApiRequest:
    """POST /videos, or the remix of one."""
    if order.remix_of is not None:
        path = f"/videos/{quote(order.remix_of, safe='')}/remix"
        return at.ask("POST", path, orjson.dumps(order.fields))
    if order.image is None:
        return at.ask("POST", "/videos", orjson.dumps(order.fields))
    form = {name: _form_value(value) for name, value in order.fields.items() if value is not None}
    content = _form(form, order.image, boundary.encode())
    return at.ask("POST", "/videos", content, f"multipart/form-data; boundary={boundary}")


def _form_value(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _form(fields: dict[str, str], image: Image, boundary: bytes) -> bytes:
    """A form with a file (RFC 7578)."""
    parts = [_part(f'name="{_quoted(name)}"', "", value.encode()) for name, value in fields.items()]
    media_type = image.media_type or ""
    name = f'name="input_reference"; filename="reference.{media_type.partition("/")[2]}"'
    parts.append(_part(name, f"Content-Type: {media_type}\r\n", image.content))
    return b"".join(b"--" + boundary + b"\r\n" + part for part in parts) + b"--" + boundary + b"--\r\n"


def _part(name: str, headers: str, content: bytes) -> bytes:
    head = f"Content-Disposition: form-data; {name}\r\n{headers}\r\n"
    return head.encode() + content + b"\r\n"


def _quoted(name: str) -> str:
    """As browsers write a field's name (HTML, 4.10.21.8)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def list_request(at: Endpoint, *, limit: int | None, after: str | None, order: str | None) -> ApiRequest:
    """GET /videos, a page of it."""
    given = {"limit": limit, "after": after, "order": order}
    query = "&".join(
        f"{name}={quote(str(value), safe='')}" for name, value in given.items() if value is not None
    )
    return at.ask("GET", f"/videos{'?' if query else ''}{query}")


def delete_request(at: Endpoint, video_id: str) -> ApiRequest:
    """Ask for a video to be removed: DELETE /videos/{id}."""
    return at.ask("DELETE", f"/videos/{quote(video_id, safe='')}")
