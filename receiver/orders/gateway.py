"""An order of a gateway that speaks OpenAI's shape: what such gateways need, and what they refuse.

The facts are those of ope.ai's documents. Which models, sizes and lengths there are is the gateway's to say.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, JsonValue

from receiver.orders.base import FieldsOf, Mistake, Order, listed, read
from receiver.orders.openai import image_mistakes

_LARGEST_IMAGE = 10 * 10**6  # "10 MB", taken as the smaller of its two readings
ReferenceType = Literal["image_url", "video_url", "audio_url"]
REFERENCE_TYPES: tuple[str, ...] = get_args(ReferenceType)

_INSTEAD = {
    "aspect_ratio": "is refused; say it by size, as in 1280x720",
    "resolution": "is refused; say it by size, as in 1280x720",
    "duration_seconds": 'is refused; it is called seconds, and is text: "4"',
    "content": "is refused at the top; text belongs into prompt, references into input_reference.content",
    "img_url": "is refused; give a picture's file as input_reference, or its URL in input_reference.content",
}
_REFERENCES_INSTEAD = {
    "file_id": "file_id is refused; give the file itself, or a URL in input_reference.content",
    "image_url": "image_url is refused here; it belongs into an item of input_reference.content",
}


class _Fields(FieldsOf):
    model: str = Field(min_length=1)
    prompt: str = Field(min_length=1)
    size: str = Field(min_length=1)
    seconds: str = Field(pattern=r"^\d+(\.\d+)?$")
    generate_audio: bool | None = None
    enhance_prompt: bool | None = None
    negative_prompt: str | None = None
    person_generation: str | None = None
    seed: int | None = None
    remix_video_id: str | None = Field(None, min_length=1)


def mistakes(order: Order) -> list[Mistake]:
    """What a gateway needs and lacks, and what it is known to refuse, with what to write instead."""
    _, found = read(_Fields, order.fields)
    found = [
        Mistake("seconds", 'must be a number, as text: "4"')
        if mistake.field == "seconds" and "missing" not in mistake.text
        else mistake
        for mistake in found
    ]
    found += [Mistake(name, text) for name, text in _INSTEAD.items() if name in order.fields]
    if "input_reference" in order.fields and order.image is None:
        found += _reference_mistakes(order.fields["input_reference"])
    if order.image is not None and order.fields.get("remix_video_id") is not None:
        text = "a picture's file and a remix are not taken together; leave one of them out"
        found.append(Mistake("input_reference", text))
    if order.image is not None and len(order.image.content) > _LARGEST_IMAGE:
        found.append(Mistake("input_reference", "the file is larger than 10 MB"))
    return found + image_mistakes(order)


def _reference_mistakes(value: JsonValue) -> list[Mistake]:
    known = [text for name, text in _REFERENCES_INSTEAD.items() if isinstance(value, dict) and name in value]
    if known:
        return [Mistake("input_reference", text) for text in known]
    items = value.get("content") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(items, list) or not items:
        text = 'must be {"content": [{"type": "image_url", "image_url": {"url": "…"}}]}, or a file'
        return [Mistake("input_reference", text)]
    judged = [(number, _item_mistake(item)) for number, item in enumerate(items)]
    return [Mistake("input_reference", f"content.{number}: {text}") for number, text in judged if text]


def _item_mistake(item: JsonValue) -> str | None:
    if not isinstance(item, dict):
        return f"must be an object with a type: {listed(REFERENCE_TYPES)}"
    if "text" in item or item.get("type") == "text":
        return "text is refused here; it belongs into prompt"
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in REFERENCE_TYPES:
        return f"type must be {listed(REFERENCE_TYPES)}"
    others = sorted(item.keys() - {"type", "role", kind})
    if others:
        return f"{listed(others)} is not for an item of type {kind}"
    if not isinstance(item.get("role", ""), str):
        return "role must be text"
    place = item.get(kind)
    url = place.get("url") if isinstance(place, dict) else None
    if not isinstance(url, str) or not url.startswith(_schemes(kind)):
        return f"{kind}.url must be a URL{' or a data URL' if kind == 'image_url' else ''}"
    return None


def _schemes(kind: str) -> tuple[str, ...]:
    return ("https://", "http://", *(("data:image/",) if kind == "image_url" else ()))
