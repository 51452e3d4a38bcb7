"""Callbacks that come twice, at once, or in the wrong order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from tests.acceptance.conftest import Receiver, a_video, callback, headers


def what(receiver: Receiver) -> list[tuple[str, int, bool, list[str], int]]:
    """Type, duplicates, conflict, warnings and number of jobs of all events, oldest first."""
    return [
        (event["type"], event["duplicates"], event["conflict"], event["warnings"], len(event["jobs"]))
        for event in reversed(receiver.events())
    ]


@pytest.mark.anyio
async def test_64_equal_callbacks_at_once_are_one_event_and_one_file(receiver: Receiver) -> None:
    receiver.start()
    video = a_video()
    body = json.dumps(callback("v1", video=video)).encode()
    async with httpx.AsyncClient(
        trust_env=False, timeout=60, limits=httpx.Limits(max_connections=None)
    ) as client:
        answers = await asyncio.gather(
            *(
                client.post(f"{receiver.url}/webhooks/opennote", content=body, headers=headers("v1"))
                for _ in range(64)
            )
        )
    assert [answer.status_code for answer in answers] == [200] * 64
    assert sorted(answer.json()["status"] for answer in answers) == ["accepted"] + ["duplicate"] * 63
    assert len({answer.json()["event"] for answer in answers}) == 1
    [event] = receiver.settled(count=1)
    assert (event["duplicates"], event["conflict"]) == (63, False)
    assert [(job["state"], job["attempts"]) for job in event["jobs"]] == [("done", 1)]
    assert list(receiver.files().values()) == [video]
    assert len(receiver.show(event["id"])["deliveries"]) == 64


@pytest.mark.anyio
async def test_64_equal_small_callbacks_at_once_are_one_event(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    body = json.dumps(callback("v1", url="http://127.0.0.1:9/videofs/v1.mp4")).encode()
    async with httpx.AsyncClient(
        trust_env=False, timeout=60, limits=httpx.Limits(max_connections=None)
    ) as client:
        answers = await asyncio.gather(
            *(
                client.post(f"{receiver.url}/webhooks/opennote", content=body, headers=headers("v1"))
                for _ in range(64)
            )
        )
    assert sorted(answer.json()["status"] for answer in answers) == ["accepted"] + ["duplicate"] * 63
    assert what(receiver) == [("video.completed", 63, False, [], 1)]


def test_every_order_of_news_ends_as_it_should(receivers: Callable[..., Receiver]) -> None:
    receiver = receivers()
    receiver.start().ready()

    def posted(video_id: str, *statuses: str) -> list[tuple[str, str]]:
        """Post news of one video in this order: what each was answered with, and which event it meant."""
        answers = [
            receiver.post(callback(video_id, status, video=a_video(video_id) if status == "completed" else None))
            for status in statuses
        ]
        assert [answer.status_code for answer in answers] == [200] * len(statuses)
        return [(answer.json()["status"], answer.json()["event"]) for answer in answers]

    pending_first = posted("p1", "pending", "pending", "completed", "pending")
    assert [status for status, _ in pending_first] == ["accepted", "duplicate", "accepted", "duplicate"]
    failed_late = posted("f1", "completed", "failed")
    assert failed_late == [("accepted", failed_late[0][1]), ("duplicate", failed_late[0][1])]
    failed_first = posted("a1", "failed", "completed", "failed")
    assert [status for status, _ in failed_first] == ["accepted", "accepted", "duplicate"]
    events = {event["id"]: event for event in receiver.settled(count=5)}
    assert len(events) == 5
    seen = {
        name: [
            (events[id_]["type"], events[id_]["conflict"], events[id_]["warnings"], len(events[id_]["jobs"]))
            for id_ in dict.fromkeys(id_ for _, id_ in answers)
        ]
        for name, answers in (("p1", pending_first), ("f1", failed_late), ("a1", failed_first))
    }
    assert seen == {
        "p1": [("video.progress", False, [], 0), ("video.completed", False, [], 1)],
        "f1": [("video.completed", True, [], 1)],
        "a1": [("video.failed", False, [], 0), ("video.completed", False, ["after_failure"], 1)],
    }
    assert {name.rpartition("-")[2]: content for name, content in receiver.files().items()} == {
        f"{video_id}.mp4": a_video(video_id) for video_id in ("p1", "f1", "a1")
    }


def test_another_video_under_the_same_id_is_a_conflict_and_changes_nothing(receiver: Receiver) -> None:
    receiver.start()
    first = receiver.accepted(callback("v1", video=a_video("first")))
    answer = receiver.post(callback("v1", video=a_video("second")))
    assert (answer.status_code, answer.json()) == (200, {"status": "duplicate", "event": first})
    [event] = receiver.settled(count=1)
    assert (event["duplicates"], event["conflict"]) == (1, True)
    assert [delivery["verdict"] for delivery in receiver.show(first)["deliveries"]] == ["accepted", "conflict"]
    assert list(receiver.files().values()) == [a_video("first")]


def test_late_progress_and_foreign_news_get_no_handler_and_no_error(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    receiver.accepted(callback("v1", "pending") | {"completion_percentage": 10})
    again = receiver.post(callback("v1", "pending") | {"completion_percentage": 60})
    assert again.json()["status"] == "duplicate"
    receiver.accepted({"set_id": "s1", "status": "completed", "total_problems": 3})
    receiver.accepted({"anything": ["else"]})
    receiver.accepted(callback("v2", "archived"))
    rewritten = receiver.post(callback("v3", "failed"), X_Request_Id="of-a-proxy")
    assert rewritten.json()["status"] == "accepted"
    assert what(receiver) == [
        ("video.progress", 1, False, [], 0),
        ("video.unknown", 0, False, [], 0),
        ("video.unknown", 0, False, ["no_id"], 0),
        ("video.unknown", 0, False, [], 0),
        ("video.failed", 0, False, ["request_id_rewritten"], 0),
    ]
