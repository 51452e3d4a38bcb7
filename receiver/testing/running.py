"""Run one handler on one event, as a worker would, and say what that attempt decided."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from receiver import dispatch, importing
from receiver.errors import HandlerError
from receiver.event import Event
from receiver.model import Json
from receiver.outcome import Outcome
from receiver.router import Handler, Router
from receiver.testing.context import RecordingContext

Runnable = str | Path | ModuleType | Router | Handler | Callable[..., Any]
"""A SPEC as in the configuration, a path, a module, a router, or the handler's function itself."""


def run(
    handler: Runnable,
    event: Event,
    context: RecordingContext | None = None,
    *,
    settings: BaseModel | Mapping[str, Any] | None = None,
    results: Mapping[str, Json] | None = None,
) -> Outcome:
    """Run the handler once and return Done, Retry, Fail or Cancel, whatever it did.

    Of several handlers the one that wants the event is run. Without a `context`, one is made of
    `settings` and `results`. An exception in the handler is a Retry that names it, with the
    traceback as the line `handler.raised` in `context.lines`. Raise HandlerError where a worker
    would not have run it, AssertionError for a request that the context has no answer for. In
    async code use `run_async`.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run_async(handler, event, context, settings=settings, results=results))
    raise RuntimeError("there is an event loop already: write `await run_async(…)`")


async def run_async(
    handler: Runnable,
    event: Event,
    context: RecordingContext | None = None,
    *,
    settings: BaseModel | Mapping[str, Any] | None = None,
    results: Mapping[str, Json] | None = None,
) -> Outcome:
    """Do what `run` does, within the running event loop."""
    chosen = _wanting(_handlers(handler), event)
    if context is None:
        context = RecordingContext(event, settings=settings, results=results)
    elif settings is not None or results is not None or context.event is not event:
        raise HandlerError("event, settings and results are the context's own: RecordingContext(event, …)")
    if chosen.after is not None and chosen.after not in context.results:
        mend = f'say what that one returned: results={{"{chosen.after}": …}}'
        raise HandlerError(f"{chosen.where}: it comes after {chosen.after}; {mend}")
    context.prepare(chosen)
    with ThreadPoolExecutor(1) as threads:
        ran = await dispatch.run(
            chosen,
            event,
            context,
            timeout_seconds=chosen.timeout.total_seconds(),
            threads=threads,
            log=context.log,
        )
    if context.unanswered:
        asked = context.unanswered[0]
        mend = f'context.answer("{asked.method}", "{asked.url}", …)'
        raise AssertionError(f"no answer was prepared for {asked.method} {asked.url}; prepare one: {mend}")
    return ran.outcome


def _handlers(given: Runnable) -> tuple[Handler, ...]:
    if isinstance(given, Handler):
        return (given,)
    if isinstance(given, Router):
        return given.handlers
    if isinstance(given, ModuleType):
        return _of_all(_routers_in(given))
    if isinstance(given, (str, Path)):
        spec = importing.find(str(given), base=Path.cwd())
        spec.forget()  # so that another test may use another file of this name
        return _of_all(spec.routers)
    module = sys.modules.get(getattr(given, "__module__", None) or "")
    routers = [] if module is None else _routers_in(module)
    found = tuple(handler for handler in _of_all(routers) if handler.function is given)
    if not found:
        name = getattr(given, "__name__", repr(given))
        mend = "pass its router, or put @router.on(…) above it at the top of its module"
        raise HandlerError(f"{name} is no handler of a router in its module; {mend}")
    return found


def _routers_in(module: ModuleType) -> list[Router]:
    return [value for value in vars(module).values() if isinstance(value, Router)]


def _of_all(routers: Iterable[Router]) -> tuple[Handler, ...]:
    return tuple(handler for router in routers for handler in router.handlers)


def _wanting(handlers: tuple[Handler, ...], event: Event) -> Handler:
    wanting = [one for one in handlers if one.card.matches(source=event.source, type=event.type)]
    names = ", ".join(one.name for one in handlers) or "there is no handler"
    if not wanting:
        raise HandlerError(f"no handler wants a {event.type} of {event.source}: {names}")
    if len(wanting) > 1:
        several = " and ".join(one.name for one in wanting)
        raise HandlerError(f"{several} want a {event.type} of {event.source}: pass the function of one")
    return wanting[0]
