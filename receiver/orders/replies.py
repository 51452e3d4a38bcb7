"""What a provider's answer to an order means, in one line that holds nothing of the key."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Literal, NamedTuple

from pydantic import JsonValue

from receiver.model import Payload
from receiver.units import in_words

State = Literal["accepted", "refused", "unknown"]

_LONGEST_ID = 256
_LONGEST_SAID = 300
_SHORTEST_KEY = 8
"""A shorter key is replaced only where it stands as a whole word."""
_CODE = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_WORD = re.compile(r"[\w*.…-]+")
# What stands between us and a provider says this of a request that the provider may well have taken.
_IN_BETWEEN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
_FIRST_UNOFFICIAL = 520


class Reply(NamedTuple):
    """What came of an order."""

    state: State
    video_id: str | None = None
    reason: str = ""
    """Why it is not accepted."""


def taken(payload: Payload, *, key: str) -> Reply:
    """What a 2xx answer means; one that names no video may still have been paid for."""
    if payload.get("success") is False:
        return Reply("refused", reason=said(payload, key=key) or "the provider says that it did not work")
    found = payload.get("video_id", payload.get("id"))
    video_id = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
    if not isinstance(video_id, str) or not video_id:
        return Reply("unknown", reason="the provider's answer names no video")
    if len(video_id) > _LONGEST_ID or not video_id.isprintable():
        return Reply("unknown", reason="the provider's answer names a video that can't be one")
    return Reply("accepted", video_id)


def declined(status: int, complaint: Payload, *, retry_after_seconds: float | None, key: str) -> Reply:
    """What any other answer means. Who only passes requests on doesn't know what became of them."""
    line = failure(status, complaint, retry_after_seconds=retry_after_seconds, key=key)
    is_unclear = status in _IN_BETWEEN or status >= _FIRST_UNOFFICIAL
    return Reply("unknown" if is_unclear else "refused", reason=line)


def failure(status: int, complaint: Payload, *, retry_after_seconds: float | None, key: str) -> str:
    """One line for an answer that is not 2xx: the status, the provider's words, what to do."""
    if status == HTTPStatus.UNAUTHORIZED:
        # Providers like to repeat some of the key here, so that none of their words are.
        return f"{_phrase(status)}: the provider does not accept this source's API key"
    words = said(complaint, key=key)
    if status == HTTPStatus.PAYMENT_REQUIRED:
        words = f"{words or 'the account has no credits left'}; add credits to the account"
    if retry_after_seconds is not None:
        words = f"{words or 'the provider is asked too often'}; try again in {_wait(retry_after_seconds)}"
    elif status == HTTPStatus.TOO_MANY_REQUESTS:
        words = f"{words or 'the provider is asked too often'}; try again later"
    return f"{_phrase(status)}: {words}" if words else _phrase(status)


def said(complaint: Payload, *, key: str) -> str:
    """The provider's own words: OpenAI's error objects, Opennote's error and message, lists of details."""
    error, message, detail = complaint.get("error"), complaint.get("message"), complaint.get("detail")
    if isinstance(error, dict):
        words = " ".join(filter(None, [_text(error.get("message")), _code(error)]))
    elif isinstance(detail, list):
        words = "; ".join(filter(None, map(_detail, detail)))
    else:
        parts = dict.fromkeys(filter(None, map(_text, (error, message, detail))))
        words = ": ".join(parts)
    return _clean(words, key)


def _code(error: Payload) -> str:
    """What kind of error it is, for machines: `(param: size, invalid_value)`."""
    param, code = error.get("param"), error.get("code") or error.get("type")
    named = [f"param: {param}"] if isinstance(param, str) and _CODE.fullmatch(param) else []
    named += [str(code)] if isinstance(code, (str, int)) and _CODE.fullmatch(str(code)) else []
    return f"({', '.join(named)})" if named else ""


def _detail(one: JsonValue) -> str:
    """An entry of a list of validation errors: where, and what."""
    if not isinstance(one, dict):
        return _text(one)
    place = one.get("loc")
    parts = [str(part) for part in place if part != "body"] if isinstance(place, list) else []
    return ": ".join(filter(None, [".".join(parts), _text(one.get("msg"))]))


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _clean(text: str, key: str) -> str:
    """One printable line of a bearable length, without the key or what looks like its beginning or end."""
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    if len(key) >= _SHORTEST_KEY:
        line = line.replace(key, "[redacted]")
    line = _WORD.sub(lambda word: "[redacted]" if _gives_away(word[0], key) else word[0], line)
    return line if len(line) <= _LONGEST_SAID else f"{line[:_LONGEST_SAID]}…"


def _gives_away(word: str, key: str) -> bool:
    word = word.rstrip(".")
    if len(key) < _SHORTEST_KEY:
        return word == key
    return len(word) >= 4 and (word.startswith(key[:4]) or word.endswith(key[-4:]))


def _wait(seconds: float) -> str:
    return in_words(max(1, round(seconds)))


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
