"""How a video that is waited for stands, told by events, jobs and its watch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from receiver.cli.standing import Standing, standing
from receiver.store.values import Row
from receiver.store.watches import Watch

PATH = "/videos/Rain-v1.mp4"


def event(kind: str, *jobs: Row, **more: Any) -> Row:
    return {
        "id": f"evt_{kind}",
        "type": f"video.{kind}",
        "status": kind,
        "progress": None,
        "jobs": jobs,
    } | more


def job(handler: str = "save_video", state: str = "done", **more: Any) -> Row:
    plain = {"handler": handler, "state": state, "result": None, "last_error": None, "attempts": 0}
    return {**plain, "waits_for": None, **more}


def saved(handler: str = "save_video", path: str = PATH) -> Row:
    return job(handler, result=json.dumps({"path": path, "bytes": 7}))


def watch(**seen: Any) -> Watch:
    plain = Watch(1, "s", "openai", "v1", "v1", 0, 0, 0, 1, 0, None, None, None, None, None, None, None)
    return plain._replace(**seen)


@pytest.mark.parametrize(
    ("events", "watched", "said", "percent"),
    [
        ([], None, "waiting", None),
        ([], watch(), "waiting", None),
        ([], watch(last_error="401"), "waiting; asked in vain: 401", None),
        ([], watch(status="queued", progress=0.0), "queued, 0 %", 0.0),
        ([], watch(status="in_progress", progress=41.7), "in_progress, 42 %", 41.7),
        ([], watch(status="resting", last_error="503"), "resting", None),
        ([event("progress", progress=30.0)], None, "progress, 30 %", 30.0),
        ([event("progress", progress=30.0)], watch(status="later", progress=50.0), "later, 50 %", 50.0),
        ([event("unknown")], None, "waiting", None),
        ([event("completed", job(state="ready"))], None, "completed; save_video is ready", 100.0),
        (
            [event("completed", job(state="waiting", waits_for="receiver.retrieve"))],
            watch(status="completed"),
            "completed; save_video is waiting for receiver.retrieve",
            100.0,
        ),
        (
            [event("completed", job(state="ready", attempts=2, last_error="503"))],
            None,
            "completed; save_video is ready after 503",
            100.0,
        ),
    ],
)
def test_on_its_way_it_is_said_what_was_seen_last(
    events: list[Row], watched: Watch | None, said: str, percent: float | None
) -> None:
    assert standing(events, watched) == Standing(said, percent)


def test_it_ends_with_the_file_that_was_saved_whatever_other_handlers_do() -> None:
    completed = event("completed", job("probe", "waiting"), saved(), job("forward", "dead"))

    found = standing([completed, event("progress")], watch(status="completed"))

    assert (found.said, found.ending, found.event) == (PATH, "saved", "evt_completed")
    assert found.result == {"path": PATH, "bytes": 7}


def test_a_replay_or_a_second_save_counts_like_the_first() -> None:
    completed = event("completed", job(state="dead", last_error="404"), saved())

    assert standing([completed], None).ending == "saved"


@pytest.mark.parametrize(
    ("jobs", "said", "ending"),
    [
        ([saved("hooks.shelve", "/shelf/a.mp4")], "/shelf/a.mp4", "saved"),
        ([job("hooks.shelve")], "completed; no handler saved it", "completed"),
        ([job("hooks.shelve", result='["no", "object"]')], "completed; no handler saved it", "completed"),
        ([], "completed; no handler saved it", "completed"),
        ([job("hooks.shelve", "dead", last_error="full")], "hooks.shelve is dead: full", "failed"),
        (
            [job("hooks.a"), job("hooks.b", "cancelled")],
            "hooks.b is cancelled: it does not say why",
            "failed",
        ),
    ],
)
def test_without_save_video_all_handlers_count(jobs: list[Row], said: str, ending: str) -> None:
    found = standing([event("completed", *jobs)], None)

    assert (found.said, found.ending) == (said, ending)


def test_without_save_video_all_handlers_have_to_end() -> None:
    found = standing([event("completed", saved("hooks.a"), job("hooks.b", "running"))], None)

    assert (found.said, found.ending) == ("completed; hooks.b is running", None)


def test_it_ends_when_saving_is_given_up() -> None:
    found = standing([event("completed", job(state="dead", last_error="link_expired"))], None)

    assert (found.said, found.ending) == ("save_video is dead: link_expired", "failed")


def test_it_ends_with_a_failure_unless_it_was_completed_after_all() -> None:
    failed = standing([event("failed")], watch(status="failed"))
    after_all = standing([event("completed", saved()), event("failed")], None)

    assert (failed.ending, failed.event) == ("failed", "evt_failed")
    assert after_all.ending == "saved"
