"""The commands beside `serve`: what they print, in which form, and with which exit status."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.cli import COMMANDS
from tests.acceptance.conftest import (
    KEY,
    Ended,
    Event,
    Receiver,
    a_video,
    callback,
    each,
    run,
    together,
    until,
)

EVENT_FIELDS = [
    "id",
    "source",
    "type",
    "event_key",
    "video_id",
    "status",
    "title",
    "received_at",
    "duplicates",
    "conflict",
    "warnings",
    "bytes",
    "jobs",
]
TITLE = "The first → \x1b[31m"
JOB_FIELDS = ["id", "handler", "state", "attempts", "run_at", "last_error"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Receiver:
    """A store with some of everything, its server stopped; only looked at, so all tests share it."""
    receiver = Receiver(tmp_path_factory.mktemp("recorded")).configure(
        '[sources.other]\nkind = "opennote"\norganization_id = "org_other"\napi_keys = ["key-of-the-other"]\n'
    )
    receiver.handler(
        "from receiver import Cancel, Fail, Retry, Router\nrouter = Router()\n"
        "@router.on('video.failed')\ndef decide(event):\n"
        "    raise Fail('no hope') if event.video.id == 'v3' else Cancel('not ours')\n"
        "@router.on('video.progress')\ndef later(event):\n    raise Retry(after='1h', reason='not yet')\n"
        "@router.on('video.progress', after='hooks.later')\ndef much_later(event): ...\n"
    )
    with receiver:
        receiver.start("--handlers", "hooks.py", "--handlers", "save_video")
        for payload in (
            callback("v1", video=a_video(padding=100_000), title=TITLE),
            callback("v2", "pending") | {"completion_percentage": 30},
            callback("v3", "failed"),
            callback("v4", "failed"),
            callback("v5", "archived"),
        ):
            receiver.accepted(payload)
        assert receiver.post(callback("v4", "failed")).json()["status"] == "duplicate"
        assert receiver.post(callback("v1", "failed")).json()["status"] == "duplicate"
        assert receiver.post(callback("v1"), X_API_Key="wrong").status_code == 401
        assert (
            receiver.run("send", "other", "--id", "v6", "--type", "unknown", "--to", receiver.url).status == 0
        )
        until(lambda: len(receiver.log("job.finished", "job.failed", "job.cancelled", "job.retried")) == 4)
        assert receiver.stop() == 0
        assert len(receiver.events()) == 6
    return receiver


def ids(events: list[Event]) -> list[str]:
    return [event["video_id"] for event in events]


def test_events_have_the_fixed_fields_and_come_newest_first(recorded: Receiver) -> None:
    events = recorded.events()
    assert ids(events) == ["v6", "v5", "v4", "v3", "v2", "v1"]
    for event in events:
        assert list(event) == EVENT_FIELDS
        assert all(list(job) == JOB_FIELDS for job in event["jobs"])
        received = datetime.fromisoformat(event["received_at"])
        assert received.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - received) < timedelta(minutes=10)
    by_id = {event["video_id"]: event for event in events}
    first = by_id["v1"] | {"id": "", "received_at": ""}
    assert first == {
        "id": "",
        "source": "opennote",
        "type": "video.completed",
        "event_key": "v1@org_acceptance:completed",
        "video_id": "v1",
        "status": "completed",
        "title": TITLE,
        "received_at": "",
        "duplicates": 1,
        "conflict": True,
        "warnings": [],
        "bytes": first["bytes"],
        "jobs": [first["jobs"][0]],
    }
    assert type(first["bytes"]) is int
    job = first["jobs"][0]
    assert isinstance(job["id"], int)
    assert (job["handler"], job["state"], job["attempts"], job["last_error"]) == (
        "save_video",
        "done",
        1,
        None,
    )
    progress = {job["handler"]: job for job in by_id["v2"]["jobs"]}
    assert (progress["hooks.later"]["state"], progress["hooks.later"]["last_error"]) == ("ready", "not yet")
    due = datetime.fromisoformat(progress["hooks.later"]["run_at"])
    assert timedelta(minutes=50) < due - datetime.now(UTC) <= timedelta(hours=1)
    assert (progress["hooks.much_later"]["state"], progress["hooks.much_later"]["run_at"]) == (
        "waiting",
        None,
    )
    assert by_id["v3"]["jobs"][0]["last_error"] == "no hope"
    assert by_id["v4"]["jobs"][0]["last_error"] == "not ours", "last_error carries the reason of a Cancel"
    assert (by_id["v4"]["duplicates"], by_id["v4"]["conflict"]) == (1, False)
    assert by_id["v5"]["event_key"] == "v5@org_acceptance:other:archived"


FILTERS: list[tuple[list[str], list[str]]] = [
    (["--source", "other"], ["v6"]),
    (["--type", "video.failed"], ["v4", "v3"]),
    (["--state", "done"], ["v1"]),
    (["--state", "dead"], ["v3"]),
    (["--state", "cancelled"], ["v4"]),
    (["--state", "ready"], ["v2"]),
    (["--state", "waiting"], ["v2"]),
    (["--video", "v3"], ["v3"]),
    (["--video", "v"], []),
    (["--since", "1h"], ["v6", "v5", "v4", "v3", "v2", "v1"]),
    (["--until", "1h"], []),
    (["--since", "2020-01-01", "--until", "2020-02-01T12:00"], []),
    (["--type", "video.failed", "--state", "dead", "--limit", "1"], ["v3"]),
]


def test_each_filter_and_their_combination_choose_events(recorded: Receiver) -> None:
    found = each(lambda options: ids(recorded.events(*options)), [options for options, _ in FILTERS])
    assert found == [expected for _, expected in FILTERS]


def test_tables_for_people_drive_no_terminal_and_say_when_there_is_nothing(recorded: Receiver) -> None:
    config, few_letters = recorded.config, {"PYTHONIOENCODING": "ascii"}
    table, dead, nothing, shown, ascii_only = together(
        [
            lambda: recorded.run("events"),
            lambda: recorded.run("events", "--state", "dead"),
            lambda: recorded.run("events", "--video", "nobody"),
            lambda: recorded.run("show", recorded.events("--video", "v1")[0]["id"]),
            lambda: run("events", "--config", config, folder=recorded.folder, environment=few_letters),
        ]
    )
    assert table.status == 0
    assert "The first → " in table.stdout
    assert (ascii_only.status, ascii_only.stderr) == (0, "")
    assert "The first \\u2192 " in ascii_only.stdout
    assert len(table.stdout.splitlines()) >= 7
    assert all(video in table.stdout for video in ("v1", "v6", "hooks.later:ready", "conflict"))
    assert dead.stdout.splitlines()[0].split()[-1] == "why"
    assert dead.stdout.splitlines()[-1].endswith("no hope")
    assert (nothing.status, nothing.stdout, nothing.stderr) == (0, "", "no events\n")
    for told in (table, shown):
        assert "\x1b" not in told.stdout
        assert "\\x1b" in told.stdout
    for word in ("save_video: done", "attempt 1", "accepted", "conflict", "event key"):
        assert word in shown.stdout


def test_show_tells_everything_about_an_event(recorded: Receiver) -> None:
    [event] = recorded.events("--video", "v1")
    shown = recorded.show(event["id"][:-3])
    assert {name: shown[name] for name in EVENT_FIELDS if name != "jobs"} == {
        name: event[name] for name in EVENT_FIELDS if name != "jobs"
    }
    assert [delivery["verdict"] for delivery in shown["deliveries"]] == ["accepted", "conflict"]
    sent = dict(shown["deliveries"][0]["headers"])
    assert sent["x-webhook-platform"] == "opennote-api"
    assert KEY not in json.dumps(shown)
    assert shown["video"]["inline"] is True
    assert list(shown["payload"]["response"]["b64_video"]) == ["$long_string"]
    [attempt] = shown["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["error"]) == (1, "done", None)
    assert datetime.fromisoformat(attempt["started_at"]) <= datetime.fromisoformat(attempt["ended_at"])


def test_show_of_no_event_or_of_several_is_one_line_and_status_1(recorded: Receiver) -> None:
    one, other, *_ = [event["id"] for event in recorded.events()]
    common = one[: next(at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)]
    assert common, "ids of the same minute begin alike"
    for prefix, words in (("zzz", "no event"), (common, "several"), ("", "no event"), ("%", "no event")):
        ended = recorded.run("show", prefix)
        assert (ended.status, ended.stdout, len(ended.complaints)) == (1, "", 1), ended
        assert words in ended.complaints[0]
        assert recorded.run("show", prefix, "--raw").stdout == ""
    odd = recorded.run("events", "--config", "\x1b[2J.toml")
    assert (odd.status, "no configuration at \\x1b[2J.toml" in odd.stderr) == (2, True)


def test_raw_is_the_body_whether_it_lies_in_the_row_or_in_a_file(recorded: Receiver) -> None:
    payloads = {"v1": callback("v1", video=a_video(padding=100_000), title=TITLE)}
    payloads["v3"] = callback("v3", "failed")
    for video_id, payload in payloads.items():
        [event] = recorded.events("--video", video_id)
        ended = recorded.run("show", event["id"], "--raw")
        assert ended.stdout == json.dumps(payload)
        assert ended.stderr == ""


def test_a_reader_that_has_seen_enough_is_no_error(recorded: Receiver) -> None:
    [event] = recorded.events("--video", "v1")
    command = [
        sys.executable,
        "-m",
        "receiver",
        "--config",
        str(recorded.config),
        "show",
        event["id"],
        "--raw",
    ]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=20, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_rejections_say_which_check_failed(recorded: Receiver) -> None:
    [row] = recorded.look("rejections")
    assert datetime.fromisoformat(row.pop("at")).utcoffset() == timedelta(0)
    assert row == {
        "source": "opennote",
        "status": 401,
        "reason": "x-api-key is wrong",
        "peer": "127.0.0.1",
        "repeated": 1,
    }
    table = recorded.run("rejections")
    assert "x-api-key is wrong" in table.stdout


def test_config_and_json_are_taken_before_and_after_the_command(recorded: Receiver, tmp_path: Path) -> None:
    config = str(recorded.config)
    orders = [
        ["--config", config, "--json", "events"],
        ["events", "--json", "--config", config],
        ["--json", "events", "--config", config],
        ["--config", config, "events", "--json"],
        ["--config", "nowhere.toml", "events", "--config", config, "--json"],
    ]
    ends = each(lambda order: run(*order, folder=tmp_path), orders)
    assert [ended.status for ended in ends] == [0] * len(orders)
    assert {ended.stdout for ended in ends} == {ends[0].stdout}
    assert len(ends[0].objects) == 6


def test_every_command_answers_help_at_once(tmp_path: Path) -> None:
    def timed(*arguments: str) -> tuple[Ended, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended = run(*arguments, folder=tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return ended, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    asked = [("--help",), ("-h",), ("--version",), *((name, "--help") for name in COMMANDS)]
    for arguments in asked:
        ended, seconds = timed(*arguments)
        if seconds >= 1:  # whatever else the machine was doing just then
            ended, seconds = timed(*arguments)
        assert (ended.status, ended.stderr) == (0, ""), arguments
        assert seconds < 1, arguments
        assert re.match(r"Usage: receiver|receiver, version ", ended.stdout) or "Usage:" in ended.stdout
    listing = run("--help", folder=tmp_path).stdout
    assert all(re.search(rf"^  {name} ", listing, re.MULTILINE) for name in COMMANDS)
    assert list(tmp_path.iterdir()) == []


def test_init_writes_a_private_file_that_works_and_never_overwrites(tmp_path: Path) -> None:
    first = run("init", folder=tmp_path)
    assert first.status == 0
    config = tmp_path / "receiver.toml"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    for hint in ("receiver serve", "receiver send opennote", "receiver events"):
        assert hint in first.stdout
    text = config.read_text()
    second = run("init", folder=tmp_path)
    assert (second.status, second.stdout, len(second.complaints)) == (1, "", 1)
    assert "receiver.toml" in second.complaints[0]
    assert config.read_text() == text
    other = run("init", "sub/folder", "--json", folder=tmp_path)
    assert other.objects == [{"file": "sub/folder/receiver.toml"}]
    assert (tmp_path / "sub" / "folder" / "receiver.toml").read_text() != text, "credentials are fresh"
    (key,) = re.findall(r'api_keys = \["([^"]+)"\]', text)
    assert len(key) > 20
    assert key not in first.stdout


def test_what_init_says_next_works_to_the_letter(tmp_path: Path) -> None:
    assert run("init", folder=tmp_path).status == 0
    with Receiver(tmp_path) as receiver:
        receiver.start()
        assert receiver.run("send", "opennote", "--to", receiver.url).status == 0
        [event] = receiver.settled(count=1)
        assert {job["handler"]: job["state"] for job in event["jobs"]}["save_video"] == "done"
        assert list(receiver.files().values()) == [a_video()]


def test_looking_and_checking_work_beside_a_running_server_and_without_one(receiver: Receiver) -> None:
    assert receiver.events() == []
    fresh = receiver.look("check")
    assert {line["severity"] for line in fresh} <= {"ok", "warning"}
    assert {line["part"] for line in fresh} >= {"configuration", "handlers", "store", "disk"}
    assert all(list(line) == ["severity", "part", "text"] for line in fresh)
    receiver.start().ready()
    event = receiver.accepted(callback("v1", "failed"))
    running = {line["part"]: line["text"] for line in receiver.look("check") if line["severity"] == "ok"}
    assert "workers alive: 1" in running["store"]
    assert "save_video" in running["handlers"]
    beside = receiver.run("events", "--json").stdout
    receiver.stop()
    assert receiver.run("events", "--json").stdout == beside
    assert json.loads(beside)["id"] == event
    assert receiver.run("check").status == 0


def test_check_reports_each_thing_that_is_wrong_and_ends_with_status_1(
    receivers: Callable[..., Receiver], tmp_path: Path
) -> None:
    readable, broken, lost = receivers(), receivers(), receivers()
    readable.config.chmod(0o644)
    broken.config.write_text(broken.config.read_text() + '[handlers]\nload = ["nothing.py"]\n')
    lost.start("--no-worker")
    for number in range(60):
        lost.accepted(callback(f"v{number}", "failed") | {"filler": "x" * 5000})
    lost.accepted(callback("v", video=a_video(padding=100_000)))
    lost.stop()
    damaged = Receiver(tmp_path / "damaged")
    shutil.copytree(lost.folder, damaged.folder)
    (body,) = [path for path in (lost.folder / "data" / "bodies").rglob("*") if path.is_file()]
    body.unlink()
    database = damaged.folder / "data" / "receiver.db"
    content = bytearray(database.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xff" * 8192
    database.write_bytes(content)

    def checked(receiver: Receiver) -> tuple[int, list[tuple[str, str, str]]]:
        ended = receiver.run("check", "--json")
        assert "Traceback" not in ended.stderr
        found = [(line["severity"], line["part"], line["text"]) for line in ended.objects]
        return ended.status, [line for line in found if line[0] != "ok"]

    (readable_status, readable_found), (broken_status, broken_found), lost_found, damaged_found = each(
        checked, [readable, broken, lost, damaged]
    )
    assert readable_status == 0
    assert ("warning", "configuration") in [line[:2] for line in readable_found]
    assert broken_status == 1
    assert any(line[:2] == ("error", "handlers") and "nothing.py" in line[2] for line in broken_found), (
        broken_found
    )
    assert lost_found[0] == 1
    assert ("error", "bodies", "1 of 1 body files are gone") in lost_found[1]
    assert damaged_found[0] == 1
    assert [line for line in damaged_found[1] if line[:2] == ("error", "store")]


def test_handlers_lists_what_would_run_on_what(receiver: Receiver) -> None:
    receiver.handler(
        "from receiver import Router\nrouter = Router()\n"
        "@router.on('video.failed', 'video.unknown', source='opennote', attempts=3, timeout='90s')\n"
        'def tell(event):\n    """Tell somebody.\n\n    And more."""\n'
    )
    listed = receiver.look(
        "handlers", "--handlers", "hooks.py", "--handlers", "save_video", "--handlers", "log"
    )
    assert [line["name"] for line in listed] == ["hooks.tell", "save_video", "log"]
    card: dict[str, Any] = listed[0]["card"]
    assert (card["types"], card["source"], card["attempts"], card["timeout_seconds"], card["summary"]) == (
        ["video.failed", "video.unknown"],
        "opennote",
        3,
        90.0,
        "Tell somebody.",
    )
    table = receiver.run("handlers", "--handlers", "hooks.py").stdout
    assert all(word in table for word in ("hooks.tell", "video.failed", "opennote", "90s", "Tell somebody."))
    assert [line["name"] for line in receiver.look("handlers")] == ["save_video"]


def test_send_posts_every_kind_of_sample_as_often_as_asked(receiver: Receiver, tmp_path: Path) -> None:
    receiver.start("--no-worker")
    own = tmp_path / "own.mp4"
    own.write_bytes(a_video("my own", padding=200_000))
    to = ("--to", receiver.url)
    link = "http://127.0.0.1:9/videofs/v.mp4"
    samples: list[tuple[str | Path, ...]] = [
        ("--id", "c1"),
        ("--type", "failed", "--id", "f1"),
        ("--type", "video.progress", "--id", "p1"),
        ("--type", "unknown", "--id", "u1"),
        ("--url", link, "--id", "l1"),
        ("--url", link, "--inline", "--id", "b1"),
        ("--video", own, "--id", "o1"),
        ("--id", "r1", "--repeat", "3"),
        ("--repeat", "2"),
    ]
    ends = each(lambda options: receiver.run("send", "opennote", *to, *options), samples)
    assert [ended.status for ended in ends] == [0] * len(samples)
    events = {event["video_id"]: event for event in receiver.events()}
    assert len(events) == 10
    assert {name: event["type"].partition(".")[2] for name, event in events.items() if len(name) == 2} == {
        "c1": "completed",
        "f1": "failed",
        "p1": "progress",
        "u1": "unknown",
        "l1": "completed",
        "b1": "completed",
        "o1": "completed",
        "r1": "completed",
    }
    assert events["r1"]["duplicates"] == 2
    videos = {name: receiver.show(events[name]["id"])["video"] for name in ("c1", "l1", "b1", "o1")}
    assert {name: (video["inline"], video["url"]) for name, video in videos.items()} == {
        "c1": (True, None),
        "l1": (False, link),
        "b1": (True, link),
        "o1": (True, None),
    }
    answered = receiver.look("send", "opennote", *to, "--id", "r1")
    assert answered == [
        {"video_id": "r1", "status": 200, "answer": {"status": "duplicate", "event": events["r1"]["id"]}}
    ]


def test_send_fails_when_it_is_not_accepted_or_nobody_is_there(receivers: Callable[..., Receiver]) -> None:
    receiver, stranger = receivers(), receivers()
    stranger.config.write_text(stranger.config.read_text().replace(KEY, "another-key"))
    receiver.start("--no-worker")
    refused = stranger.run("send", "opennote", "--to", receiver.url, "--repeat", "2")
    assert refused.status == 1
    assert refused.stdout.count("401") == 2
    assert refused.complaints == ["receiver: 2 of 2 were not accepted"]
    receiver.stop()
    gone = receiver.run("send", "opennote", "--to", receiver.url)
    assert (gone.status, gone.stdout, len(gone.complaints)) == (1, "", 1)
    assert "receiver serve" in gone.complaints[0]


def test_sandbox_takes_the_options_of_every_command(receiver: Receiver) -> None:
    command = [
        sys.executable,
        "-m",
        "receiver",
        "--config",
        str(receiver.config),
        "--json",
        "sandbox",
        "--port",
        "0",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=receiver.folder
    ) as process:
        assert process.stdout is not None
        greeting = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert set(greeting) == {"base_url", "organization_id"}
    assert (process.returncode, rest, errors) == (0, b"", b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "\udcff"),
        ("events", "--video", "\udcff"),
        ("events", "--source", "a\udcff"),
        ("send", "opennote", "--id", "\udcff"),
        ("send", "opennote", "--url", "http://127.0.0.1/\udcff"),
        ("send", "\udcff"),
        ("send", "opennote", "--to", "http://[::1"),
        ("send", "opennote", "--to", "http://127.0.0.1:99999"),
        ("send", "opennote", "--to", "http://127.0.0.1\udcff"),
        ("serve", "--port", "0", "--host", "\udcff"),
        ("serve", "--port", "0", "--host", "a" * 64),
    ],
    ids=ascii,
)
def test_an_argument_that_is_no_text_or_no_url_is_wrong_usage(
    arguments: tuple[str, ...], recorded: Receiver
) -> None:
    ended = recorded.run(*arguments)

    assert (ended.status, ended.stdout) == (2, "")
    assert re.search(r"not UTF-8 text|--to: not a URL|can't listen on", ended.complaints[-1])
    assert "Traceback" not in ended.stderr
