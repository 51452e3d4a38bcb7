"""Senders: unique callbacks over several connections, small and large, repeated as a real sender would."""

from __future__ import annotations

import http.client
import json
import threading
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.acceptance.conftest import a_video, callback, headers, sha256
from tests.torture.ledger import Ledger, Sent

_CONNECTIONS = 4
_PACE_SECONDS = 0.008
"""Between two posts of a connection: enough to be busy, not to fill the disk with a thousand runs."""
_AWAY_SECONDS = 0.05
"""Before the next post, when there was no answer."""
_FINAL = (200, 401, 429)
_ANSWER_SECONDS = 20.0
_LARGE_PADDING = 60_000  # in base64 beyond 64 KiB


@dataclass(frozen=True, slots=True)
class Post:
    """A callback that is ready to go."""

    video: str
    body: bytes
    sent: Sent | None
    key: str | None = None
    """A wrong API key, for a post that must be rejected."""


def small(video: str) -> Post:
    """A callback of a few hundred bytes."""
    body = json.dumps(callback(video, "failed")).encode()
    return Post(video, body, Sent(sha256(body), None))


def large(video: str) -> Post:
    """A callback with an inline video, so long that its body is kept in a file."""
    content = a_video(video, padding=_LARGE_PADDING)
    body = json.dumps(callback(video, video=content)).encode()
    return Post(video, body, Sent(sha256(body), sha256(content)))


def forged(video: str) -> Post:
    """A callback that nobody may believe."""
    return Post(video, json.dumps(callback(video, "failed")).encode(), None, key="not-the-key")


class Connection:
    """One connection to a receiver, made again when it broke."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        self._url = url
        self._ledger = ledger
        parts = urlsplit(url)
        self._http = http.client.HTTPConnection(
            parts.hostname or "", parts.port or 0, timeout=_ANSWER_SECONDS
        )

    def post(self, post: Post) -> int:
        """Post and note the answer; return its status, 0 when there was none."""
        fields = headers(post.video) if post.key is None else headers(post.video, X_API_Key=post.key)
        try:
            if self._http.sock is None:
                self._http.connect()
        except OSError:
            return 0  # nobody is there: nothing was posted
        self._ledger.posts(post.video, post.sent)
        try:
            self._http.request("POST", "/webhooks/opennote", body=post.body, headers=fields)
            answer = self._http.getresponse()
            content: dict[str, Any] = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._http.close()
            self._ledger.cut(post.video, is_late=isinstance(error, TimeoutError))
            return 0
        self._ledger.answered(post.video, answer.status, content)
        return answer.status

    def close(self) -> None:
        """Hang up."""
        self._http.close()


class Load:
    """Senders in threads: they post while a receiver is `up` and wait while it is `down`."""

    def __init__(self, ledger: Ledger, *, name: str = "") -> None:
        self.ledger = ledger
        self._url: str | None = None
        self._is_over = threading.Event()
        self._changed = threading.Condition()
        self._posting = 0
        self._threads = [
            threading.Thread(target=self._send, args=(f"{name}{lane}",), name=f"sender {lane}")
            for lane in "abcd"[:_CONNECTIONS]
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        with self._changed:
            self._url = None
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def up(self, url: str) -> None:
        """Post to this receiver from now on."""
        with self._changed:
            self._url = url
            self._changed.notify_all()

    def down(self) -> None:
        """Post no more, and wait until what is under way has ended, one way or the other."""
        with self._changed:
            self._url = None
            self._changed.wait_for(lambda: not self._posting)

    def _send(self, lane: str) -> None:
        connection: tuple[str, Connection] | None = None
        for number in count():
            for attempt in count():
                url = self._begin()
                if url is None:
                    break
                if connection is None or connection[0] != url:
                    if connection is not None:
                        connection[1].close()
                    connection = url, Connection(url, self.ledger)
                status = connection[1].post(_nth(lane, number))
                self._end()
                self._is_over.wait(_PACE_SECONDS if status else _AWAY_SECONDS)
                # Every third sender gives up; the others come again until they are told that it is known.
                if status in _FINAL and not (number % 15 == 4 and attempt == 0):
                    break
                if status not in _FINAL and number % 3 == 0:
                    break
            if self._is_over.is_set():
                break
        if connection is not None:
            connection[1].close()

    def _begin(self) -> str | None:
        """Wait for a receiver; None when it is all over."""
        with self._changed:
            self._changed.wait_for(lambda: self._url is not None or self._is_over.is_set())
            if self._url is not None:
                self._posting += 1
            return self._url

    def _end(self) -> None:
        with self._changed:
            self._posting -= 1
            self._changed.notify_all()


def _nth(lane: str, number: int) -> Post:
    video = f"{lane}{number}"
    if number % 20 == 7:
        return forged(video)
    return large(video) if number % 25 == 3 else small(video)
