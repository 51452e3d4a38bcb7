"""The shipped handler that posts events on: what a target gets, and what becomes of its answers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from receiver import Fail, Retry
from receiver.event import StoredBody
from receiver.outcome import Done
from tests.bench import procfs
from tests.forwarding import (
    EVENT_ID,
    MARKER,
    OTHER,
    SECRET,
    SENT,
    a_target,
    an_event,
    believed,
    outcome,
)
from tests.sink import Sink, said, sinking


@pytest.fixture
def sink() -> Iterator[Sink]:
    with sinking() as running:
        yield running


@pytest.mark.anyio
async def test_the_published_package_believes_the_body_byte_for_byte(sink: Sink, tmp_path: Path) -> None:
    assert await outcome(a_target(f"{sink.base}/in?token=1"), folder=tmp_path) == Done({"status": 204})

    (request,) = sink.requests
    believed(request, SECRET)
    assert request.line == "POST /in?token=1 HTTP/1.1"
    assert request.header("content-type") == "application/json"
    assert request.header("webhook-id") == EVENT_ID
    assert request.header("idempotency-key") == f"{EVENT_ID}:forward.one"
    assert {name.lower() for name, _ in request.headers} == SENT


@pytest.mark.anyio
async def test_while_a_secret_is_changed_old_and_new_are_both_believed(sink: Sink, tmp_path: Path) -> None:
    await outcome(a_target(sink.base, secret=[OTHER, SECRET]), folder=tmp_path)
    (tmp_path / "secrets").write_text(f"{SECRET}\n{OTHER}\n")
    target = a_target(sink.base, secret_file="secrets")
    del target["secret"]
    await outcome(target, folder=tmp_path)

    for request in sink.requests:
        believed(request, SECRET, OTHER)
    assert len(sink.requests) == 2


ENDINGS: dict[str, type[Exception]] = {
    "300 Multiple Choices": Fail, "301 Moved Permanently": Fail, "302 Found": Fail, "303 See Other": Fail,
    "304 Not Modified": Fail, "307 Temporary Redirect": Fail, "308 Permanent Redirect": Fail,
    "400 Bad Request": Fail, "401 Unauthorized": Fail, "403 Forbidden": Fail, "404 Not Found": Fail,
    "405 Method Not Allowed": Fail, "409 Conflict": Fail, "410 Gone": Fail, "413 Too Large": Fail,
    "418 Teapot": Fail, "422 Unprocessable": Fail, "499 Odd": Fail,
    "408 Request Timeout": Retry, "425 Too Early": Retry, "429 Too Many Requests": Retry,
    "500 Internal Server Error": Retry, "502 Bad Gateway": Retry, "503 Service Unavailable": Retry,
    "504 Gateway Timeout": Retry, "507 Full": Retry, "599 Odd": Retry,
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.fault("R8", "S14")
@pytest.mark.parametrize("status", ENDINGS)
async def test_the_status_decides_what_becomes_of_it_and_is_all_that_is_repeated(
    status: str, sink: Sink, tmp_path: Path
) -> None:
    number = status.split()[0]
    trap = f"Location: {sink.base}/elsewhere?{MARKER}\r\nX-Why: {MARKER}\r\n"
    url = sink.answer("/in", said(f"{number} {MARKER}", trap, b"" if number == "304" else MARKER.encode()))

    ending = await outcome(a_target(f"{url}?token=1"), folder=tmp_path)

    assert type(ending) is ENDINGS[status]
    assert getattr(ending, "reason", "").startswith(f"the target answered {number}")
    assert getattr(ending, "after", None) is None
    assert len(sink.requests) == 1


@pytest.mark.parametrize(
    ("status", "said_so"), [("301 x", "redirects are not followed"), ("410 x", "410 Gone: it wants no more")]
)
@pytest.mark.anyio
@pytest.mark.fault("R8")
async def test_an_end_for_good_says_why(status: str, said_so: str, sink: Sink, tmp_path: Path) -> None:
    ending = await outcome(a_target(sink.answer("/in", said(status))), folder=tmp_path)

    assert isinstance(ending, Fail)
    assert said_so in ending.reason


@pytest.mark.anyio
@pytest.mark.fault("R8")
@pytest.mark.parametrize(
    ("status", "asked", "least", "most"),
    [
        *((status, "120", 120, 120) for status in (429, 503)),
        *((status, "9999999", 3600, 3600) for status in (429, 503)),
        *((status, "date", 290, 300) for status in (429, 503)),
        *((status, value, None, None) for status in (429, 503) for value in ("0", "soon", "-1", "1e9")),
        *((status, "120", None, None) for status in (408, 425, 500, 502)),
    ],
)
async def test_a_target_that_is_busy_is_given_the_time_that_it_asks_for_up_to_an_hour(
    status: int, asked: str, least: float | None, most: float | None, sink: Sink, tmp_path: Path
) -> None:
    value = (
        format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True) if asked == "date" else asked
    )
    url = sink.answer("/in", said(f"{status} Busy", f"Retry-After: {value}\r\n"))

    ending = await outcome(a_target(url), folder=tmp_path)

    assert isinstance(ending, Retry)
    if least is None or most is None:
        assert ending.after is None  # the ordinary backoff
    else:
        assert ending.after is not None
        assert least <= ending.after.total_seconds() <= most


@pytest.mark.anyio
@pytest.mark.fault("R8", "S14")
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("reset", "the connection failed"),
        ("hang", "longer than its timeout"),
        ("drip", "longer than its timeout"),
        ("nothing", "cut off or is not HTTP"),
        ("garbage", "cut off or is not HTTP"),
        ("half a head", "cut off or is not HTTP"),
    ],
)
async def test_a_target_that_breaks_off_or_hangs_is_tried_again(
    fault: str, reason: str, sink: Sink, tmp_path: Path
) -> None:
    faults: dict[str, Any] = {
        "reset": sink.reset,
        "hang": sink.hang,
        "drip": sink.drip,
        "nothing": lambda connection: None,
        "garbage": lambda connection: connection.sendall(f"{MARKER}\r\n\r\n".encode()),
        "half a head": lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nX-A:"),
    }
    url = sink.answer("/in", faults[fault])

    ending = await outcome(a_target(url, timeout="300ms"), folder=tmp_path)

    assert isinstance(ending, Retry)
    assert ending.after is None
    assert reason in ending.reason
    assert len(sink.requests) == 1


@pytest.mark.anyio
@pytest.mark.fault("R8")
async def test_a_target_that_nobody_serves_is_tried_again(tmp_path: Path) -> None:
    with sinking() as gone:
        url = gone.base
    ending = await outcome(a_target(url), folder=tmp_path)

    assert isinstance(ending, Retry)
    assert "the connection failed" in ending.reason


@pytest.mark.anyio
@pytest.mark.parametrize("body", ["compressed", "endless", "broken", "late"])
async def test_what_was_taken_is_done_whatever_follows_the_status(
    body: str, sink: Sink, tmp_path: Path
) -> None:
    def late(connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        sink.hang(connection)

    bodies: dict[str, Any] = {
        "compressed": said("200 OK", "Content-Encoding: gzip\r\n", b"\x1f\x8b..."),
        "endless": sink.pour,
        "broken": lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        "late": late,
    }
    url = sink.answer("/in", bodies[body])

    assert await outcome(a_target(url), folder=tmp_path) == Done({"status": 200})
    assert len(sink.requests) == 1


@pytest.mark.anyio
async def test_a_body_file_that_is_gone_is_hopeless(sink: Sink, tmp_path: Path) -> None:
    event = an_event(body=StoredBody(path=tmp_path / "gone"))

    ending = await outcome(a_target(sink.base), folder=tmp_path, event=event)

    assert isinstance(ending, Fail)
    assert ending.reason == "the body file is gone"
    assert sink.connections == 0


@pytest.mark.anyio
async def test_a_large_body_is_sent_in_flat_memory(sink: Sink, tmp_path: Path) -> None:
    size, path = 256 * 2**20, tmp_path / "body"
    with path.open("wb") as file:
        file.write(b'{"b64_video":"')
        file.truncate(size)
    with path.open("rb") as file:
        expected = hashlib.file_digest(file, "sha256").hexdigest()
    procfs.forget_peak(os.getpid())
    before = procfs.memory(os.getpid(), "VmHWM")

    event = an_event(body=StoredBody(path=path))
    assert await outcome(a_target(sink.base), folder=tmp_path, event=event) == Done({"status": 204})

    (request,) = sink.requests
    assert (request.length, request.sha256) == (size, expected)
    assert procfs.memory(os.getpid(), "VmHWM") - before < 32 * 2**20
