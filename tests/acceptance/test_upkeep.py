"""`receiver prune` and `backup`, with and without a server; a server removes what is old by itself."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import Receiver, a_video, callback, until
from tests.contract.stand import StoreProcess
from tests.invariant import Ledger, assert_balanced

MONTH_MS = 31 * 24 * 3600 * 1000
COUNTS = [
    *("events", "deliveries", "jobs", "attempts", "body_files", "bytes"),
    *("watches", "submissions", "dry_run"),
]


def database_of(receiver: Receiver) -> Path:
    return receiver.folder / "data" / "receiver.db"


def grow_old(receiver: Receiver, *videos: str) -> None:
    """Let events of a stopped server be a month old, and their body files."""
    marks = ",".join("?" * len(videos))
    chosen = f"(SELECT seq FROM events WHERE video_id IN ({marks}))"  # noqa: S608 - marks only
    with closing(sqlite3.connect(database_of(receiver))) as connection, connection:
        for table, times, key in (
            ("deliveries", ["received_at"], "event"),
            ("jobs", ["ended_at", "started_at"], "event"),
            ("events", ["received_at"], "seq"),
        ):
            changes = ", ".join(f"{time} = {time} - {MONTH_MS}" for time in times)
            connection.execute(f"UPDATE {table} SET {changes} WHERE {key} IN {chosen}", videos)  # noqa: S608
    for path in receiver.folder.joinpath("data/bodies").glob("??/*"):
        os.utime(path, (time.time() - MONTH_MS / 1000,) * 2)


@pytest.fixture
def aged(receiver: Receiver) -> Receiver:
    """A receiver that has stopped, with one old video and one of today, both saved."""
    with receiver:
        receiver.start()
        for video in ("old", "new"):
            receiver.accepted(callback(video, video=a_video(video, padding=100_000)))
        receiver.settled(count=2)
        assert receiver.stop() == 0
    grow_old(receiver, "old")
    return receiver


@pytest.mark.fault("F8")
def test_prune_announces_and_removes_the_same_with_and_without_a_server(
    aged: Receiver, tmp_path: Path
) -> None:
    other = Receiver(tmp_path / "other")
    shutil.copytree(aged.folder, other.folder)
    [announced] = aged.look("prune", "--dry-run")
    assert list(announced) == COUNTS
    assert {name: announced[name] for name in COUNTS[:5]} == dict.fromkeys(COUNTS[:5], 1)
    assert announced["bytes"] > 100_000
    assert len(aged.events()) == 2

    [removed] = aged.look("prune")
    with other:
        other.start()
        assert other.look("prune", "--dry-run") == [announced]
        assert other.look("prune") == [removed]
        assert "removed:" in other.run("prune").stdout
        assert other.post(callback("new", video=b"x")).json()["status"] == "duplicate"
        other.accepted(callback("old", "failed"))

    assert removed == announced | {"dry_run": False}
    for receiver in (aged, other):
        assert [event["video_id"] for event in receiver.events()][-1] == "new"
        assert len(list(receiver.folder.joinpath("data/bodies").glob("??/*"))) == 1
        assert {path.name for path in receiver.videos.glob("*.mp4")} == {"A title-old.mp4", "A title-new.mp4"}
        assert all(line["severity"] != "error" for line in receiver.look("check"))


def test_a_store_removes_what_is_old_by_itself_and_says_so(aged: Receiver) -> None:
    options = {"--bodies": str(aged.folder / "data" / "bodies"), "--prune-after-seconds": "0.1"}
    options |= {f"--keep-{name}-seconds": str(30 * 86400) for name in ("events", "dead", "bodies")}
    process = StoreProcess(database_of(aged), more=options)
    try:
        until(lambda: "retention.applied" in process.log.read_text(), what="retention")
    finally:
        process.stop()
    [line] = [
        json.loads(line) for line in process.log.read_text().splitlines() if "retention.applied" in line
    ]
    assert {name: line[name] for name in COUNTS[:5]} == dict.fromkeys(COUNTS[:5], 1)
    assert [event["video_id"] for event in aged.events()] == ["new"]


def test_the_server_passes_its_retention_on_to_the_store(receiver: Receiver) -> None:
    receiver.configure('[retention]\nevents = "4d"\ndead = "5d"\nbodies = "6h"\n')
    with receiver:
        receiver.start("--no-worker")
        arguments = Path(f"/proc/{receiver.child('receiver.store.process')}/cmdline").read_text().split("\0")
    for name, seconds in (("events", 4 * 86400), ("dead", 5 * 86400), ("bodies", 6 * 3600)):
        given = arguments[arguments.index(f"--keep-{name}-seconds") + 1]
        assert float(given) == seconds
    assert Path(arguments[arguments.index("--bodies") + 1]) == receiver.folder / "data" / "bodies"


def test_retention_that_forgets_what_senders_may_repeat_is_refused(receiver: Receiver) -> None:
    receiver.configure('[retention]\nevents = "71h"\n')
    ended = receiver.run("prune")
    assert ended.status == 2
    assert "retention.events: at least 3d" in ended.stderr


@pytest.mark.fault("C12")
def test_backups_in_a_loop_under_load_open_and_pass_the_invariant_checker(receiver: Receiver) -> None:
    ledger, stop = Ledger(), threading.Event()

    def send() -> None:
        number = 0
        while not stop.is_set():
            answer = receiver.post(callback(f"v{number}", "failed"))
            ledger.told(answer.status_code, answer.content)
            number += 1

    with receiver:
        receiver.start()
        receiver.accepted(callback("large", video=a_video(padding=100_000)))
        sending = threading.Thread(target=send)
        sending.start()
        try:
            for number in range(3):
                known = list(ledger.answers)
                [told] = receiver.look("backup", f"copy{number}.db", "--bodies", "bodies")
                assert (told["body_files"], told["gone"]) == (1, 0)
                later = len(ledger.answers) - len(known) + 2
                told_by_then = Ledger(answers=known, unanswered=later)
                copy = receiver.folder / f"copy{number}.db"
                assert copy.stat().st_mode & 0o777 == 0o600
                assert_balanced(copy, told_by_then, bodies=receiver.folder / "bodies")
        finally:
            stop.set()
            sending.join()
    assert len(ledger.answers) > 3
    assert ledger.by_status.keys() == {200}
    assert list(receiver.folder.glob(".*.part")) == []


def test_a_backup_is_a_database_to_begin_from_and_replaces_nothing_unasked(
    aged: Receiver, tmp_path: Path
) -> None:
    copy = tmp_path / "restored" / "data" / "receiver.db"
    copy.parent.mkdir(parents=True)
    ended = aged.run("backup", copy, "--bodies", copy.parent / "bodies")
    assert (ended.status, ended.stderr) == (0, "")
    assert "2 body files lie in" in ended.stdout
    before = copy.read_bytes()
    refused = aged.run("backup", copy)
    assert (refused.status, len(refused.complaints)) == (1, 1)
    assert "--force" in refused.stderr
    assert copy.read_bytes() == before
    assert aged.run("backup", copy, "--force").status == 0

    restored = Receiver(tmp_path / "restored").configure()
    with restored:
        restored.start()
        assert {event["video_id"] for event in restored.events()} == {"old", "new"}
        assert restored.post(callback("new", video=b"x")).json()["status"] == "duplicate"
    assert all(line["severity"] != "error" for line in restored.look("check"))
