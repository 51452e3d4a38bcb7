"""Declare handlers, and say which of them run on an event; nothing here imports, reads or runs anything."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from receiver import declaration
from receiver.errors import HandlerError
from receiver.life import JobState
from receiver.mistakes import place
from receiver.model import EVENT_TYPES

_Function = TypeVar("_Function", bound=Callable[..., Any])
OWN = "receiver"
"""The router name of the receiver's own jobs; nobody else's may have it."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class HandlerCard:
    """What ingress and store may know of a handler: no code, and every value has a JSON form."""

    name: str
    types: tuple[str, ...]
    source: str | None
    attempts: int
    timeout_seconds: float
    concurrency: int | None
    after: str | None
    summary: str

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> HandlerCard:
        """Rebuild a card from the JSON object of its fields."""
        return cls(**{**fields, "types": tuple(fields["types"])})

    def matches(self, *, source: str, type: str) -> bool:  # noqa: A002 - the event's own word
        """Say whether the handler wants such an event."""
        return type in self.types and self.source in (None, source)


@dataclass(frozen=True, slots=True)
class Handler:
    """A function declared for some events."""

    name: str
    """`router.function`, or just the router's name where both are the same."""
    router_name: str
    function: Callable[..., Any]
    types: frozenset[str]
    source: str | None
    """The only source whose events it wants; None = every source."""
    attempts: int
    timeout: timedelta
    concurrency: int | None
    """How many of its jobs may run at once; None = as many as the workers take."""
    after: str | None
    """The name of the handler whose job must be done first."""
    settings_model: type[BaseModel] | None
    takes: int
    """How many arguments it is called with: 0, 1 (event) or 2 (event, context)."""
    is_async: bool
    where: str
    """For example "hooks.py:12, function publish"."""
    summary: str
    """The first line of its docstring, or empty."""

    @property
    def card(self) -> HandlerCard:
        """What may leave the process."""
        return HandlerCard(
            name=self.name,
            types=tuple(type_ for type_ in EVENT_TYPES if type_ in self.types),
            source=self.source,
            attempts=self.attempts,
            timeout_seconds=self.timeout.total_seconds(),
            concurrency=self.concurrency,
            after=self.after,
            summary=self.summary,
        )


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job that an event is born with: `ready`, `waiting` for `after`, or `cancelled` for a `reason`."""

    handler: str
    state: JobState
    after: str | None
    reason: str | None


def plan(
    cards: Sequence[HandlerCard],
    *,
    source: str,
    type: str,  # noqa: A002 - the event's own word
    first: str | None = None,
) -> tuple[PlannedJob, ...]:
    """Say which jobs an event of this source and type gets, in the order of the cards.

    `first` is a job of the receiver's own: what would be ready waits for it. The answer depends on
    nothing else, so a caller in a hurry may keep it.
    """
    matched = {card.name: card for card in cards if card.matches(source=source, type=type)}
    planned = tuple(_planned(card, matched) for card in matched.values())
    if first is None:
        return planned
    own = PlannedJob(first, JobState.READY, None, None)
    return (own, *(_after(first, job) for job in planned))


def _after(first: str, job: PlannedJob) -> PlannedJob:
    return PlannedJob(job.handler, JobState.WAITING, first, None) if job.state is JobState.READY else job


def _planned(card: HandlerCard, matched: Mapping[str, HandlerCard]) -> PlannedJob:
    if card.after is None:
        return PlannedJob(card.name, JobState.READY, None, None)
    if card.after not in matched:
        reason = f"it comes after {card.after}, which does not run on this event"
        return PlannedJob(card.name, JobState.CANCELLED, card.after, reason)
    if not _can_start(matched[card.after], matched):
        reason = f"it comes after {card.after}, which is cancelled"
        return PlannedJob(card.name, JobState.CANCELLED, card.after, reason)
    return PlannedJob(card.name, JobState.WAITING, card.after, None)


def _can_start(card: HandlerCard, matched: Mapping[str, HandlerCard]) -> bool:
    """Follow `after` upwards; it must end at a handler that waits for nobody."""
    seen: set[str] = set()
    while card.after is not None:
        if card.after not in matched or card.name in seen:
            return False
        seen.add(card.name)
        card = matched[card.after]
    return True


class Router:
    """The handlers of one module, with their settings.

    `name` is the last part of the module's name unless it is given; `[handlers.NAME]` in the
    configuration is validated by the `settings` model and reaches handlers as `context.settings`.
    """

    def __init__(self, *, name: str | None = None, settings: type[BaseModel] | None = None) -> None:
        self.name = name
        self.settings = settings
        self._handlers: list[Handler] = []
        self._from_settings: Callable[[Router, Any], None] | None = None

    @property
    def handlers(self) -> tuple[Handler, ...]:
        """What has been declared so far, in that order."""
        return tuple(self._handlers)

    def handlers_with(self, settings: BaseModel | None) -> tuple[Handler, ...]:
        """What has been declared, and what `from_settings` declares for these settings."""
        if self._from_settings is None:
            return self.handlers
        configured = Router(name=self.name, settings=self.settings)
        self._from_settings(configured, settings)
        return (*self.handlers, *configured.handlers)

    def from_settings(self, function: Callable[[Router, Any], None]) -> Callable[[Router, Any], None]:
        """Let the function below declare handlers that depend on the settings.

        It is called with a router and the settings when handlers are loaded, and uses `on` with
        `name=`. Settings that are read afresh later change no handlers.
        """
        self._name_after(function, place(function))
        self._from_settings = function
        return function

    def on(
        self,
        *types: str,
        source: str | None = None,
        attempts: int = 20,
        timeout: str | float | timedelta = "10m",
        concurrency: int | None = None,
        after: str | None = None,
        name: str | None = None,
    ) -> Callable[[_Function], _Function]:
        """Declare the function below as a handler of these event types; it is returned unchanged.

        `timeout` is for one attempt: text such as "90s", seconds, or a timedelta. `concurrency` limits
        how many of its jobs run at once. `after` names the handler whose job must be done first.
        `name` stands for the function's own in the handler's name.
        Raise HandlerError, with file, function and mend, for anything that could not work.
        """
        declaration.check_use(self, types)

        def declare(function: _Function) -> _Function:
            if not isinstance(self, Router):
                raise HandlerError(f"{place(function)}: {declaration.NO_INSTANCE}")
            declaration.check_kind(function)
            at = place(function)
            self._name_after(function, at)
            handler = Handler(
                name=declaration.handler_name(
                    str(self.name), function=function.__name__ if name is None else _checked(name, at)
                ),
                router_name=str(self.name),
                function=function,
                types=declaration.event_types(types, at=at),
                source=declaration.source_of(source, at=at),
                attempts=declaration.count(attempts, name="attempts", at=at),
                timeout=declaration.timeout_of(timeout, at=at),
                concurrency=declaration.limit(concurrency, at=at),
                after=declaration.after_of(after, at=at),
                settings_model=declaration.settings_model(self.settings, at=at),
                takes=declaration.takes(function),
                is_async=inspect.iscoroutinefunction(function),
                where=at,
                summary=next(iter((inspect.getdoc(function) or "").splitlines()), ""),
            )
            self._handlers.append(handler)
            return function

        return declare

    def _name_after(self, function: Callable[..., Any], at: str) -> None:
        """Take the name of the first function's module, unless there is a name."""
        name = (function.__module__ or "").rpartition(".")[2] if self.name is None else self.name
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == "load":
            mend = 'choose one of letters, digits, "_" and "-" (but not "load"): Router(name="…")'
            raise HandlerError(f"{at}: {name!r} can't be a router's name; {mend}")
        self.name = name


def _checked(name: object, at: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        mend = 'choose one of letters, digits, "_" and "-" that begins with no digit'
        raise HandlerError(f"{at}: name={name!r} can't be a handler's name; {mend}")
    return name
