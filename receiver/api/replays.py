"""Replays through the API: asked for with their number, paced, one at a time, and always on record."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from os import urandom
from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from receiver import replay
from receiver.answers import RawHeaders, Receive
from receiver.api.desk import Asked, Desk
from receiver.api.questions import MOST_AT_ONCE, Filters, Limit, Question, complaint, said
from receiver.api.replies import Reply, Whole, busy, problem
from receiver.arrivals import Arrivals
from receiver.errors import BadQuestion, NotJson
from receiver.links import unsigned
from receiver.model import INLINE_BODY_LIMIT, iso
from receiver.record import Wish
from receiver.store.values import Row
from receiver.strict import parse_small
from receiver.views import Time, View, to_json

_MOST_IDS = 1000
_IDLE_SECONDS, _LEAST_RATE, _GRACE_SECONDS = 10.0, 1024.0, 10.0
_PACE = 100.0
_ONE_WAY: list[JsonValue] = [{"required": [name]} for name in ("events", "filter", "all")]
_ID = "^[A-Za-z0-9_]{1,64}$"
_NAME = "^[A-Za-z_][A-Za-z0-9_.-]{0,199}$"
_Id = Annotated[str, StringConstraints(pattern=_ID), said(_ID, "an id, or its beginning")]
_Name = Annotated[str, StringConstraints(pattern=_NAME), said(_NAME, "the name of a handler")]


def _whole(value: Any) -> Any:
    """JSON does not tell 1.0 from 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _yes(value: Any) -> Any:
    """Python takes 1 for True, JSON does not."""
    return value if isinstance(value, bool) else None


class ReplayOrder(Question):
    """What is to be replayed: exactly one of `events`, `filter` and `all`. No URL can be named here."""

    model_config = ConfigDict(strict=True, json_schema_extra={"oneOf": _ONE_WAY})

    events: list[_Id] = Field(
        default_factory=list, min_length=1, max_length=_MOST_IDS, description="By their ids."
    )
    filter: Filters = Field(Filters(), description="All that a list with these parameters would show.")
    all: Annotated[Literal[True], BeforeValidator(_yes)] = Field(True, description="Every event.")
    handlers: list[_Name] = Field(
        default_factory=list,
        max_length=100,
        description="Only these, whatever became of them, and what comes after them.",
    )
    again: bool = Field(False, description="Handlers that are done or still to run, too.")
    dry_run: bool = Field(False, description="Say what would be done, and do nothing.")
    expect: Annotated[int, Field(ge=0, le=10**9), BeforeValidator(_whole)] = Field(
        1, description="How many events are meant; it has to be said when it is more than one."
    )
    rate: Annotated[float, Field(ge=0.1, le=1000)] = Field(
        _PACE, description="At most so many events a second."
    )


class Forecast(View):
    """What a replay would do."""

    selected: int = Field(description="Events that are meant.")
    events: int = Field(description="Those of them that would get new jobs.")
    jobs: dict[str, int] = Field(description="How many, by handler.")
    left: dict[str, int] = Field(description="How many jobs would not be made, by reason.")


class ReplayView(View):
    """A replay, on record."""

    id: str = Field(description="Its id, which is in the context of handlers.")
    made_by: str = Field(description="Who asked for it.")
    wanted: dict[str, Any] = Field(description="Which events and handlers.")
    target: str | None = Field(description="Where bodies are posted; null when handlers run.")
    status: str = Field(description="open, finished or stopped.")
    began_at: Time = Field(description="When it began.")
    last_at: Time | None = Field(description="When it went on last.")
    ended_at: Time | None = Field(description="When it was over.")
    selected: int = Field(description="Events that are meant.")
    events: int = Field(description="Those that it has been through.")
    jobs: int = Field(description="Jobs that it has made, or requests.")
    failed: int = Field(description="Requests that were not accepted.")


class ReplaysPage(View):
    """The last replays, newest first."""

    replays: list[ReplayView] = Field(description="The replays.")


class ReplaysQuestion(Question):
    """Which replays."""

    id: _Id | None = Field(None, description="Only those whose id begins like this.")
    limit: Limit = Field(20, ge=1, le=MOST_AT_ONCE, description="At most so many.")


async def order_replay(desk: Desk, asked: Asked) -> Reply:
    """New jobs from stored events, beside the old ones.

    More than one event has to be expected by number (else the answer is 409, and says the number). It runs
    on when this is answered (202), at most `rate` events a second; /replays says how far it is.
    """
    order = await _read(asked.headers, asked.receive)
    occasion = replay.Occasion(f"API, from {asked.peer}", tuple(order.events), _wanted(desk, order))
    cards = await desk.store.published()
    for name in order.handlers:
        if name not in {card["name"] for card in cards}:
            return problem(404, "handlers: there is one that is not loaded")
    wish = Wish(cards, order.handlers, order.again, desk.replays.firsts())
    seqs = await replay.choose(desk.store, occasion)
    if order.dry_run:
        foreseen = await replay.foresee(desk.store, seqs, wish)
        return _told(200, Forecast(selected=len(seqs), **foreseen._asdict()))
    if len(seqs) > 1 and order.expect != len(seqs):
        return problem(409, f"{len(seqs)} events are meant: say so with expect")
    if not desk.replays.claim():
        return busy("another replay is running")
    with ExitStack() as failing:
        failing.callback(desk.replays.let_go)
        begun = await replay.begin(
            desk.store, occasion, selected=len(seqs), wish=wish, now=desk.now_ms(), random=urandom
        )
        failing.pop_all()
    run = partial(replay.run, desk.store, seqs, wish, begun, rate=order.rate)
    desk.replays.run(lambda stop: run(stop=stop))
    (row,) = await desk.store.replays.last(prefix=begun.replay, limit=1)
    return _told(202, replay_view(row))


def _wanted(desk: Desk, order: ReplayOrder) -> Any:
    return None if "events" in order.model_fields_set else desk.wanted(order.filter)


async def replays(desk: Desk, asked: Asked) -> Reply:
    """The last replays, newest first."""
    question: ReplaysQuestion = asked.question
    rows = await desk.store.replays.last(prefix=question.id or "", limit=question.limit)
    return _told(200, ReplaysPage(replays=[replay_view(row) for row in rows]))


def replay_view(row: Row) -> ReplayView:
    """A replay, from a row of `Replays.last`; what signs the URL that it posts to is left out."""
    times = {name: iso(row[name]) for name in ("began_at", "last_at", "ended_at")}
    known = {name: row[name] for name in ReplayView.model_fields}
    target = None if row["target"] is None else unsigned(row["target"])
    return ReplayView(**{**known, **times, "wanted": orjson.loads(row["wanted"]), "target": target})


def _told(status: int, view: View) -> Whole:
    return Whole(status, to_json(view))


async def _read(headers: RawHeaders, receive: Receive) -> ReplayOrder:
    """Read the body of a request. Raise BadQuestion, or whatever else is wrong with it."""
    kinds = [value.partition(b";")[0].strip().lower() for name, value in headers if name == b"content-type"]
    if kinds != [b"application/json"]:
        raise NotJson("the body must be application/json")
    if any(name == b"content-encoding" for name, _ in headers):
        raise NotJson("the body must not be compressed")
    arrivals = Arrivals(receive, INLINE_BODY_LIMIT, _IDLE_SECONDS, _LEAST_RATE, _GRACE_SECONDS)
    parts = []
    while not arrivals.is_complete:
        parts.append(await arrivals.next())
    raw = b"".join(parts)
    parse_small(raw)
    try:
        order = ReplayOrder.model_validate_json(raw)
    except ValidationError as error:
        raise BadQuestion(complaint(error)) from None
    if len(order.model_fields_set & {"events", "filter", "all"}) != 1:
        raise BadQuestion("exactly one of events, filter and all says what is meant")
    return order
