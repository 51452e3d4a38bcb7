"""Run ONE handler once and turn whatever happens into an outcome; it neither retries nor stores."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import orjson
from pydantic import BaseModel

from receiver.errors import Hopeless, Unfinished
from receiver.event import Event
from receiver.mistakes import code_of
from receiver.outcome import Cancel, Done, Fail, Outcome, Retry
from receiver.router import Handler
from receiver.units import in_words

RESULT_LIMIT = 64 * 1024
"""Bytes of JSON that are kept of what a handler returns."""

_GRACE_SECONDS = 5.0
_LONGEST_ASKED_SECONDS = 86400.0
_TEXT_LIMIT = 4096
_FRAMES = 5


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one attempt."""

    outcome: Outcome
    is_abandoned: bool = False
    """Whether the function still runs, past its time: nothing can stop it but the end of the process."""
    error_class: str | None = None
    """The class of what was raised (TimeoutError for an overrun); None for outcomes, raised or returned."""


@dataclass(frozen=True, slots=True)
class _Returned:
    value: Any


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


_Ending = _Returned | _Raised
_Function = Callable[..., Any]
_DECIDED = (Retry, Fail, Cancel, Hopeless, Unfinished)


async def run(
    handler: Handler,
    event: Event,
    context: object,
    *,
    timeout_seconds: float,
    threads: Executor,
    log: Any,
    grace_seconds: float = _GRACE_SECONDS,
) -> Ran:
    """Run `handler` on `event`; an async one as a task of this loop, a plain one in `threads`.

    The task carries the handler's name. An async handler that is out of time is cancelled and has
    `grace_seconds` to clean up. Raise CancelledError only when the caller itself is cancelled; the
    handler is told so, too, and a thread goes on alone.
    """
    arguments = (event, context)[: handler.takes]
    job = None if handler.is_async else _start_thread(threads, handler.function, arguments)
    task = asyncio.create_task(_run(handler.function, arguments, job), name=handler.name)
    try:
        await asyncio.wait({task}, timeout=timeout_seconds)
    except asyncio.CancelledError:
        await _stop(task, grace_seconds)
        raise
    if task.done():
        return _judged(_ending_of(task), handler, log)
    is_queued = job is not None and job.cancel()
    await _stop(task, grace_seconds)
    late = _late_ending(task, job)
    if late is not None:
        return _judged(late, handler, log)
    why = "no thread was free" if is_queued else "did not finish"
    is_abandoned = not task.done() or (job is not None and not job.done())
    return Ran(Retry(reason=f"{why} within {in_words(timeout_seconds)}"), is_abandoned, "TimeoutError")


def _start_thread(threads: Executor, function: _Function, arguments: tuple[Any, ...]) -> Future[_Ending]:
    return threads.submit(contextvars.copy_context().run, _call, function, arguments)


async def _run(function: _Function, arguments: tuple[Any, ...], job: Future[_Ending] | None) -> _Ending:
    ending = _call(function, arguments) if job is None else await asyncio.wrap_future(job)
    if isinstance(ending, _Returned) and inspect.isawaitable(ending.value):
        return await _await(ending.value)
    return ending


# Whatever a handler raises is an attempt's ending, and no reason for the worker to end: that includes
# SystemExit (somebody's sys.exit()), KeyboardInterrupt (in a worker, Ctrl-C raises none) and a cancellation
# that nobody asked for. It travels as a value, because a task lets the first two through to the loop,
# and a future refuses StopIteration.
def _call(function: _Function, arguments: tuple[Any, ...]) -> _Ending:
    try:
        return _Returned(function(*arguments))
    except BaseException as error:  # noqa: BLE001
        return _Raised(error)


async def _await(awaitable: Awaitable[Any]) -> _Ending:
    try:
        return _Returned(await awaitable)
    except BaseException as error:  # noqa: BLE001
        return _Raised(error)


async def _stop(task: asyncio.Task[_Ending], grace_seconds: float) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=grace_seconds)


def _ending_of(task: asyncio.Task[_Ending]) -> _Ending:
    return _Raised(asyncio.CancelledError()) if task.cancelled() else task.result()


def _late_ending(task: asyncio.Task[_Ending], job: Future[_Ending] | None) -> _Ending | None:
    """What the handler decided although its time was over; None when it was cut off, or goes on."""
    ending: _Ending | None = None
    if task.done() and not task.cancelled():
        ending = task.result()
    elif job is not None and job.done() and not job.cancelled():
        ending = job.result()
    return None if isinstance(ending, _Raised) and not isinstance(ending.error, _DECIDED) else ending


def _judged(ending: _Ending, handler: Handler, log: Any) -> Ran:
    if isinstance(ending, _Returned):
        return Ran(_judge_value(ending.value))
    error = ending.error
    # A TaskGroup wraps even the only error in a group.
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    name = type(error).__name__
    if isinstance(error, (Retry, Fail, Cancel)):
        return Ran(_tidied(error))
    if isinstance(error, Hopeless):
        return Ran(Fail(_text(error)), error_class=name)
    if isinstance(error, Unfinished):
        seconds = error.retry_after_seconds
        after = None if seconds is None else min(max(0.0, seconds), _LONGEST_ASKED_SECONDS)
        return Ran(Retry(after, _text(error)), error_class=name)
    return Ran(Retry(reason=_report(error, handler, log)), error_class=name)


def _report(error: BaseException, handler: Handler, log: Any) -> str:
    frames = _own_frames(error, handler)
    text = _text(error)
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if frames:
        reason += f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})"
    # An error with an absurdly long text is logged without its traceback, which would repeat it all.
    exc_info = error if len(text) < _TEXT_LIMIT else None
    shown = [f"{PurePath(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames[-_FRAMES:]]
    log.warning("handler.raised", handler=handler.name, error=reason, frames=shown, exc_info=exc_info)
    return reason


def _own_frames(error: BaseException, handler: Handler) -> list[traceback.FrameSummary]:
    """The frames in the handler's own file, outermost first; without any, the innermost that is not ours."""
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    file = code_of(handler.function).co_filename
    own = [frame for frame in frames if frame.filename == file]
    return own or [frame for frame in frames if frame.filename != __file__][-1:]


def _text(thing: object) -> str:
    """Read a text from an exception or a reason, whatever its __str__ does."""
    ending = _call(str, (thing,))
    return ending.value[:_TEXT_LIMIT] if isinstance(ending, _Returned) else "(its text can't be read)"


def _tidied(outcome: Retry | Fail | Cancel) -> Outcome:
    """Rebuild an outcome from what may be a careless subclass."""
    reason = _text(getattr(outcome, "reason", outcome))
    if isinstance(outcome, Retry):
        after = getattr(outcome, "after", None)
        return Retry(after if isinstance(after, timedelta) else None, reason)
    return Fail(reason) if isinstance(outcome, Fail) else Cancel(reason)


def _judge_value(value: Any) -> Outcome:
    if value is None:
        return Done()
    if inspect.isclass(value) and value in (Retry, Fail, Cancel):
        value = value()  # `return Cancel`, as `raise Cancel` works, too
    if isinstance(value, (Retry, Fail, Cancel)):
        return _tidied(value)
    return _done(value.result if isinstance(value, Done) else value)


def _done(value: Any) -> Done | Fail:
    mend = "its work is done, another attempt would do it twice; return a small JSON value, or nothing"
    try:
        text = orjson.dumps(value, default=_plain)
        if b"null" in text:  # what orjson makes of NaN and infinity, too
            json.dumps(value, default=_parts, allow_nan=False)
    except (TypeError, ValueError) as error:  # orjson raises the first, json the second
        name = type(value).__name__
        return Fail(f"the handler returned a {name} that is not JSON ({_text(error)}): {mend}")
    if len(text) > RESULT_LIMIT:
        return Fail(f"the handler returned {len(text)} bytes of JSON, over {RESULT_LIMIT}: {mend}")
    return Done(orjson.loads(text))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _parts(value: Any) -> Any:
    """What of a value that orjson knows and json does not may hold numbers."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value.value if isinstance(value, Enum) else None
