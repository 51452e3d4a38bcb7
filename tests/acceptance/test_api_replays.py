"""Replays through the API: never by a slip, never too fast, never to a URL, and on record."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.acceptance.asking import ADMIN, Asking
from tests.acceptance.conftest import Receiver, callback, until

HOOKS = """
from pathlib import Path
from receiver import Context, Event, Fail, Router

router = Router(name="hooks")


@router.on("video.failed")
def note(event: Event, context: Context) -> None:
    with open("seen", "a") as file:
        file.write(f"{event.video.id} {context.replay} {context.idempotency_key}\\n")
    if not Path("mended").exists():
        raise Fail("not yet")


@router.on("video.failed", after="hooks.note")
def after(event: Event) -> None:
    pass
"""


@pytest.fixture
def failing(receivers: Callable[..., Receiver]) -> Receiver:
    """A receiver whose handler fails until there is a file `mended`."""
    receiver = receivers(top=ADMIN)
    return receiver.start("--handlers", receiver.handler(HOOKS))


def order(receiver: Receiver, **body: Any) -> httpx.Response:
    return Asking(receiver).request("POST", "/replays", json=body)


def seen(receiver: Receiver) -> list[list[str]]:
    file = receiver.folder / "seen"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def test_one_event_runs_again_with_its_replay_in_the_context(failing: Receiver) -> None:
    event = failing.accepted(callback("v1", "failed"))
    failing.settled(count=1)
    (failing.folder / "mended").touch()
    answer = order(failing, events=[event[:-4]])
    assert answer.status_code == 202, answer.text
    replay = answer.json()
    assert (replay["selected"], replay["made_by"]) == (1, "API, from 127.0.0.1")
    until(lambda: len(seen(failing)) == 2, what="the second run")
    first, second = seen(failing)
    assert (first[1], second[1], first[2]) == ("None", replay["id"], second[2])
    failing.settled(count=1)
    states = [(job["handler"], job["state"]) for job in failing.show(event)["jobs"]]
    assert states == [
        *(("hooks.note", "dead"), ("hooks.after", "cancelled")),
        *(("hooks.note", "done"), ("hooks.after", "done")),
    ]
    (listed,) = Asking(failing).json("/replays", id=replay["id"])["replays"]
    assert (listed["status"], listed["jobs"], listed["events"]) == ("finished", 2, 1)


@pytest.mark.fault("W5")
def test_more_than_one_event_has_to_be_expected_by_number(failing: Receiver) -> None:
    for number in range(3):
        failing.accepted(callback(f"v{number}", "failed"))
    failing.settled(count=3)
    foreseen = order(failing, all=True, dry_run=True)
    assert foreseen.json() == {
        "selected": 3,
        "events": 3,
        "jobs": {"hooks.note": 3, "hooks.after": 3},
        "left": {},
    }
    for body in (
        {"all": True},
        {"all": True, "expect": 2},
        {"filter": {"type": "video.failed"}, "expect": 4},
    ):
        refused = order(failing, **body)
        assert (refused.status_code, refused.json()["error"][:19]) == (409, "3 events are meant:")
    assert Asking(failing).json("/replays") == {"replays": []}
    assert len(seen(failing)) == 3
    (failing.folder / "mended").touch()
    assert order(failing, filter={"source": "opennote", "since": "1h"}, expect=3).status_code == 202
    until(lambda: len(seen(failing)) == 6, what="three more runs")


@pytest.mark.fault("W5")
def test_a_replay_is_paced_and_alone_and_ends_with_the_server_on_record(failing: Receiver) -> None:
    for number in range(30):
        failing.accepted(callback(f"v{number}", "failed"))
    failing.settled(count=30)
    asking = Asking(failing)
    began = time.monotonic()
    assert order(failing, all=True, expect=30, rate=10).status_code == 202
    refused = order(failing, all=True, expect=30)
    assert (refused.status_code, refused.json()["error"]) == (503, "another replay is running")
    until(lambda: asking.json("/replays")["replays"][0]["events"] >= 5, what="five events")
    made = asking.json("/replays")["replays"][0]["events"]
    assert made <= 10 * (time.monotonic() - began) + 11
    assert failing.stop(signal.SIGTERM) == 0
    (record,) = failing.look("replays")
    assert (record["status"], record["selected"]) == ("stopped", 30)
    assert record["events"] < 30


@pytest.mark.fault("S13")
@pytest.mark.fault("W8")
def test_what_is_not_understood_is_refused_and_no_url_can_be_named(failing: Receiver) -> None:
    event = failing.accepted(callback("v1", "failed"))
    asking = Asking(failing)
    url = "http://127.0.0.1:9/"
    for body, status, error in (
        ({}, 400, "exactly one of"),
        ({"events": [event], "all": True}, 400, "exactly one of"),
        ({"events": []}, 400, "events: "),
        ({"events": ["../x"]}, 400, "events.0: "),
        ({"all": False}, 400, "all: "),
        ({"all": "true"}, 400, "all: "),
        ({"filter": {"typ": "x"}}, 400, "filter.typ: "),
        ({"filter": {"since": "never"}}, 400, "filter.since: "),
        ({"events": [event], "target": url}, 400, "target: "),
        ({"events": [event], "to": url}, 400, "to: "),
        ({"events": [event], "url": url}, 400, "url: "),
        ({"events": [event], "handlers": ["unknown"]}, 404, "handlers: "),
        ({"events": ["evt_none"]}, 404, "no event"),
        ({"events": [event], "rate": 1e9}, 400, "rate: "),
    ):
        answer = order(failing, **body)
        assert (answer.status_code, answer.json()["error"][: len(error)]) == (status, error), answer.text
        assert url not in answer.text
    for raw, kind, status in (
        (b"{", "application/json", 400),
        (b'{"all":true,"all":true}', "application/json", 400),
        (b'{"all":true}', "text/plain", 415),
        (b"x" * 70_000, "application/json", 413),
        (b"\xff", "application/json", 400),
        (b"[]", "application/json", 400),
    ):
        answer = asking.request("POST", "/replays", content=raw, headers={"Content-Type": kind})
        assert answer.status_code == status
    assert asking.json("/replays") == {"replays": []}


@pytest.mark.fault("W6")
def test_nothing_that_a_request_says_makes_it_a_replay(failing: Receiver) -> None:
    markers = {"X_Replay": "replay_1", "Replay": "true", "Webhook_Id": "evt_1", "Idempotency_Key": "evt_1:x"}
    assert failing.post(callback("v1", "failed"), X_API_Key="wrong", **markers).status_code == 401
    failing.accepted(callback("v2", "failed"))
    answer = failing.post(callback("v2", "failed"), **markers)
    assert answer.json()["status"] == "duplicate"
    failing.accepted(callback("v3", "failed") | {"replay": "replay_1"})
    failing.settled(count=2)
    assert {line[1] for line in seen(failing)} == {"None"}
    assert len(seen(failing)) == 2
