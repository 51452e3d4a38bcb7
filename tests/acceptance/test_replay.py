"""Events run again, as their operator does it: what runs, what is asked, and what is on record afterwards."""

from __future__ import annotations

import json
import os
import pty
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import PROGRAM, Event, Receiver, a_video, callback, until

HANDLERS = """\
import json, os
from pathlib import Path
from receiver import Fail, Router
router = Router()

@router.on("video.completed")
def save(event, context):
    with Path("ran.jsonl").open("a") as file:
        key, replay = context.idempotency_key, context.replay
        file.write(json.dumps({"save": event.video.id, "key": key, "replay": replay}) + "\\n")
    if not Path("mended").exists():
        raise Fail("it is broken")
    return {"by": context.replay or "the first"}

@router.on("video.completed", after="hooks.save")
def probe(event, context):
    with Path("ran.jsonl").open("a") as file:
        file.write(json.dumps({"probe": event.video.id, "saw": context.results["hooks.save"]["by"]}) + "\\n")

@router.on("video.completed")
def fine(event): ...
"""


@pytest.fixture
def broken(receiver: Receiver) -> Receiver:
    """A receiver whose handlers are not mended yet, with three events."""
    receiver.handler(HANDLERS)
    receiver.start("--handlers", "hooks.py")
    for name in ("v1", "v2", "v3"):
        receiver.accepted(callback(name))
    receiver.settled(count=3)
    return receiver


def ran(receiver: Receiver) -> list[dict[str, Any]]:
    """What the handlers have written, in order; and nothing is left of it."""
    file = receiver.folder / "ran.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def event_of(receiver: Receiver, video: str) -> Event:
    (event,) = receiver.events("--video", video)
    return event


def states(receiver: Receiver, video: str) -> list[tuple[str, str]]:
    return [(job["handler"], job["state"]) for job in event_of(receiver, video)["jobs"]]


FIRST = [("hooks.save", "dead"), ("hooks.probe", "cancelled"), ("hooks.fine", "done")]


def test_what_failed_runs_again_beside_the_old_jobs_and_is_marked(broken: Receiver) -> None:
    (first, *_) = [line for line in ran(broken) if line["save"] == "v1"]
    (broken.folder / "mended").touch()
    event = event_of(broken, "v1")["id"]

    ended = broken.run("replay", event)

    assert (ended.status, ended.complaints) == (0, [])
    assert ended.stdout.endswith(": 2 jobs of 1 events\n")
    replay = ended.stdout.partition(":")[0]
    broken.settled(count=3)
    assert states(broken, "v1") == [*FIRST, ("hooks.save", "done"), ("hooks.probe", "done")]
    assert states(broken, "v2") == FIRST
    assert ran(broken) == [
        {"save": "v1", "key": first["key"], "replay": replay},
        {"probe": "v1", "saw": replay},
    ]
    assert first["replay"] is None
    again = broken.run("replay", event)
    assert again.stdout.endswith(": 0 jobs of 1 events\n"), "all is done by now"
    assert again.complaints == ["nothing was to be run again; --dry-run says why"]


def test_a_handler_that_is_done_runs_again_only_when_it_is_named_or_with_again(broken: Receiver) -> None:
    event = event_of(broken, "v2")["id"]

    ended = broken.run("replay", event[:20], "--handler", "hooks.fine")
    assert ("1 jobs of 1 events" in ended.stdout, ended.complaints) == (True, [])
    (planned,) = broken.look("replay", event, "--again", "--dry-run")

    assert planned["jobs"] == [
        {"handler": "hooks.save", "state": "ready", "after": None},
        {"handler": "hooks.probe", "state": "waiting", "after": "hooks.save"},
        {"handler": "hooks.fine", "state": "ready", "after": None},
    ]


def test_a_dry_run_says_what_would_run_on_what_and_changes_nothing(broken: Receiver) -> None:
    planned = broken.look("replay", "--all", "--dry-run")

    assert [plan["video_id"] for plan in planned] == ["v1", "v2", "v3"]
    for plan in planned:
        assert [job["handler"] for job in plan["jobs"]] == ["hooks.save", "hooks.probe"]
        assert plan["left"] == [{"handler": "hooks.fine", "reason": "it is done"}]
    shown = broken.run("replay", "--all", "--dry-run")
    assert "would be made: 6 jobs of 3 events" in shown.stderr
    assert "after hooks.save" in shown.stdout
    assert states(broken, "v1") == FIRST
    assert broken.look("replays") == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "which events?"),
        (["--state", "dead", "--all"], "in one way"),
        (["--limit", "1", "--all"], "in one way"),
        (["--all", "--yes", "--retry", "1"], "by --to"),
        (["--all", "--yes", "--partial"], "about a damaged FILE"),
        (["evt_1", "--all"], "in one way"),
        (["--all"], "3 events: say --yes, as there is nobody to ask"),
        (["--all", "--handler", "hooks.sav"], 'did you mean "hooks.save"?'),
        (["--all", "--rate", "many"], "for example '10/s'"),
    ],
)
def test_a_slip_is_told_and_nothing_is_done(broken: Receiver, arguments: list[str], complaint: str) -> None:
    ended = broken.run("replay", *arguments)

    assert ended.status == 2
    assert complaint in ended.stderr
    assert broken.look("replays") == []


def test_an_id_that_nobody_has_is_told(broken: Receiver) -> None:
    assert broken.run("replay", "evt_00").status == 1
    ended = broken.run("replay", "evt_")
    (complaint,) = ended.complaints
    assert ended.status == 1
    assert complaint.startswith("receiver: several events begin with 'evt_'; give more of the id: evt_")


@pytest.mark.fault("W5")
def test_more_than_one_event_is_asked_for_with_the_counts(broken: Receiver) -> None:
    command = [*PROGRAM, "--config", str(broken.config), "replay", "--all"]
    closed = subprocess.run(["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *command], check=False, timeout=60)
    assert closed.returncode == 2, "who has closed the input is nobody to ask"
    for answer, status in ((b"n\n", 1), (signal.SIGINT, 130), (b"y\n", 0)):
        shown, ended = _on_a_terminal(broken, ["replay", "--state", "dead"], answer)
        assert "3 events, of which 3 get new jobs" in shown
        assert "3 × hooks.save" in shown
        assert "3 not again: it is done" in shown
        assert ended == status
        assert len(broken.look("replays")) == (status == 0)


def _on_a_terminal(
    receiver: Receiver, arguments: list[str], answer: bytes | signal.Signals
) -> tuple[str, int]:
    """Run a command on a terminal of its own, answer, and give what was shown and the exit status."""
    own, its = pty.openpty()
    command = [*PROGRAM, "--config", str(receiver.config), *arguments]
    with subprocess.Popen(command, cwd=receiver.folder, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(own, 1000)
        if isinstance(answer, bytes):
            os.write(own, answer)
        else:
            process.send_signal(answer)
        try:
            while piece := os.read(own, 1000):
                shown += piece
        except OSError:  # the other end is closed
            pass
        os.close(own)
        status = process.wait(20)
    return shown.decode(), status


def test_a_replay_is_on_record_with_who_when_and_what(broken: Receiver) -> None:
    (broken.folder / "mended").touch()
    assert broken.run("replay", "--type", "video.completed", "--yes").status == 0
    broken.settled(count=3)

    (row,) = broken.look("replays")
    (one,) = broken.look("replays", row["id"][:10])

    assert "@" in row["made_by"]
    assert row["wanted"] == {
        "filter": {"type": "video.completed"},
        "handlers": [],
        "again": False,
    }
    assert (row["status"], row["selected"], row["events"], row["jobs"]) == ("finished", 3, 3, 6)
    assert row["began_at"] <= row["ended_at"]
    assert one["states"] == {"done": 6}
    assert row["id"][:16] in broken.run("replays").stdout
    unknown = broken.run("replays", "nothing", "--json")
    assert (unknown.status, unknown.stdout, unknown.stderr) == (1, "", "receiver: no replay 'nothing'\n")


@pytest.mark.fault("W5")
def test_a_rate_holds_and_ctrl_c_ends_it_cleanly_and_says_where(broken: Receiver) -> None:
    command = [*PROGRAM, "--config", str(broken.config), "replay", "--all", "--yes", "--rate", "20/m"]
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=broken.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: through(broken) == 2)
        assert time.monotonic() - began >= 3.0, "the second event had to wait for its three seconds"
        process.send_signal(signal.SIGINT)
        said, told = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "2 of 3 events" in said
    assert f"stopped before event {event_of(broken, 'v3')['id']}" in told
    assert broken.look("replays")[0]["status"] == "stopped"
    assert states(broken, "v3") == FIRST


def through(receiver: Receiver) -> int:
    """How many events the last replay has been through, looked at beside the server."""
    database = (receiver.folder / "data" / "receiver.db").as_uri()
    with closing(sqlite3.connect(f"{database}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT coalesce(max(events), 0) FROM replays").fetchone()[0])


def test_without_a_server_the_jobs_wait_for_one(receivers: Callable[..., Receiver], tmp_path: Path) -> None:
    receiver = receivers("[handlers]\nload = ['hooks.py']\n")
    receiver.handler(HANDLERS)
    receiver.start()
    receiver.accepted(callback("v1", video=a_video()))
    receiver.settled(count=1)
    receiver.stop()
    (receiver.folder / "mended").touch()

    ended = receiver.run("replay", "--all", "--yes")
    assert ended.stdout.endswith(": 2 jobs of 1 events\n")
    assert ended.complaints == ["no server runs: the jobs wait until one is started"]

    receiver.start()
    receiver.settled(count=1)
    assert states(receiver, "v1")[3:] == [("hooks.save", "done"), ("hooks.probe", "done")]


def test_handlers_that_the_server_does_not_have_are_named_by_handlers(broken: Receiver) -> None:
    source = (
        "from receiver import Router\nrouter = Router()\n@router.on('video.completed')\ndef more(): ...\n"
    )
    broken.handler(source, name="later.py")
    event = event_of(broken, "v1")["id"]

    planned = broken.look("replay", event, "--handlers", "later.py", "--dry-run")
    ended = broken.run("replay", event, "--handlers", "later.py")

    assert [job["handler"] for job in planned[0]["jobs"]] == ["later.more"]
    assert ended.complaints == ["the server does not load later.more: jobs of it wait for a worker that does"]
