"""An order of Opennote: a conversation or a script, with the limits of its guide and its published SDK."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from receiver.orders.base import Endpoint, FieldsOf, Mistake, Order, read
from receiver.sources.base import ApiRequest

_LONGEST_SCRIPT = 6000
_LONGEST_SEARCH = 100
Few = Annotated[int, Field(ge=1, le=5)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class _Fields(FieldsOf):
    model: Literal["picasso"] | None = None
    messages: list[_Message] | None = None
    script: str | None = Field(None, max_length=_LONGEST_SCRIPT)
    title: str | None = None
    length: Few | None = None
    include_sources: bool | None = None
    search_for: str | None = Field(None, max_length=_LONGEST_SEARCH)
    source_count: Few | None = None
    upload_to_s3: bool | None = None


def mistakes(order: Order) -> list[Mistake]:
    """What Opennote would refuse, or pass over without a word."""
    fields, found = read(_Fields, order.fields)
    if order.image is not None:
        found.append(Mistake("input_reference", "Opennote makes videos of text only"))
    if "webhook_url" in order.fields:
        text = "is filled in from server.public_url; without a callback: --no-callback"
        found.append(Mistake("webhook_url", text))
    return found if fields is None else found + _content_mistakes(fields) + _search_mistakes(fields)


def _content_mistakes(fields: _Fields) -> list[Mistake]:
    if fields.messages is not None and fields.script is not None:
        return [Mistake("script", "is spoken as it stands, so that there are no messages beside it")]
    if fields.script is not None:
        is_empty = not fields.script.replace("-----", "").strip()
        return [Mistake("script", "there is nothing in it to be spoken")] if is_empty else []
    if not fields.messages:
        return [Mistake("prompt", "give a prompt, messages or a script")]
    roles = [message.role for message in fields.messages]
    found = []
    if "system" in roles[1:]:
        found.append(Mistake("messages", "only the first may be a system message"))
    if roles[-1] != "user":
        found.append(Mistake("messages", "the last one must be a user message: the video is about it"))
    return found


def _search_mistakes(fields: _Fields) -> list[Mistake]:
    if fields.include_sources:
        return []
    return [
        Mistake(name, "is for videos with sources; include_sources asks for them")
        for name in ("search_for", "source_count")
        if getattr(fields, name) is not None
    ]


def request(order: Order, *, at: Endpoint, callback: str | None) -> ApiRequest:
    """POST /v1/video/create; without a callback, the provider tells nobody."""
    told = order.fields if callback is None else {**order.fields, "webhook_url": callback}
    return at.ask("POST", "/v1/video/create", orjson.dumps(told))
