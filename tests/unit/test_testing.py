"""The kit for authors of handlers: its context records, and its runs are a worker's."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

import handlers.log
import handlers.save_video
import receiver.testing
from receiver import Context, Event, Router
from receiver.errors import HandlerError
from receiver.testing import (
    Cancel,
    Done,
    Fail,
    RecordingContext,
    Retry,
    by_link,
    failed,
    inline,
    progress,
    run,
    run_async,
    sample_video,
    unknown,
)

HOOK = "https://catalogue.example.com/videos?page=1"


class Settings(BaseModel):
    directory: Path = Path("shelf")
    most: int = 3


router = Router(settings=Settings, name="kit")


@router.on("video.failed", source="opennote", attempts=7, timeout="30s")
def lament(event: Event, context: Context) -> dict[str, Any]:
    settings: Settings = context.settings
    return {
        "code": event.video.error.code,
        "message": event.video.error.message,
        "attempts": [context.attempt, context.attempts],
        "key": context.idempotency_key,
        "most": settings.most,
        "directory": str(settings.directory),
    }


@router.on("video.progress")
async def post(event: Event, context: Context) -> Any:
    answer = await context.http.post(HOOK, json={"percent": event.video.progress}, headers={"X-Job": "1"})
    if answer.status == 503:
        raise Retry(after="5m", reason="closed")
    context.log.bind(job=1).warning("hook.told", status=answer.status)
    return answer.json()


@router.on("video.completed", after="kit.lament")
async def follow(_: Event, context: Context) -> Any:
    return context.results["kit.lament"]


@pytest.mark.parametrize("make", [by_link, inline])
def test_the_shipped_handler_saves_the_sample(make: Callable[..., Event], tmp_path: Path) -> None:
    event = make(title="Cells")
    context = RecordingContext(event, folder=tmp_path)

    outcome = run(handlers.save_video, event, context)

    video, description = context.saved
    digest = hashlib.sha256(sample_video()).hexdigest()
    assert isinstance(outcome, Done)
    assert outcome.result == {"path": str(video.path), "bytes": len(sample_video()), "sha256": digest}
    assert video.path == tmp_path / "videos" / "Cells-vid_sample.mp4"
    assert video.path.read_bytes() == sample_video()
    assert json.loads(description.path.read_text())["title"] == "Cells"
    assert [line.event for line in context.lines] == ["video.saved"]
    assert [asked.url for asked in context.asked] == ([event.video.url] if make is by_link else [])


@pytest.mark.anyio
async def test_every_way_to_save_and_to_send_is_recorded(tmp_path: Path) -> None:
    context = RecordingContext(by_link(), folder=tmp_path)
    context.answer("PUT", HOOK, status=204, headers={"Retry-After": "7"})

    await context.save_json("notes", {"seen": True})
    await context.save_file("still.jpg", b"a picture")
    with io.BytesIO(b"a file") as file:
        answer = await context.http.request("PUT", HOOK, content=file)

    assert [saved.path.name for saved in context.saved] == ["notes.json", "still.jpg"]
    assert (answer.status, answer.headers["retry-after"]) == (204, "7")
    assert context.asked[0].content == b"a file"


def test_the_video_behind_the_link_can_be_another_one(tmp_path: Path) -> None:
    other = sample_video("other")
    event = by_link()
    context = RecordingContext(event, folder=tmp_path, video=other)

    assert isinstance(run("save_video", event, context), Done)
    assert context.saved[0].sha256 == hashlib.sha256(other).hexdigest()
    assert other != sample_video()


@pytest.mark.parametrize(
    ("link", "status", "reason"),
    [
        (None, 403, "link_expired: 403"),
        (None, 404, "404 Not Found"),
        ("https://elsewhere.example.com/v.mp4", 200, "does not lead to the host that is configured"),
    ],
)
def test_a_link_is_judged_as_in_production(link: str | None, status: int, reason: str) -> None:
    event = by_link(url=link)
    context = RecordingContext(event)
    context.answer("GET", str(event.video.url), status=status, content=b"<Message>Request has expired")

    outcome = run(handlers.save_video, event, context)

    assert isinstance(outcome, Fail)
    assert reason in outcome.reason


def test_settings_are_validated_by_the_routers_model(tmp_path: Path) -> None:
    event = failed()
    outcome = run(lament, event, RecordingContext(event, folder=tmp_path, settings={"most": "9"}))

    assert isinstance(outcome, Done)
    assert (outcome.result["most"], outcome.result["directory"]) == (9, str(tmp_path / "shelf"))
    with pytest.raises(HandlerError, match="most: "):
        run(lament, event, settings={"most": "many"})
    with pytest.raises(HandlerError, match='did you mean "most"'):
        run(lament, event, settings={"moist": 1})
    given = run(lament, event, settings=Settings(most=4))
    assert isinstance(given, Done)
    assert given.result["most"] == 4


def test_the_context_is_that_of_the_handler() -> None:
    event = failed(code="rate_limited", message="slowly")
    outcome = run(router, event, RecordingContext(event, attempt=2))

    assert isinstance(outcome, Done)
    assert outcome.result["attempts"] == [2, 7]
    assert outcome.result["key"] == f"{event.id}:kit.lament"
    assert (outcome.result["code"], outcome.result["message"]) == ("rate_limited", "slowly")


def test_requests_meet_prepared_answers_in_their_order() -> None:
    event = progress()
    context = RecordingContext(event)
    context.answer("POST", HOOK, status=503)
    context.answer("post", HOOK, status=201, json={"id": 5}, headers={"X-Seen": "yes"})

    first, *others = (run(post, event, context) for _ in range(3))

    assert isinstance(first, Retry)
    assert (first.after, first.reason) == (timedelta(minutes=5), "closed")
    assert [other.result for other in others if isinstance(other, Done)] == [{"id": 5}] * 2
    assert [(asked.method, asked.url) for asked in context.asked] == [("POST", HOOK)] * 3
    assert json.loads(context.asked[0].content) == {"percent": 40.0}
    assert context.asked[0].headers["X-Job"] == "1"
    assert (context.lines[0].event, context.lines[0].level) == ("hook.told", "warning")
    assert context.lines[0].fields == {"job": 1, "status": 201}


def test_a_request_without_an_answer_fails_the_test() -> None:
    with pytest.raises(AssertionError, match=r'prepare one: context\.answer\("POST", "https://catalogue'):
        run(post, progress())


def test_an_exception_is_a_retry_and_its_place_is_in_the_lines() -> None:
    event, context = progress(), RecordingContext(progress())
    context.answer("POST", HOOK, content=b"no JSON")
    outcome = run(post, context.event, context)

    assert event == context.event
    assert isinstance(outcome, Retry)
    assert outcome.reason.startswith("JSONDecodeError: ")
    assert context.lines[-1].event == "handler.raised"
    assert "test_testing.py" in context.lines[-1].fields["frames"][0]


def test_a_handler_that_comes_after_another_is_told_its_result() -> None:
    outcome = run(follow, by_link(), results={"kit.lament": {"seen": True}})
    assert isinstance(outcome, Done)
    assert outcome.result == {"seen": True}
    with pytest.raises(HandlerError, match=r'results={"kit.lament": …}'):
        run(follow, by_link())


@pytest.mark.anyio
async def test_async_tests_have_a_way_of_their_own() -> None:
    outcome = await run_async(handlers.log, unknown())
    assert outcome == Done()
    with pytest.raises(RuntimeError, match="run_async"):
        run(handlers.log, unknown())


def both(event: Event) -> None:
    """No handler of any router."""


@pytest.mark.parametrize(
    ("given", "event", "said"),
    [
        (handlers.save_video, failed(), "no handler wants a video.failed of opennote: save_video"),
        (lament, failed(source="other"), "no handler wants a video.failed of other"),
        (both, failed(), "both is no handler of a router in its module"),
        (Router(), failed(), "there is no handler"),
        ("no_such_file.py", failed(), "there is no such file"),
    ],
)
def test_what_a_worker_would_not_run_is_an_error(
    given: ModuleType | Router | str | Callable[..., Any], event: Event, said: str
) -> None:
    with pytest.raises(HandlerError, match=said):
        run(given, event)


def test_of_two_handlers_that_want_an_event_one_has_to_be_chosen() -> None:
    twice = Router(name="twice")

    @twice.on("video.failed")
    def one() -> None: ...

    @twice.on("video.failed")
    def other() -> None:
        raise Cancel("not mine")

    with pytest.raises(HandlerError, match=r"twice\.one and twice\.other want a video\.failed"):
        run(twice, failed())
    outcome = run(twice.handlers[1], failed())
    assert isinstance(outcome, Cancel)
    assert outcome.reason == "not mine"


@pytest.mark.parametrize("options", [{"settings": {}}, {"results": {}}])
def test_what_belongs_to_the_context_is_given_to_the_context(options: Mapping[str, Any]) -> None:
    event = failed()
    with pytest.raises(HandlerError, match="the context's own"):
        run(lament, event, RecordingContext(event), **options)


def test_a_folder_that_nobody_named_is_removed_with_its_context() -> None:
    event = inline()
    context = RecordingContext(event)
    assert isinstance(run(handlers.save_video, event, context), Done)
    path = context.saved[0].path
    assert path.exists()
    del context
    assert not path.exists()


def test_every_public_name_is_there() -> None:
    assert all(getattr(receiver.testing, name) is not None for name in receiver.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'by_magic'"):
        receiver.testing.by_magic  # noqa: B018


def test_the_plugin_costs_nothing_until_a_test_asks_for_it() -> None:
    heavy = "{'pydantic', 'structlog', 'httpx', 'receiver.context', 'asyncio'}"
    code = f"import sys, receiver.testing.plugin as p; print({heavy} & set(sys.modules), p.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "set() receiver.testing.plugin\n"
