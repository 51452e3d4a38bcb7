"""OpenAI's videos: callbacks signed by Standard Webhooks, and the API that is asked for what they leave out.

A gateway that speaks the same API is a source like it, but for its callbacks: it has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO
from urllib.parse import quote

from receiver.model import EventType, Payload
from receiver.settings import CompatibleSettings, OpenaiSettings
from receiver.signing import LONGEST_HEADER, MOST_SIGNATURES, Signature, Signer, read_keys
from receiver.sources import video_object
from receiver.sources.base import (
    RETRIEVE,
    Admission,
    ApiRequest,
    Denied,
    Digests,
    Headers,
    LinkedVideo,
    News,
    VideoPlace,
)
from receiver.sources.verify import Redactor

ID, TIMESTAMP, SIGNATURE = CHECKED = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
WINDOW_SECONDS = 300
"""How far a timestamp may lie from our clock, before and behind it."""

# A dot would move the border between id and timestamp in what is signed.
_ID = re.compile(rb"[\x21-\x2d\x2f-\x7e]{1,256}")
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class SignedAdmission(Admission):
    """The headers are as they should be; whether the sender is believed, the body has to show."""

    signature: Signature = field(kw_only=True, repr=False)
    sent: bytes = field(kw_only=True, repr=False)

    def feed(self, chunk: bytes) -> None:
        """Go on with the next raw bytes of the body."""
        self.signature.update(chunk)

    def conclude(self) -> Denied | None:
        """Compare each signature that was sent with each that is right."""
        return None if self.signature.matches(self.sent) else Denied("webhook-signature is wrong")


class Gateway:
    """A configured gateway that speaks OpenAI's API and never calls."""

    kind = "openai-compatible"
    receives_callbacks = False
    variants: tuple[str, ...] = video_object.VARIANTS

    def __init__(
        self, name: str, settings: OpenaiSettings | CompatibleSettings, *, redactor_key: bytes
    ) -> None:
        self.name = name
        self.max_body = settings.max_body
        self._api_url = settings.api_url
        key = settings.api_key.get_secret_value()
        self._headers = {"Authorization": f"Bearer {key}"}
        self._redactor = Redactor(redactor_key, known=[key.encode(), self._headers["Authorization"].encode()])

    def admit(self, headers: Headers) -> Admission | Denied:
        """Deny: nobody has a credential for this."""
        return Denied("this kind of source receives no callbacks")

    def read(self, payload: Payload, admission: Admission, body: bytes | None, digests: Digests) -> News:
        """Understand an event, or a video object as the API answers."""
        return video_object.news_of(payload, admission, body, digests)

    def place(self, payload: Payload, *, variant: str = video_object.VIDEO) -> VideoPlace | None:
        """The content endpoint, whose default is the video."""
        video_id = video_object.content_id(payload)
        if video_id is None or variant not in self.variants:
            return None
        query = "" if variant == video_object.VIDEO else f"?variant={variant}"
        url = f"{self._video_url(video_id)}/content{query}"
        return LinkedVideo(url, self._api_url, self._headers, allow_private=True)

    def first_job(self, type: EventType, via: str) -> str | None:  # noqa: A002 - the event's own word
        """None: an answer of the API says it all."""
        return None

    def status_request(self, video_id: str) -> ApiRequest:
        """GET /videos/{video_id}."""
        return ApiRequest(self._video_url(video_id), self._api_url, headers=self._headers)

    def watch_expired(self, video_id: str, reason: str) -> Payload:
        """A video object that says so."""
        return video_object.watch_expired(video_id, reason)

    def sign(
        self, headers: Mapping[str, str], *, video_id: str, body: BinaryIO, at: datetime
    ) -> dict[str, str] | None:
        """None: a gateway sends no callbacks."""
        return None

    def fingerprint(self, headers: Headers) -> str:
        """Redact headers for keeping."""
        return self._redactor.to_json(headers)

    def _video_url(self, video_id: str) -> str:
        return f"{self._api_url}/videos/{quote(video_id, safe='')}"


class Openai(Gateway):
    """A configured project of OpenAI, with its signed callbacks."""

    kind = "openai"
    receives_callbacks = True

    def __init__(
        self, name: str, settings: OpenaiSettings, *, redactor_key: bytes, clock: Callable[[], float]
    ) -> None:
        """`clock` gives unix seconds."""
        super().__init__(name, settings, redactor_key=redactor_key)
        self._signer = Signer([settings.webhook_secrets[0].get_secret_value()])
        secrets = [secret.get_secret_value() for secret in settings.webhook_secrets]
        self._secrets = [key for secret in secrets for key in read_keys(secret)]
        self._clock = clock

    def admit(self, headers: Headers) -> Admission | Denied:
        """Judge the three headers of Standard Webhooks by their form and age; each must be there once."""
        found: dict[bytes, list[bytes]] = {name: [] for name in CHECKED}
        for name, value in headers:
            if name in found:
                found[name].append(value)
        failed = [check for name, values in found.items() if (check := self._check(name, values))]
        if failed:
            return Denied(", ".join(failed))
        [[message_id], [timestamp], [sent]] = found.values()
        signature = Signature(self._secrets, message_id=message_id, timestamp=timestamp)
        return SignedAdmission(message_id.decode("ascii"), signature=signature, sent=sent)

    def first_job(self, type: EventType, via: str) -> str | None:  # noqa: A002 - the event's own word
        """A callback is thin: the video is looked up before any handler runs."""
        return RETRIEVE if via == "callback" and type in ("video.completed", "video.failed") else None

    def sign(
        self, headers: Mapping[str, str], *, video_id: str, body: BinaryIO, at: datetime
    ) -> dict[str, str] | None:
        """Standard Webhooks with the first of the live secrets; None for what did not come as a callback."""
        message = headers.get(ID.decode())
        if message is None:
            return None
        return {"Content-Type": "application/json", **self._signer.headers(message, at=at, body=body)}

    def _check(self, name: bytes, values: Sequence[bytes]) -> str | None:
        """Say what is wrong with a header, without its value; None when nothing is."""
        label = name.decode()
        if not values:
            return f"{label} is missing"
        if len(values) > 1:
            return f"{label} is given more than once"
        (value,) = values
        if name == ID:
            return None if _ID.fullmatch(value) else f"{label} is no id"
        wrong = self._check_age(value) if name == TIMESTAMP else _check_list(value)
        return None if wrong is None else f"{label} {wrong}"

    def _check_age(self, timestamp: bytes) -> str | None:
        if not _TIMESTAMP.fullmatch(timestamp):
            return "is no time"
        age = int(self._clock()) - int(timestamp)
        if age > WINDOW_SECONDS:
            return "is too old"
        return "lies in the future" if age < -WINDOW_SECONDS else None


def _check_list(signatures: bytes) -> str | None:
    """Refuse what can't match before any of the body is read."""
    if len(signatures) > LONGEST_HEADER:
        return "is too long"
    listed = signatures.split(b" ")
    if len(listed) > MOST_SIGNATURES:
        return "holds too many signatures"
    return None if any(one.startswith(b"v1,") for one in listed) else "holds no signature of version 1"
