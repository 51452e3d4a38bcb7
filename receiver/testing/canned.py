"""Answers instead of a network: requests pass every check of their form and go nowhere."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpcore
import httpx

from receiver.errors import Unfinished
from receiver.fetch import Fetcher
from receiver.transport import Answer
from receiver.upload import Upload

_LARGEST = 2**40


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that a handler sent."""

    method: str
    """In capitals."""
    url: str
    headers: Mapping[str, str]
    """As the handler gave them."""
    content: bytes = field(repr=False)
    """The body; empty without one."""


@dataclass(frozen=True, slots=True)
class Canned:
    """What will be answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


class CannedFetcher(Fetcher):
    """The way out, with a wall behind it: whoever asks gets the next answer for that method and URL.

    The last answer is given again and again. What has none is noted in `unanswered` and fails as
    an unreachable host does.
    """

    def __init__(self) -> None:
        super().__init__(max_bytes=_LARGEST)
        self.asked: list[Asked] = []
        self.unanswered: list[Asked] = []
        self._answers: dict[tuple[str, str], deque[Canned]] = {}
        self._otherwise: dict[tuple[str, str], deque[Canned]] = {}

    def give(self, method: str, url: str, answer: Canned) -> None:
        """Answer so, after what was given before for the same method and URL."""
        self._answers.setdefault((method.upper(), str(httpx.URL(url))), deque()).append(answer)

    def give_otherwise(self, method: str, url: str, answer: Canned) -> None:
        """Answer so as long as nothing else was given."""
        self._otherwise[method, url] = deque([answer])

    @asynccontextmanager
    async def exchange(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        content: bytes | Upload | None = None,
        *,
        allow_private: bool = False,
    ) -> AsyncIterator[Answer]:
        """Note the request and give its answer."""
        if isinstance(content, Upload):
            content = b"".join([piece async for piece in content])
        asked = Asked(method, str(url), dict(headers), content or b"")
        self.asked.append(asked)
        key = (method, asked.url)
        answers = self._answers.get(key) or self._otherwise.get(key)
        if not answers:
            self.unanswered.append(asked)
            raise Unfinished(f"no answer was prepared for {method} {url}")
        canned = answers.popleft() if len(answers) > 1 else answers[0]
        fields = {"Content-Length": str(len(canned.content)), **canned.headers}
        yield Answer(httpcore.Response(canned.status, headers=list(fields.items()), content=canned.content))
