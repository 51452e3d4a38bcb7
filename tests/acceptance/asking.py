"""A client of the API of a receiver, as the tests need one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.acceptance.conftest import NO_TLS, Receiver

TOKEN = "canary_admin_token_0123456789"
ADMIN = f'[admin]\ntoken = "{TOKEN}"\n'
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True, slots=True)
class Message:
    """One server-sent event, or comment."""

    event: str
    id: str
    data: Any
    comment: str = ""


@dataclass
class Reading:
    """A stream that is being read, message by message."""

    answer: httpx.Response
    lines: Iterator[str]
    comments: list[str] = field(default_factory=list)
    cursor: str = ""
    """The last id, that of messages without data, too."""

    def message(self) -> Message:
        """The next message that has data."""
        event, data = "message", ""
        for line in self.lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.cursor = value
            elif name == "event":
                event = value
            elif name == "data":
                data = value
            elif line.startswith(":"):
                self.comments.append(line)
            elif not line and data:
                return Message(event, self.cursor, json.loads(data))
        raise EOFError

    def messages(self, count: int) -> list[Message]:
        """So many messages."""
        return [self.message() for _ in range(count)]

    def until_id(self) -> str:
        """Read on to the next id."""
        for line in self.lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.cursor = value
                return value
        raise EOFError

    def until_comment(self) -> str:
        """Read on to the next comment, and to the end of its block."""
        for line in self.lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.cursor = value
            elif line.startswith(":"):
                self.comments.append(line)
            elif not line and self.comments:
                return self.comments.pop()
        raise EOFError


class Asking:
    """A client with the token, and no connection that stays."""

    def __init__(self, receiver: Receiver, *, token: str = TOKEN) -> None:
        self._base = f"{receiver.url}/api/v1"
        self._headers = {"Authorization": f"Bearer {token}"}

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """One answer."""
        both = {**self._headers, **(headers or {})}
        return httpx.request(
            method, self._base + path, headers=both, verify=NO_TLS, trust_env=False, timeout=30, **more
        )

    def get(self, path: str, **more: Any) -> httpx.Response:
        """One answer to GET."""
        return self.request("GET", path, **more)

    def json(self, path: str, **parameters: Any) -> Any:
        """What is answered when all is well."""
        answer = self.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def events(self, **parameters: Any) -> list[Any]:
        """All pages of events."""
        found: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.json("/events", **parameters, **cursor)
            found += page["events"]
            if page["next"] is None:
                return found
            cursor = {"cursor": page["next"]}

    @contextmanager
    def stream(self, *, after: str = "", **parameters: Any) -> Iterator[Reading]:
        """Read the stream, `after` the id of the last message."""
        headers = {**self._headers, **({"Last-Event-ID": after} if after else {})}
        with (
            httpx.Client(verify=NO_TLS, trust_env=False, timeout=30) as client,
            client.stream("GET", f"{self._base}/stream", params=parameters, headers=headers) as answer,
        ):
            assert answer.status_code == 200, answer.read()
            yield Reading(answer, answer.iter_lines())
