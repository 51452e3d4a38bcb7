"""What may be asked: the query parameters of each operation, read strictly, named when they are wrong."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from receiver.api.cursors import PATTERN
from receiver.errors import BadQuestion
from receiver.life import JobState
from receiver.model import EventType
from receiver.store.values import EventFilter
from receiver.units import moment

Q = TypeVar("Q", bound="Question")
MOST_AT_ONCE = 1000
_MOST_PARAMETERS = 20
_LONGEST_QUERY = 4096
_ID = "evt_[0-9a-z]{1,60}"
_AGE = "[0-9]{1,4}([.][0-9]{1,3})?(ms|s|m|h|d)|[0-9]{1,3}([.][0-9]{1,3})?w"
_YEAR = "(19|20)[0-9]{2}"
_DAY = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_LEAP_DAY = "((19|20)(0[48]|[2468][048]|[13579][26])|2000)-02-29"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?"
_ZONE = "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?"


def _digits(value: Any) -> Any:
    """Only plain digits are a number in a query."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) < 10):
        raise ValueError("must be a whole number")
    return value


def said(pattern: str, meaning: str) -> BeforeValidator:
    """Tell whoever wrote something else what was meant: the pattern of a text is for programs."""
    meant = re.compile(pattern)

    def check(value: Any) -> Any:
        if isinstance(value, str) and meant.fullmatch(value) is None:
            raise ValueError(f"must be {meaning}")
        return value

    return BeforeValidator(check)


_MOMENT = f"^({_AGE}|({_YEAR}-{_DAY}|{_LEAP_DAY})(T{_CLOCK}{_ZONE})?)$"
_SOURCE = "^[a-z0-9][a-z0-9_-]{0,62}$"
_VIDEO = r"^[^\x00-\x1f\x7f]+$"
_SHA256 = "^[0-9a-f]{64}$"
_A_MOMENT = "an age such as 1h, or a date and time such as 2026-01-31T12:00:00Z"
_A_SOURCE = "the name of a source: lower-case letters, digits, - and _"
Moment = Annotated[str, StringConstraints(pattern=_MOMENT), said(_MOMENT, _A_MOMENT)]
Cursor = Annotated[str, StringConstraints(pattern=PATTERN), said(PATTERN, "a cursor that was given here")]
Limit = Annotated[int, BeforeValidator(_digits)]


class Question(BaseModel):
    """Nothing may be asked but what is named here."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Filters(Question):
    """Which events."""

    source: Annotated[str, StringConstraints(pattern=_SOURCE), said(_SOURCE, _A_SOURCE)] | None = Field(
        None, description="Only this source."
    )
    type: EventType | None = Field(None, description="Only this event type.")
    state: JobState | None = Field(None, description="Any of its jobs is in this state.")
    since: Moment | None = Field(
        None,
        description="Received at this time or after: an age (90s, 2h, 7d), or a date and time, in UTC unless "
        "its zone is said.",
    )
    until: Moment | None = Field(None, description="Received before this age or time.")
    video: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=256, pattern=_VIDEO),
            said(_VIDEO, "an id without control characters"),
        ]
        | None
    ) = Field(None, description="Only this video.")

    def wanted(self, *, now_ms: int) -> EventFilter:
        """The filter that the store understands. Raise BadQuestion for a day that doesn't exist."""
        return EventFilter(
            source=self.source,
            type=self.type,
            state=self.state,
            since=_milliseconds("since", self.since, now_ms),
            until=_milliseconds("until", self.until, now_ms),
            video=self.video,
        )


class PageQuestion(Filters):
    """A page of events."""

    limit: Limit = Field(100, ge=1, le=MOST_AT_ONCE, description="At most so many.")
    cursor: Cursor | None = Field(None, description="Go on where another page ended: its `next`.")


class StreamQuestion(Filters):
    """From where on events are followed; from now on, when neither `cursor` nor `since` says it."""

    cursor: Cursor | None = Field(
        None, description="After this event: the id of a message, or a page's `next`."
    )


class DeliveriesQuestion(Question):
    """Whose deliveries."""

    events: Annotated[str, StringConstraints(pattern=f"^{_ID}(,{_ID}){{0,99}}$", max_length=3299)] = Field(
        description="The whole ids of at most 100 events, with commas between them."
    )


class BodyQuestion(Question):
    """Whose body."""

    sha256: (
        Annotated[str, StringConstraints(pattern=_SHA256), said(_SHA256, "64 hexadecimal digits")] | None
    ) = Field(
        None, description="That of another delivery of the event, over 64 KiB; else that of the first one."
    )


class RejectionsQuestion(Question):
    """How many rejections."""

    limit: Limit = Field(100, ge=1, le=MOST_AT_ONCE, description="At most so many.")


def read(query: bytes, model: type[Q]) -> Q:
    """Read a query string. Raise BadQuestion, which names the parameter and never repeats its value."""
    if len(query) > _LONGEST_QUERY:
        raise BadQuestion("the query is too long")
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError as error:  # what can't be decoded is one, too
        raise BadQuestion("the query is not well-formed") from error
    names = [name for name, _ in pairs]
    for name in names:
        if name not in model.model_fields:
            raise BadQuestion(f"{_shown(name)}: unknown parameter; {_known(model)}")
        if names.count(name) > 1:
            raise BadQuestion(f"{name}: given more than once")
    return checked(model, dict(pairs))


def checked(model: type[Q], values: Any) -> Q:
    """Validate what was said. Raise BadQuestion."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise BadQuestion(complaint(error)) from None


def complaint(error: ValidationError) -> str:
    """Say what is wrong first, and where, without repeating any of it."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = _shown(".".join(str(part) for part in first["loc"][:2]))
    said = first["msg"].removeprefix("Value error, ")
    return f"{where or 'the body'}: {said[0].lower()}{said[1:]}"


def _known(model: type[Question]) -> str:
    names = ", ".join(model.model_fields)
    return f"known are {names}" if names else "none is known here"


def _shown(name: str) -> str:
    """A name fit to be repeated: short, and no more than plain characters."""
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in name[:40])


def _milliseconds(name: str, text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    try:
        return moment(text, now_ms=now_ms, zone=UTC)
    except ValueError as error:
        raise BadQuestion(f"{name}: {error}") from error


def utc_now_ms() -> int:
    """Now, in unix milliseconds."""
    return int(datetime.now(UTC).timestamp() * 1000)
