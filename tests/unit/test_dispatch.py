from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import BaseModel
from structlog.testing import capture_logs

from receiver.dispatch import RESULT_LIMIT, Ran, run
from receiver.errors import Hopeless, Unfinished
from receiver.event import Event, StoredBody
from receiver.model import Video
from receiver.outcome import Cancel, Done, Fail, Retry
from receiver.router import Handler, Router

pytestmark = pytest.mark.anyio

EVENT = Event(
    id="evt_1",
    source="opennote",
    type="video.completed",
    key="v:completed",
    received_at=datetime(2024, 1, 1, tzinfo=UTC),
    warnings=(),
    video=Video(),
    payload={},
    body=StoredBody(raw=b"{}"),
)
CONTEXT = object()
LOG = structlog.get_logger()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What a thread of a test waits for; it is let go at the end whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def declared(function: Callable[..., Any]) -> Handler:
    router = Router(name="hooks")
    router.on("video.completed")(function)
    return router.handlers[0]


async def ran(
    function: Callable[..., Any], threads: Executor, *, seconds: float = 30, grace: float = 5
) -> Ran:
    return await run(
        declared(function),
        EVENT,
        CONTEXT,
        timeout_seconds=seconds,
        threads=threads,
        log=LOG,
        grace_seconds=grace,
    )


def both_ways(function: Callable[[], Any]) -> list[Callable[..., Any]]:
    """The same handler as a plain and as an async function."""

    @functools.wraps(function)
    async def asynchronous() -> Any:
        return function()

    return [function, asynchronous]


def same(ran: Ran) -> tuple[Any, ...]:
    """An outcome in a form that can be compared."""
    outcome = ran.outcome
    if isinstance(outcome, Done):
        return (Done, outcome.result, ran.is_abandoned, ran.error_class)
    after = (outcome.after,) if isinstance(outcome, Retry) else ()
    return (type(outcome), *after, outcome.reason, ran.is_abandoned, ran.error_class)


async def test_a_handler_gets_as_many_arguments_as_it_takes(threads: ThreadPoolExecutor) -> None:
    got: list[tuple[Any, ...]] = []

    def none() -> None:
        got.append(())

    def one(event: Event) -> None:
        got.append((event,))

    async def two(event: Event, context: Any) -> None:
        got.append((event, context))

    for function in (none, one, two):
        assert same(await ran(function, threads)) == (Done, None, False, None)
    assert got == [(), (EVENT,), (EVENT, CONTEXT)]


async def test_a_plain_function_runs_in_a_thread_and_sees_the_callers_context(
    threads: ThreadPoolExecutor,
) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("bound")
    seen: list[Any] = []

    def plain() -> None:
        seen.extend([variable.get(), threading.current_thread() is threading.main_thread()])

    await ran(plain, threads)
    assert seen == ["bound", False]


async def test_the_task_of_a_handler_carries_its_name(threads: ThreadPoolExecutor) -> None:
    async def publish() -> str:
        task = asyncio.current_task()
        return task.get_name() if task else ""

    assert (await ran(publish, threads)).outcome == Done("hooks.publish")


async def test_a_plain_function_that_returns_an_awaitable_is_awaited(threads: ThreadPoolExecutor) -> None:
    async def inner() -> int:
        await asyncio.sleep(0)
        return 5

    def outer() -> Any:
        return inner()

    assert (await ran(outer, threads)).outcome == Done(5)


class Model(BaseModel):
    path: Path = Path("a.mp4")


class Share(BaseModel):
    of_all: float | None = None


class Colour(Enum):
    RED = "red"


class Size(Enum):
    ENDLESS = float("inf")


@dataclass
class Measured:
    seconds: float


@dataclass
class Saved:
    path: Path


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (None, None),
        ({"a": [1, 2.5, None, True]}, {"a": [1, 2.5, None, True]}),
        ((1, 2), [1, 2]),
        ("text", "text"),
        (False, False),
        (Path("a") / "b", "a/b"),
        (Model(), {"path": "a.mp4"}),
        ([Saved(Path("x"))], [{"path": "x"}]),
        ([None, Saved(Path("null")), Share()], [None, {"path": "null"}, {"of_all": None}]),
        (
            {"at": datetime(2024, 1, 1, tzinfo=UTC), "c": Colour.RED},
            {"at": "2024-01-01T00:00:00+00:00", "c": "red"},
        ),
        (Done({"a": 1}), {"a": 1}),
        ("x" * (RESULT_LIMIT - 2), "x" * (RESULT_LIMIT - 2)),
    ],
)
async def test_a_json_value_is_the_result(value: Any, result: Any, threads: ThreadPoolExecutor) -> None:
    assert same(await ran(lambda_of(value), threads)) == (Done, result, False, None)


def lambda_of(value: Any) -> Callable[[], Any]:
    def handler() -> Any:
        return value

    return handler


class Careless(Fail):
    def __init__(self) -> None:
        pass


class Nasty(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


NAN = float("nan")
NOT_FINITE = "Out of range float values are not JSON compliant"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1, 2}, "the handler returned a set that is not JSON (Type is not JSON serializable: set): "),
        ({1: "a"}, "the handler returned a dict that is not JSON (Dict key must be str): "),
        (2**70, "the handler returned a int that is not JSON (Integer exceeds 64-bit range): "),
        (b"x", "the handler returned a bytes that is not JSON (Type is not JSON serializable: bytes): "),
        (Careless, "the handler returned a type that is not JSON (Type is not JSON serializable: type): "),
        (Nasty(), "the handler returned a Nasty that is not JSON (Type is not JSON serializable: Nasty): "),
        ("x" * (RESULT_LIMIT - 1), "the handler returned 65537 bytes of JSON, over 65536: "),
        (
            Done(object()),
            "the handler returned a object that is not JSON (Type is not JSON serializable: object): ",
        ),
        (NAN, f"the handler returned a float that is not JSON ({NOT_FINITE}): "),
        (-float("inf"), f"the handler returned a float that is not JSON ({NOT_FINITE}): "),
        ({"a": [1, NAN]}, f"the handler returned a dict that is not JSON ({NOT_FINITE}): "),
        (Share(of_all=NAN), f"the handler returned a Share that is not JSON ({NOT_FINITE}): "),
        ([Measured(NAN)], f"the handler returned a list that is not JSON ({NOT_FINITE}): "),
        (Size.ENDLESS, f"the handler returned a Size that is not JSON ({NOT_FINITE}): "),
    ],
)
async def test_any_other_value_fails_and_says_why_it_is_not_retried(
    value: Any, said: str, threads: ThreadPoolExecutor
) -> None:
    outcome = (await ran(lambda_of(value), threads)).outcome
    assert isinstance(outcome, Fail)
    assert outcome.reason == (
        f"{said}its work is done, another attempt would do it twice; return a small JSON value, or nothing"
    )


DECISIONS: list[tuple[Any, tuple[Any, ...]]] = [
    (Retry(after="30s", reason="busy"), (Retry, timedelta(seconds=30), "busy", False, None)),
    (Fail("expired"), (Fail, "expired", False, None)),
    (Cancel("not ours"), (Cancel, "not ours", False, None)),
    (Retry, (Retry, None, "the handler asked for another attempt", False, None)),
    (Fail, (Fail, "the handler gave up", False, None)),
    (Cancel, (Cancel, "not this handler's business", False, None)),
]


@pytest.mark.parametrize(("decision", "expected"), DECISIONS)
async def test_a_decision_counts_the_same_returned_or_raised(
    decision: Any, expected: tuple[Any, ...], threads: ThreadPoolExecutor
) -> None:
    def returning() -> Any:
        return decision

    def raising() -> Any:
        raise decision

    with capture_logs() as logs:
        for function in both_ways(returning) + both_ways(raising):
            assert same(await ran(function, threads)) == expected
    assert logs == []


async def test_a_careless_decision_is_understood(threads: ThreadPoolExecutor) -> None:
    odd: Any = 5
    assert same(await ran(lambda_of(Fail(odd)), threads)) == (Fail, "5", False, None)
    assert same(await ran(lambda_of(Fail(Nasty())), threads)) == (  # type: ignore[arg-type]
        Fail,
        "(its text can't be read)",
        False,
        None,
    )
    assert same(await ran(lambda_of(Careless()), threads)) == (Fail, "", False, None)


async def test_what_the_receivers_own_errors_mean(threads: ThreadPoolExecutor) -> None:
    errors: list[tuple[Exception, tuple[Any, ...]]] = [
        (Hopeless("404"), (Fail, "404", False, "Hopeless")),
        (Unfinished("cut"), (Retry, None, "cut", False, "Unfinished")),
        (
            Unfinished("busy", retry_after_seconds=90),
            (Retry, timedelta(seconds=90), "busy", False, "Unfinished"),
        ),
        (
            Unfinished("endless", retry_after_seconds=float("inf")),
            (Retry, timedelta(days=1), "endless", False, "Unfinished"),
        ),
        (Unfinished("odd", retry_after_seconds=-1), (Retry, timedelta(0), "odd", False, "Unfinished")),
        (ExceptionGroup("tasks", [Hopeless("404")]), (Fail, "404", False, "Hopeless")),
    ]
    for error, expected in errors:
        assert same(await ran(raiser(error), threads)) == expected


def raiser(error: BaseException) -> Callable[[], None]:
    def handler() -> None:
        raise error

    return handler


RAISE_LINE = inspect.getsourcelines(raiser)[1] + 2


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (TimeoutError("other side"), "TimeoutError: other side"),
        (KeyError("x"), "KeyError: 'x'"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt("from its code"), "KeyboardInterrupt: from its code"),
        (GeneratorExit(), "GeneratorExit"),
        (StopIteration(), "StopIteration"),
        (asyncio.CancelledError(), "CancelledError"),
        (concurrent.futures.CancelledError(), "CancelledError"),
        (BaseException("base"), "BaseException: base"),
        (Nasty(), "Nasty: (its text can't be read)"),
        (ExceptionGroup("two", [ValueError("a"), KeyError("b")]), "ExceptionGroup: two (2 sub-exceptions)"),
    ],
)
async def test_whatever_a_handler_raises_is_a_failed_attempt(
    error: BaseException, text: str, threads: ThreadPoolExecutor
) -> None:
    async def asynchronous() -> None:
        await asyncio.sleep(0)
        raiser(error)()

    for function in (raiser(error), asynchronous):
        with capture_logs() as logs:
            result = await ran(function, threads)
        if isinstance(error, StopIteration) and function is asynchronous:
            # Python makes that of it, and it comes without a line.
            assert same(result)[2] == "RuntimeError: coroutine raised StopIteration"
            continue
        assert same(result) == (
            Retry,
            None,
            f"{text} (test_dispatch.py:{RAISE_LINE})",
            False,
            type(error).__name__,
        )
        (line,) = logs
        assert (line["event"], line["log_level"]) == ("handler.raised", "warning")
        assert (line["handler"], line["error"]) == (f"hooks.{function.__name__}", same(result)[2])
        assert line["frames"][-1] == f"test_dispatch.py:{RAISE_LINE} in handler"
        assert line["exc_info"] is error


async def test_an_enormous_text_is_survived(threads: ThreadPoolExecutor) -> None:
    with capture_logs() as logs:
        outcome = (await ran(raiser(ValueError("x" * 50_000_000)), threads)).outcome
    assert isinstance(outcome, Retry)
    assert len(outcome.reason) < 5000
    assert logs[0]["exc_info"] is None
    assert len(str(logs)) < 10_000


async def test_an_error_deep_in_a_library_is_placed_in_the_handlers_file(threads: ThreadPoolExecutor) -> None:
    def handler() -> Any:
        return datetime.fromisoformat(Path("\0").read_text())

    line = inspect.getsourcelines(handler)[1] + 1
    outcome = (await ran(handler, threads)).outcome
    assert isinstance(outcome, Retry)
    assert outcome.reason == f"ValueError: embedded null byte (test_dispatch.py:{line})"


async def test_a_bad_duration_in_a_retry_is_a_failed_attempt_that_names_it(
    threads: ThreadPoolExecutor,
) -> None:
    def handler() -> None:
        raise Retry(after="soon")

    outcome = (await ran(handler, threads)).outcome
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("ValueError: expected a number and a unit")


# Time. The limits are real but tiny: a handler that waits for ever must be cut by one.


async def test_an_async_handler_is_cancelled_when_its_time_is_over(threads: ThreadPoolExecutor) -> None:
    endings: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            endings.append("cleaned up")

    with capture_logs() as logs:
        result = await ran(endless, threads, seconds=0.05)
    assert same(result) == (Retry, None, "did not finish within 50ms", False, "TimeoutError")
    assert endings == ["cleaned up"]
    assert logs == []


async def test_a_handler_that_decides_when_it_is_cut_is_heard(threads: ThreadPoolExecutor) -> None:
    async def decides() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise Fail("too slow for ever")

    async def returns() -> str | None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done after all"
        return None

    async def breaks() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while cleaning up")

    assert same(await ran(decides, threads, seconds=0.01)) == (Fail, "too slow for ever", False, None)
    assert same(await ran(returns, threads, seconds=0.01)) == (Done, "done after all", False, None)
    expected = (Retry, None, "did not finish within 10ms", False, "TimeoutError")
    assert same(await ran(breaks, threads, seconds=0.01)) == expected


async def test_an_async_handler_that_will_not_be_cancelled_is_abandoned(threads: ThreadPoolExecutor) -> None:
    release = asyncio.Event()
    tasks: list[asyncio.Task[Any] | None] = []

    async def stubborn() -> None:
        tasks.append(asyncio.current_task())
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    result = await ran(stubborn, threads, seconds=0.01, grace=0.01)
    assert same(result) == (Retry, None, "did not finish within 10ms", True, "TimeoutError")
    release.set()
    assert tasks[0] is not None
    await tasks[0]


async def test_a_plain_function_past_its_time_is_abandoned(
    threads: ThreadPoolExecutor, release: threading.Event
) -> None:
    def endless() -> None:
        release.wait()

    result = await ran(endless, threads, seconds=0.05)
    assert same(result) == (Retry, None, "did not finish within 50ms", True, "TimeoutError")


async def test_a_plain_function_that_found_no_thread_never_runs(
    threads: ThreadPoolExecutor, release: threading.Event
) -> None:
    calls: list[int] = []

    def counted() -> None:
        calls.append(1)

    threads.submit(release.wait)
    result = await ran(counted, threads, seconds=0.05)
    assert same(result) == (Retry, None, "no thread was free within 50ms", False, "TimeoutError")
    release.set()
    threads.shutdown()
    assert calls == []


class JustInTime(Executor):
    """Threads whose functions end at the very moment when they are given up."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        class Last(Future[Any]):
            def cancel(self) -> bool:
                if not self.done():
                    self.set_result(fn(*args, **kwargs))
                return super().cancel()

        future = Last()
        future.set_running_or_notify_cancel()
        return future


async def test_work_that_ends_as_its_time_does_is_not_done_twice() -> None:
    def publish() -> str:
        return "done"

    result = await ran(publish, JustInTime(), seconds=0.01)
    assert same(result) == (Done, "done", False, None)


async def test_a_cancellation_from_outside_reaches_the_handler_and_the_caller(
    threads: ThreadPoolExecutor,
) -> None:
    started, endings = asyncio.Event(), []

    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            endings.append("cancelled")
            raise

    task = asyncio.create_task(ran(endless, threads))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert endings == ["cancelled"]


async def test_a_cancellation_from_outside_leaves_a_thread_alone(
    threads: ThreadPoolExecutor, release: threading.Event
) -> None:
    loop, started = asyncio.get_running_loop(), asyncio.Event()

    def endless() -> None:
        loop.call_soon_threadsafe(started.set)
        release.wait()

    task = asyncio.create_task(ran(endless, threads))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_handler_that_cancels_its_own_task_fails_its_attempt_only(
    threads: ThreadPoolExecutor,
) -> None:
    async def suicidal() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    outcome = (await ran(suicidal, threads)).outcome
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("CancelledError (test_dispatch.py:")


async def test_sys_exit_ends_the_attempt_and_not_the_worker(threads: ThreadPoolExecutor) -> None:
    for function in both_ways(lambda: sys.exit("bye")):
        function.__name__ = "leave"
        outcome = (await ran(function, threads)).outcome
        assert isinstance(outcome, Retry)
        assert outcome.reason.startswith("SystemExit: bye (test_dispatch.py:")
