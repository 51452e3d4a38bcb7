"""Callbacks that come twice, at once, or in the wrong order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from tests.acceptance.conftest import NO_TLS, Receiver, a_video, callback, headers


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A running receiver; each test has videos of its own."""
    with Receiver(tmp_path_factory.mktemp("ordering")).configure() as receiver:
        yield receiver.start().ready()


async def at_once(receiver: Receiver, body: bytes) -> list[httpx.Response]:
    """Post the same callback 64 times at the same moment."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False, timeout=60, limits=limits) as client:
        url = f"{receiver.url}/webhooks/opennote"
        posts = [client.post(url, content=body, headers=headers()) for _ in range(64)]
        return await asyncio.gather(*posts)


@pytest.mark.anyio
@pytest.mark.fault("D1", "A7")
@pytest.mark.parametrize("padding", [0, 500_000], ids=["in a row", "in a body file"])
async def test_64_equal_callbacks_at_once_are_one_event_and_one_file(
    receiver: Receiver, padding: int
) -> None:
    name = f"equal{padding}"
    video = a_video(padding=padding)
    answers = await at_once(receiver, json.dumps(callback(name, video=video)).encode())
    assert [answer.status_code for answer in answers] == [200] * 64
    assert sorted(answer.json()["status"] for answer in answers) == ["accepted"] + ["duplicate"] * 63
    assert len({answer.json()["event"] for answer in answers}) == 1
    [event] = receiver.settled(count=1, of=[name])
    assert (event["duplicates"], event["conflict"]) == (63, False)
    assert [(job["state"], job["attempts"]) for job in event["jobs"]] == [("done", 1)]
    assert list(receiver.files(name).values()) == [video]
    assert len(receiver.show(event["id"])["deliveries"]) == 64


@pytest.mark.fault("D3", "D5")
def test_every_order_of_news_ends_as_it_should(receiver: Receiver) -> None:
    def posted(video_id: str, *statuses: str) -> list[tuple[str, str]]:
        """Post news of one video in this order: what each was answered with, and which event it meant."""
        answers = [
            receiver.post(
                callback(video_id, status, video=a_video(video_id) if status == "completed" else None)
            )
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
    events = {event["id"]: event for event in receiver.settled(count=5, of=("p1", "f1", "a1"))}
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
    assert {
        name.rpartition("-")[2]: content for name, content in receiver.files("p1", "f1", "a1").items()
    } == {f"{video_id}.mp4": a_video(video_id) for video_id in ("p1", "f1", "a1")}


@pytest.mark.fault("D4")
def test_another_video_under_the_same_id_is_a_conflict_and_changes_nothing(receiver: Receiver) -> None:
    first = receiver.accepted(callback("c1", video=a_video("first")))
    answer = receiver.post(callback("c1", video=a_video("second")))
    assert (answer.status_code, answer.json()) == (200, {"status": "duplicate", "event": first})
    [event] = receiver.settled(count=1, of=["c1"])
    assert (event["duplicates"], event["conflict"]) == (1, True)
    verdicts = [delivery["verdict"] for delivery in receiver.show(first)["deliveries"]]
    assert verdicts == ["accepted", "conflict"]
    assert list(receiver.files("c1").values()) == [a_video("first")]


def test_late_progress_and_foreign_news_get_no_handler_and_no_error(receiver: Receiver) -> None:
    news: list[dict[str, object]] = [
        callback("l1", "pending") | {"completion_percentage": 10},
        {"set_id": "s1", "status": "completed", "total_problems": 3},
        {"anything": ["else"]},
        callback("l2", "archived"),
    ]
    ids = [receiver.accepted(payload) for payload in news]
    again = receiver.post(callback("l1", "pending") | {"completion_percentage": 60})
    assert again.json() == {"status": "duplicate", "event": ids[0]}
    rewritten = receiver.post(callback("l3", "failed"), X_Request_Id="of-a-proxy").json()
    assert rewritten["status"] == "accepted"
    events = {event["id"]: event for event in receiver.events()}
    seen = [events[id_] for id_ in [*ids, rewritten["event"]]]
    assert [(event["type"], event["duplicates"], event["warnings"], event["jobs"]) for event in seen] == [
        ("video.progress", 1, [], []),
        ("video.unknown", 0, [], []),
        ("video.unknown", 0, ["no_id"], []),
        ("video.unknown", 0, [], []),
        ("video.failed", 0, ["request_id_rewritten"], []),
    ]
