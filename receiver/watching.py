"""Whose end is waited for, and for how long: new watches, and what is recorded when one was in vain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import orjson

from receiver.body import read_small
from receiver.errors import BadBody
from receiver.record import Arrival
from receiver.recording import Plans, arrival_of
from receiver.settings.tables import WatchSettings
from receiver.sources.base import Admission, Digests, Source
from receiver.store.watches import NewWatch, Watch
from receiver.units import in_words

_SOME_ID = "video_1"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long news of a video is waited for, in milliseconds."""

    first_ms: int
    """Before its provider is asked."""
    deadline_ms: int
    """Before it is given up."""

    @classmethod
    def of(cls, *, wait: timedelta, deadline: timedelta) -> Patience:
        """In these lengths."""
        return cls(_ms(wait), _ms(deadline))

    @classmethod
    def with_caller(cls, settings: WatchSettings) -> Patience:
        """For a video whose provider calls back."""
        return cls.of(wait=settings.missed_after, deadline=settings.deadline)

    def until(self, now: int) -> tuple[int, int]:
        """When its provider is asked first, and when it is given up, in unix milliseconds."""
        return now + self.first_ms, now + self.deadline_ms


def can_ask(sources: Mapping[str, Source]) -> bool:
    """Say whether any of these sources can be asked how a video stands."""
    return any(source.status_request(_SOME_ID) is not None for source in sources.values())


def new_watch(source: Source, video_id: str, patience: Patience, *, now: int) -> NewWatch:
    """A watch of a video. Raise BadBody for an id that no video could have."""
    body = orjson.dumps(source.watch_expired(video_id, ""))
    news = source.read(orjson.loads(body), Admission(video_id), body, Digests(None))
    if news.video_id != video_id:
        raise BadBody("the id is empty")
    return NewWatch(source.name, source.kind, news.identity, news.video_id, *patience.until(now))


def given_up(
    source: Source, watch: Watch, *, plans: Plans, now: int, random: Callable[[int], bytes]
) -> Arrival:
    """What is recorded when nothing was heard of a video until its watch's deadline."""
    waited = in_words(round((watch.deadline_at - watch.opened_at) / 1000))
    last = f"; it was last seen as {watch.status}" if watch.status else ""
    reason = f"no end of the video was heard of within {waited}{last}"
    admission = Admission(watch.video_id)
    arrival = arrival_of(
        source,
        admission,
        read_small(orjson.dumps(source.watch_expired(watch.video_id, reason)), admission),
        via="poll",
        method="",
        path="",
        headers="[]",
        plans=plans,
        now=now,
        random=random,
    )
    # Its source may be another organisation by now; it is the watch's video that is given up.
    return arrival._replace(identity=watch.identity)


def _ms(length: timedelta) -> int:
    return round(length / timedelta(milliseconds=1))
