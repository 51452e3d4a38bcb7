"""An order: the fields as the provider names them, and what may go with them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from receiver.model import Payload
from receiver.sources.base import ApiRequest

_SHOWN_CHARACTERS = 200
_SECRET_NAME = re.compile(r"(?i)api[_-]?key|authorization|cookie|credential|passw|secret|signature|token")
_QUERY = re.compile(r"(\w+://[^\s?#]*)\?\S*")
_USER = re.compile(r"://[^\s/@]*@")
Fields = TypeVar("Fields", bound="FieldsOf")


class Mistake(NamedTuple):
    """What a provider would refuse, with what to write instead where that is known."""

    field: str
    """As the provider names it."""
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that guides the video."""

    content: bytes = field(repr=False)

    @property
    def media_type(self) -> str | None:
        """Of those that providers take, by how it begins; None for anything else."""
        if self.content.startswith(b"\xff\xd8\xff"):
            return "image/jpeg"
        if self.content.startswith(b"\x89PNG\r\n\x1a\n"):
            return "image/png"
        if self.content[:4] == b"RIFF" and self.content[8:12] == b"WEBP":
            return "image/webp"
        return None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider's API is, and with which key."""

    url: str
    key: str = field(repr=False)

    def ask(self, method: str, path: str, content: bytes | None = None, media_type: str = "") -> ApiRequest:
        """A request with the key; `path` begins with a slash."""
        headers = {"Authorization": f"Bearer {self.key}"}
        if content is not None:
            headers["Content-Type"] = media_type or "application/json"
        return ApiRequest(f"{self.url.rstrip('/')}{path}", self.url, method, headers, content)


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody asks for, without where the provider shall call and with which key it is asked."""

    fields: Payload
    image: Image | None = None
    remix_of: str | None = None
    """The video that is made anew, for providers that have an address for that."""

    def digest(self) -> str:
        """A SHA-256 in hex that is the same for the same order, however its fields are ordered."""
        picture = self.image and hashlib.sha256(self.image.content).hexdigest()
        said = json.dumps([self.remix_of, self.fields, picture], sort_keys=True, allow_nan=False)
        return hashlib.sha256(said.encode()).hexdigest()

    def shown(self, *, key: str) -> Payload:
        """What may be kept and shown of it: no credential, no query of a URL, and no text at length."""
        told: Payload = {name: _shown(name, value, key) for name, value in self.fields.items()}
        if self.image is not None:
            told["input_reference"] = f"a picture of {len(self.image.content)} bytes"
        return told if self.remix_of is None else {"remix_of": self.remix_of, **told}


class FieldsOf(BaseModel):
    """The documented fields of a provider; others pass, as nobody but the provider knows them."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


def read(model: Callable[..., Fields], fields: Payload) -> tuple[Fields | None, list[Mistake]]:
    """Judge each field by itself: the fields, or what is wrong with them."""
    try:
        return model(**fields), []
    except ValidationError as error:
        return None, [_mistake(item) for item in error.errors()]


def _mistake(error: ErrorDetails) -> Mistake:
    name, *within = (str(part) for part in error["loc"])
    said = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if error["type"] == "missing":
        return Mistake(name, " ".join(filter(None, [".".join(within), "is missing"])))
    return Mistake(name, f"{'.'.join(within)}: {said}" if within else said)


def _shown(name: str, value: JsonValue, key: str) -> JsonValue:
    if _SECRET_NAME.search(name):
        return "redacted"
    if isinstance(value, dict):
        return {inner: _shown(inner, item, key) for inner, item in value.items()}
    if isinstance(value, list):
        return [_shown("", item, key) for item in value]
    return _shortened(value, key) if isinstance(value, str) else value


def _shortened(text: str, key: str) -> str:
    if text.startswith("data:"):
        return f"{text.partition(',')[0][:60]},… ({len(text)} characters)"
    text = _QUERY.sub(r"\1?…", _USER.sub("://", text))  # links may be signed, or begin with a password
    text = text.replace(key, "redacted") if key else text
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def listed(values: Sequence[str], last: str = "or") -> str:
    """Values for people: a, b or c."""
    return f" {last} ".join(filter(None, [", ".join(values[:-1]), values[-1]]))
