"""`confirm = true`: a callback with a stolen key is marked, told, seen by no handler, and hides nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import KEY, Receiver, a_video, callback, until
from tests.acceptance.standins import API_KEY, PROMPT, Sandbox, sandbox
from tests.invariant import Ledger, assert_balanced

Receivers = Callable[..., Receiver]
CONFIRM = "receiver.confirm"
SEES = """\
from pathlib import Path
from receiver import Router

router = Router()

@router.on("video.completed", "video.failed")
def see(event):
    with (Path(__file__).parent / "seen").open("a") as seen:
        seen.write(f"{event.id} {event.type}\\n")
"""


@contextmanager
def confirming(receivers: Receivers, *options: str) -> Iterator[tuple[Receiver, Sandbox]]:
    """A receiver that confirms callbacks of a sandbox, and whose handlers say what they see."""
    with sandbox("--delay", "0.3s", *options) as stand_in:
        receiver = receivers(
            f'api_url = "{stand_in.url}"\nconfirm = true\n', s3_base_url=f"{stand_in.url}/videofs", top=PROMPT
        )
        keys = receiver.config.read_text().replace(f'["{KEY}"]', f'["{API_KEY}", "{KEY}"]')
        receiver.config.write_text(keys)
        receiver.handler(SEES)
        receiver.start("--handlers", "hooks.py", "--handlers", "save_video")
        yield receiver, stand_in


def seen(receiver: Receiver) -> list[str]:
    path = receiver.folder / "seen"
    return path.read_text().splitlines() if path.exists() else []


def forge(receiver: Receiver, payload: dict[str, Any], ledger: Ledger | None = None) -> str:
    """Post a callback with the stolen key, and give the event's id."""
    answer = receiver.post(payload)
    if ledger is not None:
        ledger.told(answer.status_code, answer.content)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["event"])


def jobs_of(event: dict[str, Any]) -> dict[str, str]:
    return {job["handler"]: job["state"] for job in event["jobs"]}


@pytest.mark.parametrize("upload_to_s3", [True, False], ids=["by link", "inline"])
def test_a_true_callback_is_confirmed_before_any_handler_sees_it(
    receivers: Receivers, upload_to_s3: bool
) -> None:
    with confirming(receivers) as (receiver, stand_in):
        video_id = stand_in.create_opennote(f"{receiver.url}/webhooks/opennote", upload_to_s3=upload_to_s3)
        [event] = receiver.settled(count=1, seconds=60)

    assert event["video_id"] == video_id
    assert jobs_of(event) == {CONFIRM: "done", "hooks.see": "done", "save_video": "done"}
    assert len(receiver.files()) == 1
    assert seen(receiver) == [f"{event['id']} video.completed"]
    assert receiver.look("rejections") == []


@pytest.mark.fault("A4")
def test_a_forged_end_is_refuted_and_the_true_one_handled(receivers: Receivers) -> None:
    with confirming(receivers, "--drop", "1") as (receiver, stand_in):
        ledger = Ledger()
        video_id = stand_in.create_opennote(f"{receiver.url}/webhooks/opennote", upload_to_s3=True)
        truth = stand_in.completed(video_id)
        forged_id = forge(receiver, callback(video_id, "failed"), ledger)
        true, forged = receiver.settled(count=2, seconds=60)
        [rejection] = receiver.look("rejections")
        stand_in_link = truth["response"]["s3_url"]

    assert forged["id"] == forged_id
    assert forged["warnings"] == ["refuted"]
    assert jobs_of(forged) == {CONFIRM: "cancelled", "hooks.see": "cancelled"}
    reason = "the provider says completed, the callback said failed"
    assert {job["last_error"] for job in forged["jobs"]} == {reason, f"{CONFIRM} is cancelled"}
    assert (true["video_id"], true["type"], true["warnings"]) == (video_id, "video.completed", [])
    assert jobs_of(true) == {"hooks.see": "done", "save_video": "done"}
    shown = receiver.show(true["id"])
    assert [delivery["via"] for delivery in shown["deliveries"]] == ["poll"]
    assert shown["video"]["url"].partition("?")[0] == stand_in_link.partition("?")[0]
    assert seen(receiver) == [f"{true['id']} video.completed"], "no handler saw the forged one"
    assert (rejection["status"], rejection["reason"]) == (200, f"refuted {forged_id}: {reason}")
    assert "refuted" in receiver.run("show", forged_id).stdout
    receiver.stop()
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)


@pytest.mark.fault("A4")
def test_a_forged_inline_video_is_never_saved(receivers: Receivers) -> None:
    with confirming(receivers, "--drop", "1") as (receiver, stand_in):
        video_id = stand_in.create_opennote(f"{receiver.url}/webhooks/opennote", upload_to_s3=False)
        stand_in.completed(video_id)
        forge(receiver, callback(video_id, video=a_video("forged", padding=100_000)))
        true, forged = receiver.settled(count=2, seconds=60)

    assert forged["warnings"] == ["refuted"]
    assert {job["last_error"] for job in forged["jobs"]} >= {"the provider has another inline video"}
    [saved] = receiver.files().values()
    assert saved != a_video("forged", padding=100_000)
    assert jobs_of(true)["save_video"] == "done"
    assert not list((receiver.folder / "data" / "bodies").glob("passing/*"))


@pytest.mark.fault("A4")
def test_a_callback_about_a_video_that_never_was_is_refuted(receivers: Receivers) -> None:
    with confirming(receivers) as (receiver, _):
        forge(receiver, callback("video-nobody-ordered", url="http://127.0.0.1:9/videofs/x.mp4"))
        [event] = receiver.settled(count=1, seconds=60)

    assert event["warnings"] == ["refuted"]
    assert event["jobs"][0]["last_error"].startswith("the provider knows no such video (404")
    assert event["jobs"][0]["attempts"] == 3
    assert seen(receiver) == []


@pytest.mark.fault("A4", "D2")
def test_a_forged_end_of_a_video_in_the_making_does_not_hide_the_real_one(receivers: Receivers) -> None:
    with confirming(receivers, "--delay", "3s") as (receiver, stand_in):
        video_id = stand_in.create_opennote(f"{receiver.url}/webhooks/opennote", upload_to_s3=True)
        forge(receiver, callback(video_id, url=f"{stand_in.url}/videofs/forged.mp4"))
        until(lambda: receiver.look("rejections"), what="it is refuted", seconds=60)
        events = receiver.settled(count=2, seconds=60)
        content = next(iter(receiver.files().values()))

    marks = {event["id"]: event["warnings"] for event in events}
    assert sorted(map(len, marks.values())) == [0, 1]
    assert len(receiver.files()) == 1
    assert content
    assert len(seen(receiver)) == 1


def test_what_the_provider_is_asked_with_is_in_no_file(receivers: Receivers, tmp_path: Path) -> None:
    with confirming(receivers) as (receiver, stand_in):
        video_id = stand_in.create_opennote(f"{receiver.url}/webhooks/opennote", upload_to_s3=True)
        receiver.settled(count=1, seconds=60)
        receiver.stop()

    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "receiver.toml"]
    assert any(video_id.encode() in path.read_bytes() for path in kept)
    assert [path for path in kept if API_KEY.encode() in path.read_bytes()] == []
    assert json.loads(receiver.log_file.read_text().splitlines()[0])
