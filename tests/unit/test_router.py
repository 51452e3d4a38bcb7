from __future__ import annotations

import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from receiver.errors import HandlerError
from receiver.life import JobState
from receiver.router import HandlerCard, PlannedJob, Router, plan

Declare = Callable[..., Any]
FILE = __name__.replace(".", "/") + ".py"


class Settings(BaseModel):
    directory: str = "videos"


def mistake(function: Any, *types: Any, router: Any = None, **arguments: Any) -> str:
    """Declare a handler wrongly; the message, with the place cut off once it has been checked."""
    on: Declare = (router or Router()).on
    with pytest.raises(HandlerError) as caught:
        on(*(types or ("video.completed",)), **arguments)(function)
    message = str(caught.value)
    assert "\n" not in message
    place, _, rest = message.partition(": ")
    assert place == f"{FILE}:{function.__code__.co_firstlineno}, function {function.__name__}"
    return rest


def nothing() -> None:
    """Do nothing.

    At all.
    """


async def both(event: object, context: object) -> None: ...


def test_the_decorator_returns_the_function_unchanged() -> None:
    assert Router().on("video.completed")(nothing) is nothing


def test_a_declaration_without_options_has_the_documented_defaults() -> None:
    router = Router()
    router.on("video.completed", "video.failed")(nothing)
    (handler,) = router.handlers
    assert handler.name == "test_router.nothing"
    assert handler.router_name == "test_router"
    assert handler.types == {"video.completed", "video.failed"}
    assert (handler.source, handler.attempts, handler.timeout) == (None, 20, timedelta(minutes=10))
    assert (handler.concurrency, handler.after, handler.settings_model) == (None, None, None)
    assert (handler.takes, handler.is_async, handler.summary) == (0, False, "Do nothing.")
    assert handler.where == f"{FILE}:{nothing.__code__.co_firstlineno}, function nothing"


def test_a_declaration_keeps_its_options() -> None:
    router = Router(name="films", settings=Settings)
    router.on("video.failed", source="opennote", attempts=8, timeout="90s", concurrency=4, after="a.b")(both)
    (handler,) = router.handlers
    assert (handler.name, handler.source, handler.attempts) == ("films.both", "opennote", 8)
    assert (handler.timeout, handler.concurrency, handler.after) == (timedelta(seconds=90), 4, "a.b")
    assert (handler.takes, handler.is_async, handler.settings_model) == (2, True, Settings)


def test_a_handler_named_like_its_router_has_the_short_name() -> None:
    router = Router(name="nothing")
    router.on("video.completed", after="save_video.save_video")(nothing)
    assert router.handlers[0].name == "nothing"
    assert router.handlers[0].after == "save_video"


def test_the_name_of_a_module_in_a_package_is_its_last_part() -> None:
    def publish() -> None: ...

    publish.__module__ = "my_package.hooks"
    router = Router()
    router.on("video.completed")(publish)
    assert router.handlers[0].name == "hooks.publish"
    assert router.handlers[0].where.startswith("unit/test_router.py:")


def test_a_card_goes_through_json_unharmed() -> None:
    router = Router(name="films")
    router.on("video.unknown", "video.completed", timeout="1500ms", after="x")(nothing)
    card = router.handlers[0].card
    assert card == HandlerCard(
        name="films.nothing",
        types=("video.completed", "video.unknown"),
        source=None,
        attempts=20,
        timeout_seconds=1.5,
        concurrency=None,
        after="x",
        summary="Do nothing.",
    )
    assert HandlerCard.from_json(json.loads(json.dumps(asdict(card)))) == card


def passed_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def test_arguments_are_counted_as_a_call_needs_them() -> None:
    def one(event): ...  # type: ignore[no-untyped-def]
    def two(video, ctx): ...  # type: ignore[no-untyped-def]
    def only_positional(event, context, /): ...  # type: ignore[no-untyped-def]
    def context_by_default(event, context=None): ...  # type: ignore[no-untyped-def]
    def own_default(event, directory="x"): ...  # type: ignore[no-untyped-def]
    def annotated(a, b: Context = None): ...  # type: ignore[name-defined, no-untyped-def]  # noqa: F821
    def extras(event, *, size=1, **rest): ...  # type: ignore[no-untyped-def]
    def more(event, context, *rest): ...  # type: ignore[no-untyped-def]

    wrapped = passed_on(one)
    expected: dict[Declare, int] = {
        nothing: 0,
        one: 1,
        two: 2,
        only_positional: 2,
        context_by_default: 2,
        own_default: 1,
    }
    expected |= {annotated: 2, extras: 1, more: 2, both: 2, wrapped: 1}
    for function, takes in expected.items():
        router = Router()
        router.on("video.completed")(function)
        assert router.handlers[0].takes == takes, function.__name__


def test_a_wrapped_handler_is_found_where_its_author_wrote_it() -> None:
    router = Router()
    router.on("video.completed")(passed_on(nothing))
    assert router.handlers[0].where == f"{FILE}:{nothing.__code__.co_firstlineno}, function nothing"


def test_an_unknown_event_type_is_answered_with_the_nearest() -> None:
    valid = "valid are: video.completed, video.failed, video.progress, video.unknown"
    assert mistake(nothing, "video.complete") == (
        f'there is no event type "video.complete"; did you mean "video.completed"? {valid}'
    )
    assert mistake(nothing, "video.failed", "*") == f'there is no event type "*"; {valid}'


def test_an_event_type_is_needed() -> None:
    with pytest.raises(
        HandlerError, match=r'function nothing: no event type; write @router.on\("video.compl'
    ):
        Router().on()(nothing)


def test_event_types_in_a_list_are_told_apart() -> None:
    assert mistake(nothing, ["video.completed", "video.failed"]) == (
        "an event type can't be a list; write each as text of its own: "
        '@router.on("video.completed", "video.failed")'
    )


def test_the_decorator_needs_parentheses() -> None:
    bare: Declare = Router().on
    with pytest.raises(HandlerError) as caught:
        bare(nothing)
    assert str(caught.value) == (
        f"{FILE}:{nothing.__code__.co_firstlineno}, function nothing: @router.on needs parentheses "
        'and an event type; write @router.on("video.completed")'
    )


def test_the_router_needs_parentheses_too() -> None:
    expected = "the class Router itself is used; write router = Router() with parentheses, then @router.on(…)"
    assert mistake(nothing, router=Router) == expected
    bare: Declare = Router.on
    with pytest.raises(HandlerError, match="function nothing: the class Router itself is used"):
        bare(nothing)


def test_three_required_arguments_are_one_too_many() -> None:
    def publish(event, context, settings): ...  # type: ignore[no-untyped-def]

    assert mistake(publish) == (
        "it wants 3 arguments (event, context, settings), a handler gets at most two; "
        "write (event, context), (event) or ()"
    )


def test_swapped_arguments_are_named() -> None:
    def swapped(context, event): ...  # type: ignore[no-untyped-def]
    def half(video, event): ...  # type: ignore[no-untyped-def]
    def annotated(a: "receiver.Context", b): ...  # type: ignore[name-defined, no-untyped-def]  # noqa: F821, UP037
    def alone(ctx): ...  # type: ignore[no-untyped-def]

    assert mistake(swapped) == "the arguments are swapped, the event comes first; write (event, context)"
    assert mistake(half) == "the arguments are swapped, the event comes first; write (event, video)"
    assert mistake(annotated) == "the arguments are swapped, the event comes first; write (b, a)"
    assert mistake(alone) == "the first argument is the event, not the context; write (event, ctx)"


def test_a_required_keyword_argument_is_never_passed() -> None:
    def publish(event, *, directory): ...  # type: ignore[no-untyped-def]

    assert mistake(publish) == (
        "nobody passes the keyword argument directory; give it a default or read it from context.settings"
    )


def test_arguments_that_can_not_be_counted_are_refused() -> None:
    def wrapper(*args, **kwargs): ...  # type: ignore[no-untyped-def]

    assert mistake(wrapper) == (
        "*args does not say how many arguments it takes; write (event, context), (event) or (); "
        "if that is another decorator's doing, it needs functools.wraps"
    )


def test_a_method_is_refused() -> None:
    class Hooks:
        def publish(self, event): ...  # type: ignore[no-untyped-def]

    assert mistake(Hooks.publish) == "a handler can't be a method; move it out of the class"


def test_generators_are_refused() -> None:
    def plain() -> Iterator[int]:
        yield 1

    async def asynchronous() -> AsyncIterator[int]:
        yield 1

    for function in (plain, asynchronous):
        expected = "a handler can't be a generator; return one value instead of using yield"
        assert mistake(function) == expected


def test_a_lambda_is_refused() -> None:
    assert "write it with def" in mistake(lambda event: None)


@pytest.mark.parametrize(
    ("thing", "kind"),
    [
        (Settings, "the class Settings"),
        (staticmethod(nothing), "a staticmethod"),
        (functools.partial(nothing), "a partial"),
        (None, "a NoneType"),
    ],
)
def test_what_is_no_function_is_refused_at_the_line_that_decorates_it(thing: Any, kind: str) -> None:
    declare: Declare = Router().on("video.completed")
    frame = inspect.currentframe()
    assert frame is not None
    with pytest.raises(HandlerError) as caught:
        declare(thing)
    line = caught.traceback[0].lineno + 1
    assert str(caught.value) == (
        f"{FILE}:{line}, function {frame.f_code.co_name}: @router.on stands above {kind}, "
        "not above a function; put it above a function: def name(event, context)"
    )


def test_a_class_without_parentheses_is_refused_as_a_class() -> None:
    bare: Declare = Router().on
    with pytest.raises(HandlerError, match="stands above the class Settings, not above a function"):
        bare(Settings)


@pytest.mark.parametrize("name", ["attempts", "concurrency"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3"])
def test_a_count_is_a_whole_number_from_one_up(name: str, value: Any) -> None:
    assert mistake(nothing, **{name: value}) == f"{name}={value!r} must be a whole number, 1 or more"


def test_attempts_can_not_be_left_out_by_none() -> None:
    assert mistake(nothing, attempts=None) == "attempts=None must be a whole number, 1 or more"


def test_a_bad_timeout_is_answered_with_an_example() -> None:
    assert mistake(nothing, timeout="ten minutes") == (
        "timeout='ten minutes': expected a number and a unit (ms, s, m, h, d, w), for example '30s'"
    )
    assert mistake(nothing, timeout="0s") == (
        "timeout='0s' leaves no time to run; write for example timeout=\"10m\""
    )
    assert mistake(nothing, timeout=None).startswith("timeout=None: expected a duration")


def test_a_source_and_what_comes_before_are_names() -> None:
    assert mistake(nothing, source=["opennote"]).startswith("source=['opennote'] must be a name as text")
    assert mistake(nothing, after=both) == (
        "after is the function both, not the name of a handler; "
        'write its name as text: after="router.function"'
    )
    assert mistake(nothing, after="").startswith("after is '', not the name of a handler")


def test_settings_are_a_model() -> None:
    expected = "is not a subclass of pydantic's BaseModel; write class Settings(BaseModel): … and "
    router: Any = Router(settings=dict)  # type: ignore[arg-type]
    assert mistake(nothing, router=router) == f"settings=dict {expected}Router(settings=Settings)"
    router = Router(settings=Settings())  # type: ignore[arg-type]
    assert mistake(nothing, router=router).startswith("settings=Settings(directory='videos') is not")


@pytest.mark.parametrize("name", ["my.router", "", "load", "a b", "1st"])
def test_a_name_that_can_not_be_a_table_is_refused(name: str) -> None:
    assert mistake(nothing, router=Router(name=name)) == (
        f"{name!r} can't be a router's name; "
        'choose one of letters, digits, "_" and "-" (but not "load"): Router(name="…")'
    )


def card(name: str, *types: str, after: str | None = None, source: str | None = None) -> HandlerCard:
    return HandlerCard(name, types or ("video.completed",), source, 20, 600.0, None, after, "")


def planned(*cards: HandlerCard, source: str = "opennote", type: str = "video.completed") -> list[Any]:  # noqa: A002
    return [
        (job.handler, str(job.state), job.after, job.reason) for job in plan(cards, source=source, type=type)
    ]


def test_an_event_gets_a_job_for_each_handler_of_its_type_and_source() -> None:
    cards = [
        card("a"),
        card("b", "video.failed"),
        card("c", "video.failed", "video.completed", source="opennote"),
        card("d", source="openai"),
    ]
    assert [job[0] for job in planned(*cards)] == ["a", "c"]
    assert [job[0] for job in planned(*cards, source="openai")] == ["a", "d"]
    assert [job[0] for job in planned(*cards, type="video.failed")] == ["b", "c"]
    assert planned(*cards, type="video.progress") == []
    assert plan([], source="opennote", type="video.completed") == ()


def test_a_job_waits_for_the_one_it_comes_after_whatever_their_order() -> None:
    jobs = plan([card("b", after="a"), card("a")], source="opennote", type="video.completed")
    assert jobs == (
        PlannedJob("b", JobState.WAITING, "a", None),
        PlannedJob("a", JobState.READY, None, None),
    )


def test_a_job_is_cancelled_when_what_it_comes_after_does_not_run() -> None:
    assert planned(card("b", after="a"), card("a", "video.failed"), card("c", after="b"), card("d")) == [
        ("b", "cancelled", "a", "it comes after a, which does not run on this event"),
        ("c", "cancelled", "b", "it comes after b, which is cancelled"),
        ("d", "ready", None, None),
    ]


def test_all_wait_for_the_receivers_own_job_and_keep_what_they_waited_for() -> None:
    cards = [card("a"), card("b", after="a"), card("c", "video.failed"), card("d", after="c")]
    jobs = plan(cards, source="openai", type="video.completed", first="receiver.retrieve")
    assert [(job.handler, str(job.state), job.after) for job in jobs] == [
        ("receiver.retrieve", "ready", None),
        ("a", "waiting", "receiver.retrieve"),
        ("b", "waiting", "a"),
        ("d", "cancelled", "c"),
    ]


def test_a_chain_waits_link_by_link() -> None:
    states = [job[1] for job in planned(card("c", after="b"), card("b", after="a"), card("a"))]
    assert states == ["waiting", "waiting", "ready"]


def test_a_circle_never_waits_for_ever() -> None:
    states = [job[1] for job in planned(card("a", after="b"), card("b", after="a"), card("c", after="a"))]
    assert states == ["cancelled"] * 3
