"""Load handlers: import what the SPECs name, check that the declarations fit together, read settings."""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from receiver import handler_settings, importing
from receiver.errors import HandlerError
from receiver.mistakes import did_you_mean
from receiver.router import OWN, Handler, Router
from receiver.user_code import run_user_code


@dataclass(frozen=True, slots=True)
class Loaded:
    """Handlers that are ready to run."""

    handlers: tuple[Handler, ...]
    """In the order of the SPECs, then of their declaration."""
    settings: dict[str, BaseModel | None]
    """The settings of each router, by its name; None when it declares none."""
    warnings: tuple[str, ...]
    """What is odd but does no harm, one line each."""

    def with_router(self, router: Router) -> Loaded:
        """These, and those of a router that nobody has to load."""
        taken = {handler.name for handler in self.handlers} & {handler.name for handler in router.handlers}
        if taken:
            raise HandlerError(
                f"a handler may not be called {min(taken)!r}: the receiver has one of that name"
            )
        settings = {**self.settings, str(router.name): None}
        return replace(self, handlers=(*self.handlers, *router.handlers), settings=settings)


_SLOW_SECONDS = 5.0


@contextmanager
def told_when_slow(specs: Sequence[str]) -> Iterator[None]:
    """Print a line to standard error when loading takes long: a module that hangs says nothing itself."""
    named = "".join(char if char.isprintable() else repr(char)[1:-1] for char in ", ".join(specs))
    line = f"receiver: handlers are still being loaded: {named}\n"
    timer = threading.Timer(_SLOW_SECONDS, sys.stderr.write, (line,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def load(
    specs: Sequence[str],
    *,
    folder: Path,
    tables: Mapping[str, Mapping[str, Any]],
    sources: Collection[str] | None = None,
    relative_to: Path | None = None,
) -> Loaded:
    """Load the handlers of all `specs`, with their settings from `tables` (router name → table).

    `folder` is the configuration's: it becomes importable, and relative paths in settings start
    there. Relative paths among the SPECs start from `relative_to` (the current directory for
    those of the command line), else from `folder`. `sources` are the configured ones; None leaves
    `source=` unchecked. A module that is loaded already is not run again, the settings are read afresh.
    Raise HandlerError for the first mistake; what was imported for this call is then forgotten.
    """
    folder = folder.absolute()
    base = relative_to.absolute() if relative_to else folder
    is_new_folder = str(folder) not in sys.path
    if is_new_folder:
        # At the end, so that no file of the folder can take the place of an installed module.
        sys.path.append(str(folder))
    found: list[importing.Found] = []
    try:
        for spec in dict.fromkeys(specs):
            each = importing.find(spec, base=base)
            found.append(each)
        return _fitted(found, tables, sources, folder)
    except HandlerError:
        for each in found:
            each.forget()
        if is_new_folder:
            sys.path.remove(str(folder))
        raise


def _fitted(
    found: Iterable[importing.Found],
    tables: Mapping[str, Mapping[str, Any]],
    sources: Collection[str] | None,
    folder: Path,
) -> Loaded:
    labels = {router: each.label for each in reversed(list(found)) for router in each.routers}
    routers = _by_name(found)
    settings = {
        name: handler_settings.validate(
            router.settings, tables.get(name), name=name, label=labels[router], folder=folder
        )
        for name, router in routers.items()
    }
    declared = {name: _declared(router, settings[name]) for name, router in routers.items()}
    handlers = tuple(handler for each in declared.values() for handler in each)
    by_name = _unique(handlers)
    for handler in handlers:
        _check_source(handler, sources)
        _check_after(handler, by_name)
    idle = [
        f"{labels[router]}: the router {name} has no handlers; put @router.on(…) above a function"
        for name, router in routers.items()
        if not declared[name]
    ]
    return Loaded(handlers, settings, (*idle, *_unused(tables, routers), *_never_met(handlers, by_name)))


def _declared(router: Router, settings: BaseModel | None) -> tuple[Handler, ...]:
    return run_user_code(lambda: router.handlers_with(settings))


def _by_name(found: Iterable[importing.Found]) -> dict[str, Router]:
    """All routers, each once; a router without handlers goes by its module's name."""
    routers: dict[str, Router] = {}
    labels: dict[str, str] = {}
    for each in found:
        for router in each.routers:
            name = router.name or each.module.__name__.rpartition(".")[2]
            if name == OWN:
                mend = 'give yours another one: Router(name="…")'
                raise HandlerError(f"{each.label}: the name {OWN} is that of the receiver's own jobs; {mend}")
            if routers.setdefault(name, router) is not router:
                files = " and ".join(dict.fromkeys((labels[name], each.label)))
                mend = 'give one of them a name of its own: Router(name="…")'
                raise HandlerError(f"{files}: two routers are named {name}; {mend}")
            labels.setdefault(name, each.label)
    return routers


def _unique(handlers: Iterable[Handler]) -> dict[str, Handler]:
    by_name: dict[str, Handler] = {}
    for handler in handlers:
        other = by_name.setdefault(handler.name, handler)
        if other.function is not handler.function:
            mend = f"rename one; the other is at {other.where}"
            raise HandlerError(f"{handler.where}: two handlers are named {handler.name}; {mend}")
        if other is not handler:
            mend = "put all its event types into one @router.on(…)"
            raise HandlerError(f"{handler.where}: it is declared twice as {handler.name}; {mend}")
    return by_name


def _check_source(handler: Handler, sources: Collection[str] | None) -> None:
    if sources is not None and handler.source is not None and handler.source not in sources:
        near = did_you_mean(handler.source, sources, otherwise="no source is configured, add [sources.NAME]")
        raise HandlerError(f'{handler.where}: the source "{handler.source}" is not configured; {near}')


def _check_after(handler: Handler, by_name: Mapping[str, Handler]) -> None:
    """Follow `after` until it ends, or comes round."""
    chain = [handler.name]
    after = handler.after
    while after is not None:
        if after not in by_name:
            waiting = by_name[chain[-1]]
            mend = _nearest_handler(waiting, by_name)
            raise HandlerError(f'{waiting.where}: after="{after}" names no loaded handler; {mend}')
        if after == handler.name:
            circle = " after ".join([*chain, after])
            problem = "it waits for itself" if len(chain) == 1 else f"handlers wait for each other ({circle})"
            raise HandlerError(f"{handler.where}: {problem}; remove an after=")
        if after in chain:
            return  # a circle that this handler only leads to is reported from within it
        chain.append(after)
        after = by_name[after].after


def _nearest_handler(handler: Handler, by_name: Mapping[str, Handler]) -> str:
    sibling = f"{handler.router_name}.{handler.after}"
    if sibling in by_name:
        return f'did you mean "{sibling}"?'
    others = [name for name in by_name if name != handler.name]
    return did_you_mean(str(handler.after), others, otherwise="there is no other, load it or remove after=")


def _unused(tables: Mapping[str, Any], routers: Mapping[str, Router]) -> list[str]:
    return [
        f"[handlers.{name}]: no such router is loaded; {did_you_mean(name, routers, otherwise='none is')}"
        for name in tables
        if name not in routers
    ]


def _never_met(handlers: Iterable[Handler], by_name: Mapping[str, Handler]) -> list[str]:
    """Jobs that would be born cancelled on every event, as what they wait for never runs there."""
    warnings = []
    for handler in handlers:
        if handler.after is None:
            continue
        other = by_name[handler.after]
        types = sorted(handler.types - other.types)
        if types:
            on = " and ".join(types)
            warnings.append(
                f"{handler.where}: never runs on {on}, as {other.name} does not, which it comes after"
            )
        if other.source is not None and other.source != handler.source:
            what = f"runs on events of {other.source} only, as {other.name} does, which it comes after"
            warnings.append(f"{handler.where}: {what}")
    return warnings
