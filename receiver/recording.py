"""From a body that is believed to the arrival that is recorded, whichever way it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import orjson

from receiver import ids
from receiver.body import ReceivedBody
from receiver.record import Arrival, JobRow
from receiver.router import HandlerCard, plan
from receiver.sources.base import Admission, News, Source

Via = Literal["callback", "poll", "import"]


class Plans:
    """The jobs that new events get from these handlers; what was planned once is remembered."""

    def __init__(self, cards: Sequence[HandlerCard]) -> None:
        self._cards = cards
        self._planned: dict[tuple[str, str, str | None], list[JobRow]] = {}

    def jobs(self, source: str, type: str, *, first: str | None = None) -> list[JobRow]:  # noqa: A002
        """The jobs of an event; `first` is what the receiver itself does before any handler runs."""
        key = (source, type, first)
        if key not in self._planned:
            self._planned[key] = [
                (job.handler, job.state.value, job.after, job.reason)
                for job in plan(self._cards, source=source, type=type, first=first)
            ]
        return self._planned[key]


def arrival_of(
    source: Source,
    admission: Admission,
    body: ReceivedBody,
    *,
    via: Via,
    method: str,
    path: str,
    headers: str,
    plans: Plans,
    now: int,
    random: Callable[[int], bytes],
    watch: Callable[[int], tuple[int, int]] | None = None,
) -> Arrival:
    """Understand a believed body. `headers` are redacted already; `now` is in unix milliseconds.

    `watch` says, of a video that is still being made, when its provider is asked and until when.
    Raise BadBody for an id or a status that can't be kept.
    """
    news = source.read(body.payload, admission, body.raw, body.digests)
    is_small = body.raw is not None
    return Arrival(
        event_id=ids.event_id(now, random(ids.RANDOM_BYTES)),
        source=source.name,
        kind=source.kind,
        identity=news.identity,
        what=news.what,
        type=news.type,
        video_id=news.video_id,
        status=news.status,
        progress=news.progress,
        title=news.title,
        content=news.content,
        warnings=list(news.warnings),
        received_at=now,
        via=via,
        method=method,
        path=path,
        headers=headers,
        size=body.size,
        body=None if body.raw is None else body.raw.decode(),
        body_sha256=body.sha256,
        payload=None if is_small else orjson.dumps(body.payload).decode(),
        strings=None if is_small else orjson.dumps([string.model_dump() for string in body.strings]).decode(),
        jobs=plans.jobs(source.name, news.type, first=source.first_job(news.type, via)),
        expires_at=news.expires_at,
        watch=watch(now) if watch is not None and _can_be_asked(source, news) else None,
    )


def _can_be_asked(source: Source, news: News) -> bool:
    """Whether its provider could tell how a video goes on that is still being made."""
    has_id = "no_id" not in news.warnings
    return news.what == "progress" and has_id and source.status_request(news.video_id) is not None
