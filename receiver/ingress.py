"""The endpoint: judge the headers, take the body, record the news, answer. Nothing else answers senders."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from time import perf_counter
from typing import Any

from receiver.announcer import Announcer
from receiver.answers import (
    NOT_JSON,
    ONLY_POST,
    OUT_OF_ORDER,
    RETRY_SECONDS,
    TOO_LARGE,
    UNAUTHORIZED,
    UNKNOWN_PATH,
    Answer,
    Receipted,
    Receive,
    Scope,
    Send,
    retry_after,
)
from receiver.bodies import Bodies
from receiver.body import ReceivedBody, read_body, read_small
from receiver.errors import Disconnected, Refused, StoreError, Unavailable
from receiver.metrics import Meter
from receiver.model import INLINE_BODY_LIMIT
from receiver.peers import BadCredentials, peer_of
from receiver.record import Arrival
from receiver.recording import Plans, arrival_of
from receiver.rejections import Rejections
from receiver.router import HandlerCard
from receiver.sources.base import Admission, Denied, Headers, Source
from receiver.store.base import Intake
from receiver.store.values import Receipt
from receiver.watching import Patience

PREFIX = "/webhooks/"
# RFC 9110, sections 5.6.6 and 8.3: a media type and its parameters.
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rb';[ \t]*(%b)=(%b|"[^"\\]*")' % (_TOKEN, _TOKEN))
_JSON = re.compile(
    rb'application/(json|%b\+json)([ \t]*;([ \t]*%b=(%b|"[^"\\]*"))?)*[ \t]*' % (_TOKEN, _TOKEN, _TOKEN),
    re.IGNORECASE,
)
_SEEN = {"accepted": "accepted", "duplicate": "duplicate", "conflict": "duplicate"}


class Ingress:
    """The ASGI application under `/webhooks/`."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        cards: Sequence[HandlerCard],
        intake: Intake,
        bodies: Bodies,
        rejections: Rejections,
        bad_credentials: BadCredentials,
        wall: Callable[[], int],
        random: Callable[[int], bytes],
        log: Any,
        trusted_proxies: Container[str] = (),
        patience: Patience | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.use(sources, patience=patience)
        self._meter = meter or Meter()
        self._intake = intake
        self._bodies = bodies
        self._rejections = rejections
        self._bad_credentials = bad_credentials
        self._wall = wall
        self._random = random
        self._log = log
        self._announcer = Announcer(log)
        self._trusted_proxies = trusted_proxies
        self._plans = Plans(cards)

    def use(self, sources: Mapping[str, Source], *, patience: Patience | None = None) -> None:
        """Believe these from the next request on; one that is under way keeps its own.

        `patience` is had with videos that are still being made; without it nobody is asked about them.
        """
        self._watch = None if patience is None else patience.until
        self._sources = {
            PREFIX + name: source for name, source in sources.items() if source.receives_callbacks
        }
        self._targets = {path.encode(): source for path, source in self._sources.items()}

    def take(self, target: bytes, headers: Headers, body: bytes, answer: Callable[[Answer], None]) -> bool:
        """Take a small callback that is there as a whole; `answer` is called later, when it is recorded.

        False, with nothing done, when anything is odd about it: `__call__` finds out what, and answers.
        """
        began = perf_counter()
        source = self._targets.get(target)
        if source is None or len(body) > min(source.max_body, INLINE_BODY_LIMIT):
            return False
        admission = source.admit(headers)
        if isinstance(admission, Denied) or not _is_json(headers, dict(headers)):
            return False
        try:
            received = read_small(body, admission)
            if admission.conclude() is not None:
                return False
            arrival = self._arrival(source, admission, received, headers)
        except Refused:
            return False

        def recorded(result: Receipt | Exception) -> None:
            answer(
                self._refuse(source, result)
                if isinstance(result, Exception)
                else self._say(arrival, result, began)
            )

        self._meter.receive(source.name)
        self._intake.record_soon(arrival, recorded)
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        source = self._sources.get(scope["path"])
        if source is None:
            await UNKNOWN_PATH.send(send)
        elif scope["method"] != "POST":
            await ONLY_POST.send(send)
        else:
            self._meter.receive(source.name)
            answer = await self._take(source, scope, receive)
            if answer is not None:
                await answer.send(send)

    async def _take(self, source: Source, scope: Scope, receive: Receive) -> Answer | None:
        """Take one callback; None when there is nobody left to answer."""
        began = perf_counter()
        headers: Headers = scope["headers"]
        admission = source.admit(headers)
        if isinstance(admission, Denied):
            return self._deny(source, admission, scope)
        fields = dict(headers)
        if not _is_json(headers, fields):
            return self._reject(source, NOT_JSON, "content-type or content-encoding", scope)
        length = fields.get(b"content-length")
        declared = int(length) if length is not None and length.isdigit() else None
        if declared is not None and declared > source.max_body:
            return self._reject(source, TOO_LARGE, "content-length over the limit", scope)
        try:
            body = await read_body(
                receive, admission=admission, limit=source.max_body, bodies=self._bodies, declared=declared
            )
            return await self._judge(source, admission, body, scope, began)
        except Unavailable as error:
            return self._refuse(source, error)
        except Refused as error:
            answer = Answer(error.status, {"status": "error", "error": error.reason}, closes=True)
            return self._reject(source, answer, error.reason, scope)
        except StoreError as error:
            return self._refuse(source, error)
        except Disconnected:
            self._log.info("delivery.abandoned", source=source.name)
            self._meter.count(source.name, "abandoned", 0.0, 0)
            return None

    async def _judge(
        self, source: Source, admission: Admission, body: ReceivedBody, scope: Scope, began: float
    ) -> Answer:
        """Believe the whole body, understand it, record it."""
        denied = admission.conclude()
        if denied is not None:
            return self._deny(source, denied, scope)
        arrival = self._arrival(source, admission, body, scope["headers"])
        return self._say(arrival, await self._intake.record(arrival), began)

    def _say(self, arrival: Arrival, receipt: Receipt, began: float) -> Answer:
        self._meter.count(arrival.source, receipt.verdict, perf_counter() - began, arrival.size)
        self._announcer.announce(arrival, receipt)
        return Receipted(_SEEN[receipt.verdict], receipt.event_id)

    def _refuse(self, source: Source, error: Exception) -> Answer:
        self._meter.count(source.name, "refused", 0.0, 0)
        self._log.error("delivery.refused", source=source.name, status=503, reason=str(error))
        return OUT_OF_ORDER

    def _arrival(self, source: Source, admission: Admission, body: ReceivedBody, headers: Headers) -> Arrival:
        """Understand a believed body. Raise BadBody."""
        return arrival_of(
            source,
            admission,
            body,
            via="callback",
            method="POST",
            path=PREFIX + source.name,
            headers=source.fingerprint(headers),
            plans=self._plans,
            now=self._wall(),
            random=self._random,
            watch=self._watch,
        )

    def _deny(self, source: Source, denied: Denied, scope: Scope) -> Answer:
        """401, one body for every reason; 429 instead for a peer that does nothing else."""
        wait = self._bad_credentials.seconds_to_wait(self._peer(scope))
        if not wait:
            return self._reject(source, UNAUTHORIZED, denied.check, scope)
        content = {"status": "rejected", "error": "too many requests with bad credentials"}
        answer = Answer(429, content, closes=True, headers=retry_after(max(wait, RETRY_SECONDS)))
        return self._reject(source, answer, denied.check, scope)

    def _reject(self, source: Source, answer: Answer, reason: str, scope: Scope) -> Answer:
        self._meter.count(source.name, "rejected", 0.0, 0)
        self._rejections.add(source.name, answer.status, reason, self._peer(scope))
        return answer

    def _peer(self, scope: Scope) -> str:
        return peer_of(scope["client"], scope["headers"], self._trusted_proxies)


def _is_json(headers: Headers, fields: Mapping[bytes, bytes]) -> bool:
    """application/json or application/…+json, in UTF-8, as it is, and said once."""
    if b"content-encoding" in fields:
        return False
    kind = fields.get(b"content-type", b"").strip()
    if len(fields) < len(headers) and sum(name == b"content-type" for name, _ in headers) > 1:
        return False
    if kind == b"application/json":
        return True
    if not _JSON.fullmatch(kind):
        return False
    charsets = [
        value.strip(b'"').lower() for name, value in _PARAMETER.findall(kind) if name.lower() == b"charset"
    ]
    return charsets in ([], [b"utf-8"])
