"""What a declaration may look like: the function and the arguments of `@router.on`, checked at once.

Every check takes `at`, the place of the function, and raises HandlerError with place and mend.
"""

from __future__ import annotations

import inspect
from datetime import timedelta
from inspect import Parameter
from typing import Any, NoReturn

from pydantic import BaseModel

from receiver.errors import HandlerError
from receiver.mistakes import did_you_mean, place, place_of_frame
from receiver.model import EVENT_TYPES
from receiver.units import duration

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_MEND = "write (event, context), (event) or ()"
_NAMES = {"event": "event", "evt": "event", "context": "context", "ctx": "context"}
_CLASSES = {"Event": "event", "Context": "context"}
NO_INSTANCE = "the class Router itself is used; write router = Router() with parentheses, then @router.on(…)"


def check_use(router: object, types: tuple[object, ...]) -> None:
    """Raise HandlerError when `@router.on` is used without parentheses, or on the class Router."""
    if inspect.isfunction(router):
        raise HandlerError(f"{place(router)}: {NO_INSTANCE}")
    if types and inspect.isfunction(types[0]):
        mend = '@router.on needs parentheses and an event type; write @router.on("video.completed")'
        raise HandlerError(f"{place(types[0])}: {mend}")
    if types and inspect.isclass(types[0]):
        check_kind(types[0])


def check_kind(function: Any) -> None:
    """Raise HandlerError unless it is an ordinary named function, plain or async."""
    if not inspect.isfunction(function):
        _refuse_object(function)
    at = place(function)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise HandlerError(f"{at}: a handler can't be a generator; return one value instead of using yield")
    if function.__name__ == "<lambda>":
        raise HandlerError(f"{at}: a lambda has no name to keep jobs under; write it with def")


def takes(function: Any) -> int:
    """Say how many arguments a handler is called with: 0, 1 (event) or 2 (event, context).

    A parameter with a default is filled only when its name or annotation says that it is the event
    or the context; any other keeps its default. Raise HandlerError when it can't be called so.
    """
    at = place(function)
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in ("self", "cls"):
        raise HandlerError(f"{at}: a handler can't be a method; move it out of the class")
    _refuse_keywords(parameters, at)
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    required = [p for p in positional if p.default is Parameter.empty]
    if len(required) > 2:
        names = ", ".join(p.name for p in required)
        problem = f"it wants {len(required)} arguments ({names}), a handler gets at most two"
        raise HandlerError(f"{at}: {problem}; {_MEND}")
    _refuse_swapped(positional, at)
    if len(positional) < 2 and any(p.kind is Parameter.VAR_POSITIONAL for p in parameters):
        mend = f"{_MEND}; if that is another decorator's doing, it needs functools.wraps"
        raise HandlerError(f"{at}: *args does not say how many arguments it takes; {mend}")
    return _filled(positional)


def event_types(types: tuple[object, ...], *, at: str) -> frozenset[str]:
    """Check the event types: at least one, each of the four."""
    valid = ", ".join(EVENT_TYPES)
    if not types:
        raise HandlerError(f'{at}: no event type; write @router.on("video.completed"); valid are: {valid}')
    for type_ in types:
        if not isinstance(type_, str):
            mend = 'write each as text of its own: @router.on("video.completed", "video.failed")'
            raise HandlerError(f"{at}: an event type can't be a {type(type_).__name__}; {mend}")
        if type_ not in EVENT_TYPES:
            near = did_you_mean(type_, EVENT_TYPES)
            listed = "" if valid in near else f" valid are: {valid}"
            raise HandlerError(f'{at}: there is no event type "{type_}"; {near}{listed}')
    return frozenset(str(type_) for type_ in types)


def count(value: object, *, name: str, at: str) -> int:
    """Check a whole number from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise HandlerError(f"{at}: {name}={value!r} must be a whole number, 1 or more")
    return value


def limit(concurrency: object, *, at: str) -> int | None:
    """Check how many jobs may run at once; None is no limit."""
    return None if concurrency is None else count(concurrency, name="concurrency", at=at)


def timeout_of(value: str | float | timedelta, *, at: str) -> timedelta:
    """Read the time limit of one attempt; it is never zero."""
    try:
        timeout = duration(value)
    except ValueError as error:
        raise HandlerError(f"{at}: timeout={value!r}: {error}") from error
    if not timeout:
        raise HandlerError(f'{at}: timeout={value!r} leaves no time to run; write for example timeout="10m"')
    return timeout


def source_of(value: object, *, at: str) -> str | None:
    """Check the name of a source, whether configured or not."""
    if value is None or (isinstance(value, str) and value):
        return value
    raise HandlerError(f'{at}: source={value!r} must be a name as text, for example source="opennote"')


def after_of(value: object, *, at: str) -> str | None:
    """Read the name of the handler to wait for, in its short form where there is one."""
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        shown = f"the function {value.__name__}" if inspect.isfunction(value) else repr(value)
        mend = 'write its name as text: after="router.function"'
        raise HandlerError(f"{at}: after is {shown}, not the name of a handler; {mend}")
    router, _, function = value.partition(".")
    return handler_name(router, function=function) if function else value


def settings_model(value: object, *, at: str) -> type[BaseModel] | None:
    """Check the model of a router's settings."""
    if value is None or (inspect.isclass(value) and issubclass(value, BaseModel)):
        return value
    shown = value.__name__ if inspect.isclass(value) else repr(value)
    mend = "write class Settings(BaseModel): … and Router(settings=Settings)"
    raise HandlerError(f"{at}: settings={shown} is not a subclass of pydantic's BaseModel; {mend}")


def handler_name(router: str, *, function: str) -> str:
    """`router.function`, or just the router's name where both are the same."""
    return router if router == function else f"{router}.{function}"


def _refuse_object(thing: Any) -> NoReturn:
    # It has no code of its own to be found by, so the line that decorates it is named.
    frame = inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__", "")) in (__name__, "receiver.router"):
        frame = frame.f_back
    at = place_of_frame(frame) if frame else "?"
    kind = f"the class {thing.__name__}" if inspect.isclass(thing) else f"a {type(thing).__name__}"
    mend = "put it above a function: def name(event, context)"
    raise HandlerError(f"{at}: @router.on stands above {kind}, not above a function; {mend}")


def _refuse_keywords(parameters: list[Parameter], at: str) -> None:
    for parameter in parameters:
        if parameter.kind is Parameter.KEYWORD_ONLY and parameter.default is Parameter.empty:
            mend = "give it a default or read it from context.settings"
            raise HandlerError(f"{at}: nobody passes the keyword argument {parameter.name}; {mend}")


def _refuse_swapped(positional: list[Parameter], at: str) -> None:
    roles = [_role(parameter) for parameter in positional[:2]]
    if roles[:1] == ["context"] and len(positional) == 1:
        mend = f"write (event, {positional[0].name})"
        raise HandlerError(f"{at}: the first argument is the event, not the context; {mend}")
    if roles[:1] == ["context"] or roles[1:] == ["event"]:
        names = f"{positional[1].name}, {positional[0].name}"
        raise HandlerError(f"{at}: the arguments are swapped, the event comes first; write ({names})")


def _role(parameter: Parameter) -> str | None:
    annotation = parameter.annotation
    named = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    written = named.strip("\"'").partition(" | ")[0].rpartition(".")[2]
    return _CLASSES.get(written) or _NAMES.get(parameter.name)


def _filled(positional: list[Parameter]) -> int:
    count = 0
    for parameter, role in zip(positional, ("event", "context"), strict=False):
        if parameter.default is not Parameter.empty and _role(parameter) != role:
            break
        count += 1
    return count
