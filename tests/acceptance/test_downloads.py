"""Downloads of the real program: killed in their middle, refused, and back with their volume."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from tests.acceptance.conftest import Receiver, a_video, callback, is_running, until
from tests.file_server import FileServer, Hosted, serving_files

MB = 10**6
SIZE = 50 * MB
HALF = 30 * MB


@pytest.fixture
def files() -> Iterator[FileServer]:
    """A file host that answers ranges, in a thread with a loop of its own."""
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(serving_files()) as host,
    ):
        yield host


@pytest.fixture
def trap() -> Iterator[FileServer]:
    """A server that nobody may ever connect to."""
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(serving_files()) as host,
    ):
        yield host


def held(files: FileServer, path: str, content: bytes) -> Hosted:
    """Host a file whose first answer stops in its middle, with the connection left open."""
    hosted = files.host(path, content)

    async def answer(request: str, writer: asyncio.StreamWriter) -> None:
        hosted.breaks_at = HALF
        await hosted(request, writer)
        await writer.drain()
        hosted.breaks_at = None
        files.answers[path] = hosted
        await asyncio.Event().wait()  # until the server ends

    files.answers[path] = answer
    return hosted


@pytest.mark.fault("C5", "R1")
@pytest.mark.parametrize("victim", ["worker", "serve"])
def test_kill_9_in_the_middle_of_a_download_goes_on_from_there(
    receiver: Receiver, files: FileServer, victim: str
) -> None:
    content = a_video() + os.urandom(SIZE)
    hosted = held(files, "/videofs/v.mp4", content)
    receiver.configure(s3_base_url=f"{files.base}/videofs").start("--handlers", "save_video").ready()
    receiver.accepted(callback("v1", url=f"{files.base}/videofs/v.mp4?sig=s"))

    def reached() -> int:
        size = max((path.stat().st_size for path in receiver.halves()), default=0)
        return size if size > HALF - 3 * MB else 0

    least = until(reached, what="a file that is half there")
    worker = receiver.child("receiver.worker")
    os.kill(worker if victim == "worker" else receiver.pid, signal.SIGKILL)
    until(lambda: not is_running(worker), what="the end of the worker")
    assert receiver.files() == {}
    if victim == "serve":
        receiver.wait()
        receiver.start("--handlers", "save_video")
    (event,) = receiver.settled(count=1)
    assert event["jobs"][0]["state"] == "done"
    assert list(receiver.files().values()) == [content]
    assert hosted.asked[0] == 0
    assert len(hosted.asked) == 2, "once before the kill and once after"
    assert least - 1 <= hosted.asked[1] < HALF, "from where it was"
    (resumed,) = receiver.log("video.resumed")
    assert resumed["bytes"] == hosted.asked[1]
    assert receiver.halves() == []


@pytest.mark.root
@pytest.mark.fault("F9")
def test_a_volume_that_is_read_only_for_a_while_costs_attempts_and_no_video(
    receiver: Receiver, small_disk: Path, files: FileServer
) -> None:
    files.host("/videofs/v.mp4", a_video("read-only"))
    table = f'[handlers.save_video]\ndirectory = "{small_disk}/videos"'
    receiver.configure(table, s3_base_url=f"{files.base}/videofs")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        receiver.start("--handlers", "save_video").ready()
        receiver.accepted(callback("v1", url=f"{files.base}/videofs/v.mp4"))
        (retried, *_) = receiver.logged("job.retried")
        assert "Read-only file system" in retried["reason"], "the fault fired"
        assert receiver.post(callback("v2", "progress")).status_code == 200, "callbacks go on"
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    events = receiver.settled(count=1, of=["v1"], seconds=30)
    assert [event["jobs"][0]["state"] for event in events] == ["done"]
    (saved,) = (small_disk / "videos").glob("*.mp4")
    assert saved.read_bytes() == a_video("read-only")
    assert receiver.stop() == 0


MARKER = b"inner-c0ntent"
SIGNATURE = "5ignature"
ANSWERS = {
    "expired": ("403 Forbidden", b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"),
    "forbidden": ("403 Forbidden", b"<Error><Code>AccessDenied</Code>"),
    "gone": ("404 Not Found", b"<Error><Code>NoSuchKey</Code>"),
    "html": ("200 OK", b"<html><title>Inner page</title>"),
    "json": ("200 OK", b"{"),
    "moved": ("302 Found", b""),
    "busy": ("500 Internal Server Error", b"Traceback"),
}


@pytest.mark.fault("S1", "S5", "S10", "S13", "S14", "B11")
def test_nothing_inner_is_asked_for_or_told_whatever_callbacks_and_file_hosts_say(
    receiver: Receiver, files: FileServer, trap: FileServer
) -> None:
    receiver.configure(s3_base_url=f"{files.base}/videofs").start("--handlers", "save_video").ready()
    links = {"inner": f"{trap.base}/latest/meta-data", "named": f"http://localhost:{trap.port}/"}
    for name, (status, body) in ANSWERS.items():
        told = f"Location: {trap.base}/\r\nX-Inner: {MARKER.decode()}\r\n"
        files.give(f"/videofs/{name}", body + MARKER, status=status, headers=told)
        links[name] = f"{files.base}/videofs/{name}?X-Amz-Signature={SIGNATURE}"
    for name, link in links.items():
        receiver.accepted(callback(name, url=link))
    files.host("/videofs/good", a_video())
    fields: dict[str, Any] = dict.fromkeys(
        ("webhook_url", "callback_url", "forward_to", "proxy", "s3_base_url"), trap.base
    )
    receiver.accepted(callback("good", url=f"{files.base}/videofs/good", **fields) | fields)

    failed = receiver.logged("job.failed", count=len(links) - 1)
    assert {line["video"] for line in failed} == set(links) - {"busy"}
    assert "busy" in {line["video"] for line in receiver.logged("job.retried")}
    assert receiver.logged("video.saved")[0]["video"] == "good"
    assert len(files.requests) >= len(ANSWERS) + 1, "each of them was answered"
    assert trap.connections == 0

    events = receiver.events()
    said = [receiver.log_file.read_text(), json.dumps(events), receiver.run("rejections").stdout]
    said += [receiver.run("show", event["id"]).stdout for event in events]
    reasons = {line["video"]: line["reason"] for line in failed}
    assert "link_expired" in reasons["expired"]
    assert reasons["html"] == "what arrived is not a video (HTML)"
    assert not [text for text in said if SIGNATURE in text]
    receiver.stop()
    holding = [path for path in receiver.folder.rglob("*") if path.is_file() and MARKER in path.read_bytes()]
    assert holding == [], "not even the database"
    assert MARKER.decode() not in "".join(said)
    assert [path.name for path in receiver.videos.glob("*.mp4")] == list(receiver.files("good"))
