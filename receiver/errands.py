"""The receiver's own jobs: what a provider is asked before any handler runs on an event.

`receiver.retrieve` looks a video up whose callback says next to nothing. `receiver.confirm` asks whether a
callback is true that anybody could have sent who has the key. Whatever they leave in the store they may leave
twice, so that a crash in between only repeats it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import orjson

from receiver.agreement import contradiction
from receiver.announcer import Announcer
from receiver.asking import Told, ask, refused
from receiver.bodies import Bodies
from receiver.body import ReceivedBody
from receiver.context import Context
from receiver.errors import BadBody, Hopeless, StoreError, Unavailable, Unfinished
from receiver.event import Event, StoredBody
from receiver.fetch import Fetcher, phrase
from receiver.mistakes import place
from receiver.outcome import Cancel
from receiver.passing import keep, passing
from receiver.recording import Plans, arrival_of
from receiver.router import OWN, Handler, HandlerCard
from receiver.sources import video_of
from receiver.sources.base import CONFIRM, RETRIEVE, Admission, ApiRequest, News, Source
from receiver.store.base import Store
from receiver.store.findings import Learned
from receiver.store.values import Rejection
from receiver.watching import Patience, new_watch

_CONCURRENCY = 8
_LONGEST = {RETRIEVE: timedelta(minutes=1), CONFIRM: timedelta(minutes=10)}
"""How long an answer may take; a confirmation may carry a whole video."""
_SPARE = timedelta(seconds=30)
_SURE_AFTER = 3
"""So many times a provider has to say that it knows no such video, before it is believed."""
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_ENDS = ("video.completed", "video.failed")


class Errands:
    """The handlers of both jobs, for one worker."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        store: Store,
        fetcher: Fetcher,
        bodies: Bodies,
        patience: Patience,
        log: Any,
        wall: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`patience` is had with a video whose callback was refuted; `wall` gives unix milliseconds."""
        self._sources = sources
        self._store = store
        self._fetcher = fetcher
        self._bodies = bodies
        self._patience = patience
        self._announcer = Announcer(log)
        self._wall = wall

    def use(self, sources: Mapping[str, Source]) -> None:
        """Ask with these keys from the next job on."""
        self._sources = sources

    @property
    def handlers(self) -> tuple[Handler, ...]:
        """Both, as a worker runs them."""
        return _handler(RETRIEVE, self.retrieve), _handler(CONFIRM, self.confirm)

    async def retrieve(self, event: Event, context: Context) -> dict[str, Any]:
        """Look the video up, and keep what its provider says of it with the event."""
        source, request = self._question(event)
        with _worded():
            async with passing(self._bodies) as bodies:
                told = await self._ask(RETRIEVE, request, source, bodies)
                if told.body is None:
                    raise refused(told, source=source.name)
                news = _read(event, source, told.body)
            if news.type == "video.progress":
                raise Unfinished(f"the provider still says {news.status}, and told of an end")
            payload = orjson.dumps(told.body.payload).decode()
            await self._store.findings.learn(Learned(event.id, payload, news.title, news.expires_at))
        return {"status": news.status}

    async def confirm(self, event: Event, context: Context) -> dict[str, Any]:
        """Ask whether what a callback said is true; refute it when it isn't, and record what is."""
        source, request = self._question(event)
        with _worded():
            async with passing(self._bodies) as bodies:
                told = await self._ask(CONFIRM, request, source, bodies)
                news = None if told.body is None else _read(event, source, told.body)
                reason = await self._against(event, source, told, news, bodies, context)
                if reason is None:
                    return {"status": None if news is None else news.status}
                await self._refute(event, source, reason, context)
                if told.body is not None and news is not None and news.type in _ENDS:
                    await self._record(source, request, told.body, str(event.video.id), bodies)
                elif news is not None:
                    watch = new_watch(source, str(event.video.id), self._patience, now=self._wall())
                    await self._store.watches.add([watch])
        raise Cancel(reason)

    def _question(self, event: Event) -> tuple[Source, ApiRequest]:
        source = self._sources.get(event.source)
        if source is None:
            raise Hopeless(f"the source {event.source} is not configured any more")
        request = None if "no_id" in event.warnings else source.status_request(str(event.video.id))
        if request is None:
            raise Hopeless("nobody can be asked: the callback names no video")
        return source, request

    async def _ask(self, job: str, request: ApiRequest, source: Source, bodies: Bodies) -> Told:
        seconds = _LONGEST[job].total_seconds()
        return await ask(
            self._fetcher, request, bodies=bodies, limit=source.max_body, timeout_seconds=seconds
        )

    async def _against(
        self, event: Event, source: Source, told: Told, news: News | None, bodies: Bodies, context: Context
    ) -> str | None:
        """Say what the provider has against what the callback said; None when it agrees.

        Raise Unfinished, or Hopeless, when that isn't known yet.
        """
        was_refuted = "refuted" in event.warnings  # by an attempt that did not live to go on
        if told.body is None or news is None:
            if told.status in _GONE and (was_refuted or context.attempt >= _SURE_AFTER):
                return f"the provider knows no such video ({phrase(told.status)})"
            error = refused(told, source=source.name)
            raise Unfinished(str(error)) if told.status in _GONE else error
        if news.type not in _ENDS:
            reason = f"the provider says {news.status}, the callback said {event.video.status}"
            if was_refuted or context.attempt >= context.attempts:
                return reason
            raise Unfinished(reason)
        found = await contradiction(
            event, _answered(event, source, told.body, news, bodies), place=source.place
        )
        return found or ("it was refuted before" if was_refuted else None)

    async def _refute(self, event: Event, source: Source, reason: str, context: Context) -> None:
        rejection = Rejection(self._wall(), source.name, HTTPStatus.OK, f"refuted {event.id}: {reason}", "-")
        if await self._store.findings.refute(event.id, rejection):
            context.log.warning("event.refuted", source=source.name, reason=reason)

    async def _record(
        self, source: Source, request: ApiRequest, body: ReceivedBody, video_id: str, bodies: Bodies
    ) -> None:
        """Record what the provider says as if it had called."""
        if body.sha256 is not None:
            await keep(body.sha256, source=bodies, target=self._bodies)
        cards = [HandlerCard.from_json(card) for card in await self._store.published()]
        arrival = arrival_of(
            source,
            Admission(video_id),
            body,
            via="poll",
            method=request.method,
            path=request.path,
            headers="[]",
            plans=Plans(cards),
            now=self._wall(),
            random=os.urandom,
        )
        self._announcer.announce(arrival, await self._store.record(arrival))


def _handler(name: str, function: Callable[[Event, Context], Awaitable[Any]]) -> Handler:
    return Handler(
        name=name,
        router_name=OWN,
        function=function,
        types=frozenset(_ENDS),
        source=None,
        attempts=20,
        timeout=_LONGEST[name] + _SPARE,
        concurrency=_CONCURRENCY,
        after=None,
        settings_model=None,
        takes=2,
        is_async=True,
        where=place(function),
        summary=(function.__doc__ or "").partition("\n")[0],
    )


def _read(event: Event, source: Source, body: ReceivedBody) -> News:
    try:
        news = source.read(body.payload, Admission(event.video.id), body.raw, body.digests)
    except BadBody as error:
        raise Hopeless(f"the provider's answer can't be understood: {error.reason}") from error
    if news.video_id != event.video.id:
        raise Unfinished("the provider's answer is about another video")
    return news


def _answered(event: Event, source: Source, body: ReceivedBody, news: News, bodies: Bodies) -> Event:
    """The event that the answer would be."""
    path = None if body.sha256 is None else bodies.path(body.sha256)
    return replace(
        event,
        type=news.type,
        video=video_of(source.kind, body.payload),
        payload=body.payload,
        body=StoredBody(body.raw, path, body.strings),
    )


@contextmanager
def _worded() -> Iterator[None]:
    """Let what the store can't do now be tried again."""
    try:
        yield
    except (StoreError, Unavailable, OSError) as error:
        raise Unfinished(str(error)) from error
