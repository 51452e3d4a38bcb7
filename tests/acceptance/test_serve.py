"""Starting, stopping and refusing: `receiver serve` and `receiver worker` as an operator meets them."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import (
    KEY,
    ORGANIZATION,
    Ended,
    Receiver,
    a_video,
    callback,
    children_of,
    each,
    headers,
    processes_in,
    run,
    sha256,
    together,
    until,
)

GATE = """\
from pathlib import Path
import asyncio
from receiver import Router

router = Router()
here = Path(__file__).parent

@router.on("video.completed")
async def wait(event, context):
    (here / f"started-{event.video.id}-{context.attempt}").touch()
    while not (here / "gate").exists():
        await asyncio.sleep(0.02)
    return "through"
"""


def refused(ended: Ended, *words: str) -> None:
    """See one clear line with these words, status 2, and nothing on standard output."""
    assert (ended.status, ended.stdout) == (2, ""), ended
    assert len(ended.complaints) == 1, ended.stderr
    for word in words:
        assert word in ended.complaints[0]


@pytest.mark.fault("A12", "O11")
def test_whatever_is_wrong_at_the_start_is_one_clear_line_and_status_2(
    receivers: Callable[..., Receiver], tmp_path: Path
) -> None:
    running = receivers().start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        unknown_key = receivers("[server]\nprot = 1\n")
        no_toml = receivers()
        no_toml.config.write_text("[server\n")
        no_source = receivers()
        no_source.config.write_text("[server]\nport = 0\n")
        empty_key = receivers()
        empty_key.config.write_text(empty_key.config.read_text().replace(KEY, ""))
        foreign = receivers()
        (foreign.folder / "data").mkdir()
        (foreign.folder / "data" / "receiver.db").write_bytes(b"precious, and no database" * 100)
        broken = receivers('[handlers]\nload = ["hooks.py"]\n')
        broken.handler(
            "from receiver import Router\nrouter = Router()\n@router.on('video.done')\ndef f(): ...\n"
        )
        plain, idle = receivers(), receivers()
        no_folder = tmp_path / "empty"
        no_folder.mkdir()
        serve = ("serve", "--port", "0")
        ends = together(
            [
                lambda: idle.run("serve", "--port", port),
                lambda: unknown_key.run(*serve),
                lambda: no_toml.run(*serve),
                lambda: no_source.run(*serve),
                lambda: empty_key.run(*serve),
                lambda: foreign.run(*serve),
                lambda: broken.run(*serve),
                lambda: plain.run(*serve, "--handlers", "nowhere.py"),
                lambda: run(*serve, folder=no_folder),
                lambda: run("--config", "elsewhere.toml", *serve, folder=no_folder),
                lambda: plain.run("send", "nobody"),
                lambda: running.run(*serve),
            ]
        )
    refused(ends[0], port, "--port", "in use")
    refused(ends[1], "receiver.toml", "server.prot", '"port"')
    refused(ends[2], "receiver.toml", "TOML")
    refused(ends[3], "receiver.toml", "[sources.")
    refused(ends[4], "sources.opennote.api_keys", "empty")
    refused(ends[5], "receiver.db", "not a SQLite database", "left as it is")
    refused(ends[6], "hooks.py:3", "function f", "video.done", "video.completed")
    refused(ends[7], "nowhere.py", "no such file")
    refused(ends[8], "receiver.toml", "receiver init")
    refused(ends[9], "elsewhere.toml", "receiver init")
    refused(ends[10], "nobody", "opennote")
    assert (foreign.folder / "data" / "receiver.db").read_bytes() == b"precious, and no database" * 100
    assert not (idle.folder / "data").exists(), "a port in use is seen before anything is made"
    refused(ends[11], "receiver.db", "another receiver")
    running.accepted(callback("v1", video=a_video()))
    running.settled(count=1)
    assert running.family(), "a second server on the same store does the first one no harm"
    running.stop()
    assert processes_in(tmp_path) == []


def test_wrong_usage_is_status_2_and_says_what_would_be_right(receiver: Receiver) -> None:
    wrong = {
        ("serve", "--prot", "1"): "--port",
        ("serve", "--port", "99999"): "65535",
        ("serve", "--workers", "many"): "--workers",
        ("servce",): "servce",
        ("events", "--state", "lost"): "waiting",
        ("events", "--type", "completed"): "video.completed",
        ("events", "--since", "yesterday"): "1h",
        ("events", "--limit", "0"): "--limit",
        ("send", "opennote", "--type", "nonsense"): "progress",
        ("send", "opennote", "--video", "nowhere.mp4"): "nowhere.mp4",
        ("send", "opennote", "--to", "http://192.0.2.1/"): "https",
        ("show",): "EVENT",
    }
    ends = each(lambda arguments: receiver.run(*arguments), wrong)
    for (arguments, word), ended in zip(wrong.items(), ends, strict=True):
        assert (ended.status, ended.stdout) == (2, ""), arguments
        assert word in ended.complaints[-1], ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_cleanly(receiver: Receiver, number: signal.Signals) -> None:
    receiver.start().ready()
    assert receiver.stop(number, seconds=10) == 0
    assert processes_in(receiver.folder) == []
    assert receiver.log("process.died", "store.failed") == []
    assert receiver.log("server.stopped")
    data = {path.name for path in (receiver.folder / "data").iterdir()}
    assert data <= {"receiver.db", "receiver.db.lock", "bodies"}, "neither socket nor write-ahead log is left"


def test_ctrl_c_while_it_starts_ends_everything_too(receiver: Receiver) -> None:
    receiver.handler(GATE + "import time\n(here / 'loading').touch()\ntime.sleep(60)\n")
    receiver.begin("--handlers", "hooks.py")
    until((receiver.folder / "loading").exists)
    assert receiver.stop(signal.SIGINT, seconds=10) == 0
    until(lambda: not processes_in(receiver.folder), seconds=2, what="the end of all processes")


def test_sigterm_during_an_upload_and_a_job_loses_neither(receiver: Receiver) -> None:
    receiver.handler(GATE)
    receiver.start("--handlers", "hooks.py")
    receiver.accepted(callback("v1"))
    until((receiver.folder / "started-v1-1").exists)
    body = b'{"video_id": "v2", "status": "completed", "padding": "' + b"x" * 200_000
    port = httpx.URL(receiver.url).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sender:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers("v2").items())
        announced = f"POST /webhooks/opennote HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n{head}\r\n"
        sender.sendall(announced.encode() + body)
        incoming = receiver.folder / "data" / "bodies" / "incoming"
        until(lambda: list(incoming.glob("*.part")), what="the beginning of the body on disk")
        assert receiver.stop(signal.SIGTERM, seconds=30) == 0
        answer = sender.recv(65536)
    assert not answer or answer.startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 408 ")), answer
    assert processes_in(receiver.folder) == []
    assert list(incoming.iterdir()) == []
    [event] = receiver.events()
    assert (event["video_id"], event["jobs"][0]["state"], event["jobs"][0]["attempts"]) == ("v1", "ready", 0)
    (receiver.folder / "gate").touch()
    receiver.start("--handlers", "hooks.py")
    [event] = receiver.settled(count=1)
    assert (event["jobs"][0]["state"], event["jobs"][0]["attempts"]) == ("done", 1)


@pytest.mark.parametrize("priority", ["idle", "low", "normal"])
def test_workers_come_after_acknowledgements_as_far_as_the_configuration_says(
    receiver: Receiver, priority: str
) -> None:
    receiver.environment = {"RECEIVER_WORKER__PRIORITY": priority}
    receiver.start().ready()
    worker = receiver.child("receiver.worker")

    policy = os.SCHED_IDLE if priority == "idle" else os.SCHED_OTHER
    assert os.sched_getscheduler(worker) == policy
    assert os.getpriority(os.PRIO_PROCESS, worker) == {"idle": 19, "low": 10, "normal": 0}[priority]
    assert os.sched_getscheduler(receiver.pid) == os.SCHED_OTHER
    assert os.getpriority(os.PRIO_PROCESS, receiver.child("receiver.store.process")) == 0


def test_no_worker_records_only_and_a_worker_beside_it_does_the_rest(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    assert [line for line in children_of(receiver.pid).values() if "receiver.worker" in line] == []
    receiver.accepted(callback("v1", video=a_video()))
    [event] = receiver.events()
    assert [(job["handler"], job["state"]) for job in event["jobs"]] == [("save_video", "ready")]
    assert httpx.get(f"{receiver.url}/readyz", trust_env=False).status_code == 200
    with worker(receiver.config, receiver.folder) as process:
        assert list(receiver_files(receiver)) == [a_video()]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    [event] = receiver.events()
    assert [(job["state"], job["attempts"]) for job in event["jobs"]] == [("done", 1)]


def receiver_files(receiver: Receiver) -> list[bytes]:
    receiver.settled(count=1)
    return list(receiver.files().values())


class worker:  # noqa: N801 - used like the function that it stands for
    """A `receiver worker` for the time of a block."""

    def __init__(self, config: Path, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "receiver", "--config", str(config), "worker", *options]
        self._log = (folder / "worker.log").open("wb")
        self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stderr=self._log)

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()
            self._log.close()


def test_a_worker_takes_only_the_handlers_that_it_names(receiver: Receiver) -> None:
    receiver.handler(GATE)
    (receiver.folder / "gate").touch()
    receiver.start("--no-worker", "--handlers", "hooks.py", "--handlers", "save_video")
    receiver.accepted(callback("v1", video=a_video()))
    with worker(receiver.config, receiver.folder, "--handlers", "hooks.py"):
        until(lambda: "done" in {job["state"] for job in receiver.events()[0]["jobs"]})
        [event] = receiver.events()
    assert {job["handler"]: job["state"] for job in event["jobs"]} == {
        "hooks.wait": "done",
        "save_video": "ready",
    }


def test_a_worker_without_a_server_says_so(receiver: Receiver) -> None:
    ended = receiver.run("worker")
    assert (ended.status, len(ended.complaints)) == (1, 1)
    assert "receiver serve" in ended.complaints[0]


def test_an_external_worker_outlives_a_restart_of_the_server(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    with worker(receiver.config, receiver.folder) as process:
        receiver.accepted(callback("v1", video=a_video("1")))
        receiver.settled(count=1)
        assert receiver.stop() == 0
        receiver.start("--no-worker")
        receiver.accepted(callback("v2", video=a_video("2")))
        receiver.settled(count=2)
        assert process.poll() is None


def test_two_workers_share_the_jobs(receiver: Receiver) -> None:
    receiver.handler(GATE.replace('"video.completed"', '"video.completed", concurrency=1'))
    receiver.start("--workers", "2", "--handlers", "hooks.py")
    for name in ("v1", "v2"):
        receiver.accepted(callback(name))
    started = [receiver.folder / f"started-{name}-1" for name in ("v1", "v2")]
    until(lambda: all(path.exists() for path in started), what="both jobs running at the same time")
    workers = [line for line in children_of(receiver.pid).values() if "receiver.worker" in line]
    assert len(workers) == 2
    (receiver.folder / "gate").touch()
    events = receiver.settled(count=2)
    done = [receiver.show(event["id"])["attempts"][0]["worker"] for event in events]
    assert len(set(done)) == 2


def test_health_says_live_and_ready_and_answers_nothing_else(receiver: Receiver) -> None:
    receiver.start().ready()
    with httpx.Client(base_url=receiver.url, trust_env=False) as client:
        assert (client.get("/healthz").status_code, client.get("/healthz").json()) == (
            200,
            {"status": "live"},
        )
        assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (200, {"status": "ready"})
        assert client.post("/healthz").status_code == 405
        for path in (
            "/",
            "/api/v1/events",
            "/metrics",
            "/webhooks/",
            "/webhooks/other",
            "/webhooks/opennote/",
        ):
            assert client.get(path).status_code == 404, path
        assert client.get("/webhooks/opennote").status_code == 405


def test_the_environment_alone_is_configuration_enough(tmp_path: Path) -> None:
    with Receiver(
        tmp_path,
        has_file=False,
        environment={
            "RECEIVER_SOURCES__OPENNOTE__KIND": "opennote",
            "RECEIVER_SOURCES__OPENNOTE__ORGANIZATION_ID": ORGANIZATION,
            "RECEIVER_SOURCES__OPENNOTE__API_KEYS": f'["other", "{KEY}"]',
            "RECEIVER_HANDLERS__SAVE_VIDEO__DIRECTORY": "videos",
            "RECEIVER_STORE__URL": "sqlite:///inner/db.sqlite",
        },
    ) as receiver:
        receiver.start()
        receiver.accepted(callback("v1", video=a_video()))
        receiver.settled(count=1)
        assert list(receiver.files().values()) == [a_video()]
        assert (tmp_path / "inner" / "db.sqlite").is_file()
        assert receiver.run("send", "opennote", "--to", receiver.url).status == 0


def test_the_environment_overrules_the_file_and_names_another_one(receivers: Callable[..., Receiver]) -> None:
    receiver = receivers()
    other = receiver.folder / "elsewhere.toml"
    receiver.config.rename(other)
    named = run("handlers", "--json", folder=receiver.folder, environment={"RECEIVER_CONFIG": str(other)})
    assert [line["name"] for line in named.objects] == ["save_video"]
    overruled = run(
        "handlers",
        "--json",
        folder=receiver.folder,
        environment={"RECEIVER_CONFIG": str(other), "RECEIVER_HANDLERS__LOAD": '["log"]'},
    )
    assert [line["name"] for line in overruled.objects] == ["log"]


def test_it_works_in_a_deep_folder(receivers: Callable[..., Receiver], tmp_path: Path) -> None:
    deep = tmp_path / "a folder with spaces" / ("d" * 80) / ("e" * 80)
    assert len(str(deep)) > 150
    receiver = receivers(folder=deep).start()
    receiver.accepted(callback("v1", video=a_video()))
    receiver.settled(count=1)
    assert list(receiver.files().values()) == [a_video()]
    assert receiver.stop() == 0
    assert len(receiver.events()) == 1


@pytest.mark.fault("O1")
def test_what_is_stored_is_private_and_holds_no_credential(receiver: Receiver) -> None:
    receiver.start()
    receiver.accepted(callback("v1", video=a_video()))
    receiver.post(
        callback("v2"), X_API_Key="canary-of-a-wrong-key", Authorization="Bearer canary-of-a-bearer"
    )
    [event] = receiver.settled(count=1)
    until(lambda: receiver.look("rejections"))
    told = receiver.run("rejections").stdout + receiver.run("show", event["id"], "--json").stdout
    made = [path for name in ("data", "videos") for path in (receiver.folder / name).rglob("*")]
    assert {path.suffix for path in made} >= {".db", ".sock", ".mp4", ".json"}
    assert [path for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    receiver.stop()
    files = [path for path in receiver.folder.rglob("*") if path.is_file() and path != receiver.config]
    kept = b"".join(path.read_bytes() for path in files)
    for secret in (KEY, "canary-of-a-wrong-key", "canary-of-a-bearer"):
        assert secret.encode() not in kept
        assert secret not in told


@pytest.mark.root
@pytest.mark.fault("C4")
def test_a_full_disk_is_503_until_there_is_room_again(
    small_disk: Path, receivers: Callable[..., Receiver]
) -> None:
    receiver = receivers(
        f'[store]\nurl = "sqlite:///{small_disk}/receiver.db"\n'
        f'[bodies]\nurl = "file:///{small_disk}/bodies"\nreserve = "1MiB"\n'
    ).start("--no-worker")
    acknowledged = [receiver.accepted(callback("before", url="http://127.0.0.1:9/videofs/a.mp4"))]
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        _fill(file)
    answers: list[httpx.Response] = []

    def refuses() -> bool:
        number = len(answers)
        answers.append(receiver.post(callback(f"full-{number}", padding="x" * 50_000)))
        return answers[-1].status_code == 503

    until(refuses, what="503 on a full disk")
    large = receiver.post(callback("large", video=a_video(padding=100_000)))
    for answer in (answers[-1], large):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["status"] == "refused"
    acknowledged += [answer.json()["event"] for answer in answers if answer.status_code == 200]
    filler.unlink()

    def accepts() -> Any:
        answer = receiver.post(callback("after", video=a_video(padding=100_000)))
        return answer.status_code == 200 and answer.json()["event"]

    acknowledged.append(until(accepts, what="200 when there is room again"))
    assert {event["id"] for event in receiver.events("--limit", "1000")} == set(acknowledged)
    assert receiver.run("check").status == 0
    after = receiver.show(acknowledged[-1])
    assert (
        sha256((small_disk / "bodies" / after["body_sha256"][:2] / after["body_sha256"]).read_bytes())
        == (after["body_sha256"])
    )
    receiver.stop()


def _fill(file: Any) -> None:
    for size in (65536, 4096, 512, 1):
        while True:
            try:
                file.write(b"x" * size)
            except OSError:
                break
