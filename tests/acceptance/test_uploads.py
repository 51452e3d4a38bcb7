"""Many large bodies at once, and senders that vanish: nothing overflows, nothing half-kept is left."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Receiver, callback, headers, peak_memory, sha256, until

MEGABYTE = 1_000_000
UPLOADS = 64
UPLOAD_BYTES = 8 * MEGABYTE
DISK_BYTES = 100 * 2**20
RESERVE_BYTES = 20 * 2**20
GROWTH_BYTES = 256 * 2**20


def head(video_id: str, *, length: int | None) -> bytes:
    """The head of a callback whose body is this long, or comes in chunks."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = [f"{name}: {value}" for name, value in (headers(video_id) | {"Connection": "close"}).items()]
    return "\r\n".join(["POST /webhooks/opennote HTTP/1.1", "Host: x", framing, *lines, "", ""]).encode()


def body(video_id: str, size: int) -> bytes:
    """A callback of exactly this size."""
    payload = json.dumps(callback(video_id, padding="#")).encode()
    return payload.replace(b"#", b"x" * (size - len(payload) + 1))


async def upload(port: int, video_id: str, start: asyncio.Event) -> tuple[int, bytes]:
    """Send a large body, listening all the while; give the status (0: cut off) and the answer's head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answering = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    content = body(video_id, UPLOAD_BYTES)
    await start.wait()
    try:
        writer.write(
            head(video_id, length=len(content)).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        for begin in range(0, len(content), 2**16):
            writer.write(content[begin : begin + 2**16])
            await writer.drain()
            if answering.done():
                break
    except ConnectionError:
        pass  # it was refused while it was sent
    try:
        answer = await answering
    except (ConnectionError, asyncio.IncompleteReadError):
        answer = b""
    writer.close()
    return int(answer.split(b" ")[1]) if answer else 0, answer


async def upload_all(port: int, free: Callable[[], int]) -> tuple[list[tuple[int, bytes]], int]:
    """Begin all uploads at the same moment; give the answers and the least free space that was seen."""
    start = asyncio.Event()
    sending = [asyncio.create_task(upload(port, f"v{number}", start)) for number in range(UPLOADS)]
    await asyncio.sleep(0)
    start.set()
    least = free()
    while not all(task.done() for task in sending):
        await asyncio.wait(sending, timeout=0.01)
        least = min(least, free())
    return [task.result() for task in sending], least


@pytest.mark.root
@pytest.mark.fault("B6")
@pytest.mark.parametrize("small_disk", [DISK_BYTES], indirect=True)
def test_64_large_bodies_at_once_fit_on_a_small_disk_or_are_refused(
    small_disk: Path, receivers: Callable[..., Receiver]
) -> None:
    receiver = receivers(f'[bodies]\nurl = "file:///{small_disk}/bodies"\nreserve = {RESERVE_BYTES}\n').start(
        "--no-worker"
    )
    before = peak_memory(receiver.pid)

    def free() -> int:
        status = os.statvfs(small_disk)
        return status.f_bavail * status.f_frsize

    port = httpx.URL(receiver.url).port
    assert port is not None
    answers, least = asyncio.run(upload_all(port, free))
    statuses = [status for status, _ in answers]
    assert set(statuses) <= {200, 503, 0}, "0: the answer was lost in a reset, as the sender went on sending"
    refused = [answer for status, answer in answers if status == 503]
    assert refused, "they do not all fit"
    assert all(b"\r\nretry-after: " in answer for answer in refused)
    fit = (DISK_BYTES - RESERVE_BYTES) // UPLOAD_BYTES
    assert fit - 1 <= statuses.count(200) <= fit
    assert least >= RESERVE_BYTES
    assert peak_memory(receiver.pid) - before < GROWTH_BYTES
    acknowledged = {f"v{number}" for number, status in enumerate(statuses) if status == 200}
    assert {event["video_id"] for event in receiver.events()} == acknowledged
    kept = sorted(path for path in (small_disk / "bodies").rglob("*") if path.is_file())
    assert [path.name for path in kept] == sorted(
        sha256(body(video_id, UPLOAD_BYTES)) for video_id in acknowledged
    )
    assert all(sha256(path.read_bytes()) == path.name for path in kept)
    for path in kept[:2]:
        path.unlink()
    assert receiver.post(body("later", UPLOAD_BYTES)).status_code == 200, "there is room again"


@pytest.mark.fault("B6")
def test_more_large_bodies_than_there_are_places_are_told_to_come_again(
    receivers: Callable[..., Receiver],
) -> None:
    receiver = receivers('[server]\nmax_uploads = 2\nmax_upload_bytes = "1MB"\n').start("--no-worker")
    port = httpx.URL(receiver.url).port
    assert port is not None
    incoming = receiver.folder / "data" / "bodies" / "incoming"
    first, second = body("first", 100_000), body("second", 100_000)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as one,
        socket.create_connection(("127.0.0.1", port), timeout=30) as other,
    ):
        one.sendall(head("first", length=len(first)) + first[:-1])
        other.sendall(head("second", length=len(second)) + second[:-1])
        until(lambda: len(list(incoming.glob("*.part"))) == 2, what="two bodies under way")
        third = receiver.post(body("third", 100_000))
        assert (third.status_code, third.json()["status"]) == (503, "refused")
        assert int(third.headers["Retry-After"]) > 0
        assert receiver.post(body("small", 60_000)).status_code == 200
        one.sendall(first[-1:])
        assert one.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert receiver.post(body("too large beside the other", 950_000)).status_code == 503
        assert receiver.post(body("third", 100_000)).status_code == 200
        other.sendall(second[-1:])
        assert other.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert receiver.post(body("large, but alone", 2 * MEGABYTE)).status_code == 200
    told = [line["reason"] for line in receiver.log("delivery.refused")]
    assert len(told) == 2
    assert "too many" in told[0]
    assert "together" in told[1]


@pytest.mark.fault("B8")
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_sender_that_vanishes_at_any_megabyte_leaves_nothing(receiver: Receiver, is_declared: bool) -> None:
    receiver.start("--no-worker")
    port = httpx.URL(receiver.url).port
    assert port is not None
    content = body("v1", UPLOAD_BYTES)
    cuts = [0, 1, 50_000, 70_000, *range(MEGABYTE, UPLOAD_BYTES + 1, MEGABYTE)]
    for number, cut in enumerate(cuts):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sender:
            if is_declared:
                sender.sendall(head("v1", length=len(content) + 1) + content[:cut])
            else:
                sender.sendall(head("v1", length=None) + b"%x\r\n" % (len(content) + 1) + content[:cut])
            if number % 2:  # a reset instead of an ordinary end
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # A sender that resets before its head was read has said nothing that could be given up.
    receiver.logged("delivery.abandoned", count=len(cuts) - 2)
    bodies = receiver.folder / "data" / "bodies"
    until(lambda: not [path for path in bodies.rglob("*") if path.is_file()], what="the end of all pieces")
    assert receiver.events() == []
    assert receiver.look("rejections") == []
    assert receiver.post(content).status_code == 200
    assert [event["bytes"] for event in receiver.events()] == [len(content)]
