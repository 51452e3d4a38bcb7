"""What the API can do: each operation with its path, what may be asked, and what is answered."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import orjson
from pydantic import BaseModel, Field

from receiver.api.cursors import Spot
from receiver.api.desk import Asked, Desk
from receiver.api.questions import (
    BodyQuestion,
    DeliveriesQuestion,
    PageQuestion,
    Question,
    RejectionsQuestion,
    StreamQuestion,
)
from receiver.api.replays import (
    Forecast,
    ReplayOrder,
    ReplaysPage,
    ReplaysQuestion,
    ReplayView,
    order_replay,
    replays,
)
from receiver.api.replies import Content, Lines, Pieces, Reply, Whole, busy, problem
from receiver.api.stream import Start, Stream
from receiver.copies import line_of
from receiver.errors import NotFound
from receiver.store.values import Row
from receiver.views import (
    EventStory,
    EventView,
    RejectionView,
    View,
    event_story,
    event_view,
    rejection_view,
    to_json,
)

ROOT = "/api/v1"
_GIVEN_AT_ONCE = 50
_PIECE_BYTES = 65536
"""Lines are sent together up to this: a slow reader has a minute for what is sent at once."""
_TOO_MANY = "too many bodies and videos are being sent"


class EventsPage(View):
    """A page of events, newest first."""

    events: list[EventView] = Field(description="The events.")
    next: str | None = Field(description="The cursor of the page behind this one; null when it is the last.")


class RejectionsPage(View):
    """The last rejections, newest first."""

    rejections: list[RejectionView] = Field(description="The rejections.")


class Problem(View):
    """What is wrong with a request, or with the receiver."""

    status: str = Field(description="error or rejected.")
    error: str = Field(description="For people.")


class NoQuestion(Question):
    """Nothing may be asked beyond the path."""


async def events(desk: Desk, asked: Asked) -> Reply:
    """Events, newest first, a page at a time."""
    question: PageQuestion = asked.question
    before = None
    if question.cursor is not None:
        spot = desk.cursors.read(question.cursor)
        if spot is None:
            return problem(409, "cursor: it is not one of this record")
        before = spot.seq
    limit = question.limit
    # One more than is shown: whether there is another page has to be known.
    rows = await desk.store.events(desk.wanted(question), limit=limit + 1, before=before)
    more = desk.cursors.write(rows[limit - 1]["seq"], rows[limit - 1]["id"]) if len(rows) > limit else None
    return _told(EventsPage(events=[event_view(row) for row in rows[:limit]], next=more))


async def event(desk: Desk, asked: Asked) -> Reply:
    """Everything about one event; links without their query strings, credentials as fingerprints."""
    row = await desk.store.event(asked.id)
    return _told(await desk.in_thread(partial(event_story, row, reveals=False)))


async def raw(desk: Desk, asked: Asked) -> Reply:
    """The original body of an event, byte for byte; that it was asked for is logged."""
    row = await desk.store.event(asked.id)
    sha256 = asked.question.sha256
    if sha256 is not None:
        carried = await desk.store.copies.carried(row["seq"], sha256)
        if carried is None:
            raise NotFound("no delivery of the event has such a body, over 64 KiB")
        row = {**row, "body": None, **carried}
    return await _content(desk, asked, row, "body", desk.contents.body)


async def video(desk: Desk, asked: Asked) -> Reply:
    """The video of an event: decoded from the body, or the file that a handler saved."""
    row = await desk.store.event(asked.id)
    given = await desk.store.copies.give([row["seq"]], limit=1)
    kept = given[0]["video_sha256"] if given else None
    return await _content(desk, asked, row, "video", partial(desk.contents.video, kept=kept))


async def _content(desk: Desk, asked: Asked, row: Row, what: str, open_it: Callable[[Row], Content]) -> Reply:
    if not desk.downloads.take():
        return busy(_TOO_MANY)
    with ExitStack() as failing:
        failing.callback(desk.downloads.give_back)
        content = await desk.in_thread(partial(open_it, row))
        failing.pop_all()
    desk.revealed(what, row["id"], asked.peer)
    return Pieces(content, desk.executor, desk.downloads.give_back)


async def deliveries(desk: Desk, asked: Asked) -> Reply:
    """Every delivery of an event, as a line of a capture: all that another receiver needs to record it.

    Bodies over 64 KiB are not part of it, but their SHA-256 is, by which they can be had. That it was
    asked for is logged.
    """
    row = await desk.store.event(asked.id)
    return _deliveries(desk, {row["id"]: row["seq"]}, asked.peer)


async def deliveries_of_several(desk: Desk, asked: Asked) -> Reply:
    """The same of several events, one after the other; nothing is said of those that are not there."""
    ids = dict.fromkeys(asked.question.events.split(","))
    return _deliveries(desk, await desk.store.copies.find([*ids]), asked.peer)


def _deliveries(desk: Desk, events: Mapping[str, int], peer: str) -> Reply:
    if not desk.downloads.take():
        return busy(_TOO_MANY)
    for name in events:
        desk.revealed("deliveries", name, peer)
    return Lines(_lines(desk, [*events.values()]), desk.downloads.give_back)


async def _lines(desk: Desk, events: Sequence[int]) -> AsyncIterator[bytes]:
    after, is_more = (-1, 0), bool(events)
    while is_more:
        rows = await desk.store.copies.give(events, after=after, limit=_GIVEN_AT_ONCE)
        piece = b""
        for row in rows:
            piece += orjson.dumps(line_of(row), option=orjson.OPT_APPEND_NEWLINE)
            if len(piece) > _PIECE_BYTES or row is rows[-1]:
                yield piece
                piece = b""
        after = (rows[-1]["place"], rows[-1]["seq"]) if rows else after
        is_more = len(rows) == _GIVEN_AT_ONCE


async def rejections(desk: Desk, asked: Asked) -> Reply:
    """The last requests that were not believed, newest first: which check failed, never a value."""
    rows = await desk.store.rejections(limit=asked.question.limit)
    return _told(RejectionsPage(rejections=[rejection_view(row) for row in rows]))


async def stream(desk: Desk, asked: Asked) -> Reply:
    """Events as they are recorded, as server-sent events; those first that a cursor or `since` asks for.

    Each message has an event as its data and the event's cursor as its id, so that a reader that
    reconnects with Last-Event-ID goes on where it was. A message `gap` tells of events that are lost to
    this reader. Comments come every few seconds while nothing else does.
    """
    wanted, start = desk.wanted(asked.question), await _start(desk, asked)
    if not desk.streams.take():
        return busy("too many streams are being read")
    return Stream(
        store=desk.store,
        tail=desk.tail,
        cursors=desk.cursors,
        wanted=wanted,
        start=start,
        ending=desk.ending,
        release=desk.streams.give_back,
    )


async def _start(desk: Desk, asked: Asked) -> Start:
    """What was received last counts before what the URL says: it stays the same when readers reconnect."""
    question: StreamQuestion = asked.question
    seen = [value for name, value in asked.headers if name == b"last-event-id" and value]
    cursor = seen[-1].decode("latin-1") if seen else question.cursor
    newest = await desk.store.newest(after=-1, wait_ms=0)
    if cursor is None:
        return Start(0, is_known=False) if question.since else Start(newest, is_known=True)
    spot = desk.cursors.read(cursor)
    if spot is None or spot.seq > newest or await _is_replaced(desk, spot):
        return Start(0, is_known=False, is_foreign=True)
    return Start(spot.seq, is_known=True)


async def _is_replaced(desk: Desk, spot: Spot) -> bool:
    """Whether another event has the number by now: an older copy of the record was restored, and went on.

    Of an event that retention has removed nobody can say.
    """
    event = None if spot.mark is None else await desk.store.id_of(spot.seq)
    return event is not None and desk.cursors.mark(event) != spot.mark


async def openapi(desk: Desk, asked: Asked) -> Reply:
    """This document."""
    from receiver.api.document import document

    return Whole(200, await desk.in_thread(document))


def _told(view: View) -> Whole:
    return Whole(200, to_json(view))


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that the API can do."""

    path: str
    """With `{id}` where an event is named."""
    action: Callable[[Desk, Asked], Awaitable[Reply]]
    question: type[Question] = NoQuestion
    answer: type[BaseModel] | None = None
    """The model of a JSON answer."""
    begun: type[BaseModel] | None = None
    """The model of the answer 202."""
    body: type[Question] | None = None
    """What may be asked in the body."""
    kinds: tuple[str, ...] = ("application/json",)
    """The media types of its answer."""
    statuses: tuple[int, ...] = (200,)
    problems: tuple[int, ...] = ()
    """Beside those that any request may meet."""
    method: str = "GET"
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        pattern = re.escape(self.path).replace(r"\{id\}", "(?P<id>[A-Za-z0-9_]{1,64})")
        object.__setattr__(self, "pattern", re.compile(ROOT + pattern))


_FILE = ("application/octet-stream",)
OPERATIONS = (
    Operation("/events", events, PageQuestion, EventsPage, problems=(409,)),
    Operation("/events/{id}", event, answer=EventStory, problems=(404,)),
    Operation("/events/{id}/deliveries", deliveries, kinds=("application/x-ndjson",), problems=(404,)),
    Operation("/events/{id}/raw", raw, BodyQuestion, statuses=(200, 206, 304), problems=(404, 416)),
    Operation(
        "/events/{id}/video", video, kinds=("video/*", *_FILE), statuses=(200, 206, 304), problems=(404, 416)
    ),
    Operation("/deliveries", deliveries_of_several, DeliveriesQuestion, kinds=("application/x-ndjson",)),
    Operation("/rejections", rejections, RejectionsQuestion, RejectionsPage),
    Operation("/replays", replays, ReplaysQuestion, ReplaysPage),
    Operation(
        "/replays",
        order_replay,
        answer=Forecast,
        begun=ReplayView,
        body=ReplayOrder,
        statuses=(200, 202),
        problems=(404, 408, 409, 413, 415),
        method="POST",
    ),
    Operation("/stream", stream, StreamQuestion, kinds=("text/event-stream",)),
    Operation("/openapi.json", openapi),
)
