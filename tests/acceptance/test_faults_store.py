"""A store that is locked, damaged, stopped or killed: as senders and whoever watches see it."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import (
    NO_TLS,
    Receiver,
    a_video,
    callback,
    is_running,
    processes_in,
    until,
)
from tests.contract.stand import failing
from tests.invariant import Ledger, assert_balanced


def database_of(receiver: Receiver) -> Path:
    return receiver.folder / "data" / "receiver.db"


def health(receiver: Receiver, path: str) -> tuple[int, str]:
    """The status of a health check, and what it says is wrong."""
    answer = httpx.get(f"{receiver.url}{path}", verify=NO_TLS, trust_env=False, timeout=30)
    return answer.status_code, answer.json().get("error", "")


def unready(receiver: Receiver, *, because: str) -> None:
    """See it turn unready for a reason, and stay alive."""
    until(lambda: because in health(receiver, "/readyz")[1], what=f"unready: {because}")
    assert health(receiver, "/readyz")[0] == 503
    assert health(receiver, "/healthz") == (200, "")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that is alive and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# Locked.


@pytest.mark.fault("C10")
def test_a_lock_that_is_held_too_long_is_503_and_then_200_again(receiver: Receiver) -> None:
    receiver.start().ready()
    ledger = Ledger()

    def post(video_id: str) -> httpx.Response:
        answer = receiver.post(callback(video_id, "failed"))
        ledger.told(answer.status_code, answer.content)
        return answer

    assert post("before").status_code == 200
    with closing(sqlite3.connect(database_of(receiver), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        refused = post("during")
        assert (refused.status_code, refused.json()["status"]) == (503, "refused")
        assert int(refused.headers["Retry-After"]) > 0
        assert 1 < time.monotonic() - began < 5, "it waits for a while, and no longer than a sender does"
        unready(receiver, because="locked")
        other.execute("ROLLBACK")
    receiver.ready()
    assert post("during").json()["status"] == "accepted", "nothing of it was kept"
    receiver.settled(count=2)
    assert receiver.log("process.died", "store.failed") == []
    receiver.stop()
    assert_balanced(database_of(receiver), ledger)


@pytest.mark.fault("C10")
def test_a_start_on_a_locked_database_is_one_line_with_the_true_reason(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    event = receiver.accepted(callback("v1", "failed"))
    receiver.stop()
    with closing(sqlite3.connect(database_of(receiver), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ended = receiver.run("serve", "--port", "0")
        other.execute("ROLLBACK")
    assert ended.status == 2
    [line] = ended.complaints
    assert "another program keeps it locked" in line
    assert "damaged" not in line
    receiver.start()
    assert [found["id"] for found in receiver.settled(count=1)] == [event]


# Health.


@pytest.mark.fault("O12")
def test_each_part_that_is_broken_alone_is_unready_with_its_reason_and_alive(
    receivers: Callable[..., Receiver],
) -> None:
    receiver = receivers('[worker]\nlease = "1s"\n').start().ready()
    with stopped(receiver.child("receiver.store.process")):
        unready(receiver, because="did not answer")
    receiver.ready()
    with stopped(receiver.child("receiver.worker")):
        unready(receiver, because="no worker is alive")
    receiver.ready()
    with failing(database_of(receiver), "INSERT ON meta"):
        unready(receiver, because="can't be written")
        assert receiver.run("events").status == 0, "it can be read, which is not enough"
    receiver.ready()
    moved = database_of(receiver).with_name("moved.db")
    database_of(receiver).rename(moved)
    until(lambda: health(receiver, "/readyz")[0] == 503, what="unready without its file")
    assert health(receiver, "/healthz") == (200, "")
    receiver.logged("store.failed")
    moved.rename(database_of(receiver))
    receiver.ready()
    receiver.accepted(callback("after", "failed"))


@pytest.mark.fault("O12")
def test_it_is_alive_before_it_is_ready(receiver: Receiver) -> None:
    receiver.start("--workers", "1")
    assert health(receiver, "/healthz") == (200, "")
    receiver.ready()
    store = receiver.child("receiver.store.process")
    os.kill(store, signal.SIGKILL)
    until(lambda: not is_running(store))
    assert health(receiver, "/healthz") == (200, "")
    receiver.ready()
    assert receiver.child("receiver.store.process") != store


@pytest.mark.fault("C8")
def test_damage_is_found_beside_the_work_and_by_check(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    receiver.accepted(callback("v1", "failed"))
    receiver.stop()
    with closing(sqlite3.connect(database_of(receiver))) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'rejections'"
        (page,) = connection.execute(query).fetchone()
    with database_of(receiver).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    receiver.start()
    unready(receiver, because="the database is damaged")
    assert receiver.log("store.damaged")
    checked = receiver.run("check", "--json")
    assert checked.status == 1
    assert [line for line in checked.objects if (line["severity"], line["part"]) == ("error", "store")]
    receiver.accepted(callback("v2", "failed"))


# Body files.


@pytest.mark.fault("C6")
def test_body_files_and_rows_that_miss_each_other_are_counted_at_the_start(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    for name in ("kept", "lost"):
        receiver.accepted(callback(name, video=a_video(name, padding=100_000)))
    receiver.stop()
    bodies = receiver.folder / "data" / "bodies"
    digests = {event["video_id"]: receiver.show(event["id"])["body_sha256"] for event in receiver.events()}
    (bodies / digests["lost"][:2] / digests["lost"]).unlink()
    orphan = hashlib.sha256(b"orphan").hexdigest()
    planted = [bodies / orphan[:2] / orphan, bodies / "incoming" / "abandoned.part"]
    for path in planted:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(b"orphan")
    receiver.start("--no-worker")
    [swept] = receiver.logged("bodies.swept")
    [missed] = receiver.logged("bodies.missed")
    assert (swept["orphans"], swept["temporary"], swept["bytes"]) == (1, 1, 12)
    assert (missed["count"], missed["digests"]) == (1, [digests["lost"]])
    assert not any(path.exists() for path in planted)
    assert (bodies / digests["kept"][:2] / digests["kept"]).is_file()


@pytest.mark.fault("C7")
def test_a_restart_that_is_killed_again_and_again_loses_nothing_and_repeats_nothing(
    receiver: Receiver,
) -> None:
    receiver.start("--no-worker")
    ledger = Ledger()
    for number in range(4):
        answer = receiver.post(
            callback(f"v{number}", video=a_video(str(number), padding=number % 2 * 100_000))
        )
        ledger.told(answer.status_code, answer.content)
    os.kill(receiver.pid, signal.SIGKILL)
    receiver.wait()
    for delay_ms in range(100, 900, 160):
        receiver.begin()
        time.sleep(delay_ms / 1000)  # the moment of the kill, anywhere in the start
        os.kill(receiver.pid, signal.SIGKILL)
        assert receiver.wait() == -signal.SIGKILL, "it was killed, and had not ended by itself"
    receiver.start()
    events = receiver.settled(count=4)
    assert {job["state"] for event in events for job in event["jobs"]} == {"done"}
    assert len(receiver.files()) == 4
    assert receiver.halves() == []
    receiver.stop()
    until(lambda: not processes_in(receiver.folder))
    assert_balanced(database_of(receiver), ledger)
