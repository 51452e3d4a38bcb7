"""The live stream of the real program: nothing twice, nothing skipped, whoever reads how slowly."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from urllib.parse import urlsplit

import pytest

from receiver.api.stream import HEARTBEAT_SECONDS
from tests.acceptance.asking import ADMIN, TOKEN, Asking, Message, Reading
from tests.acceptance.conftest import KEY, ORGANIZATION, Receiver, callback, peak_memory, until


def post(receiver: Receiver, *names: str, status: str = "failed") -> list[str]:
    return [receiver.accepted(callback(name, status)) for name in names]


def ids(messages: list[Message]) -> list[str]:
    return [message.data["id"] for message in messages]


def test_what_was_missed_comes_first_and_then_what_comes(open_receiver: Receiver, asking: Asking) -> None:
    before = post(open_receiver, "v1", "v2", "v3")
    with asking.stream(since="1h") as reading:
        assert ids(reading.messages(3)) == before
        live = post(open_receiver, "v4", "v5")
        seen = reading.messages(2)
        assert ids(seen) == live
        assert [message.event for message in seen] == ["message", "message"]
    assert seen[-1].data == asking.json("/events", limit=1)["events"][0]


def test_a_stream_from_now_on_tells_of_nothing_before_and_can_be_gone_on_with(
    open_receiver: Receiver, asking: Asking
) -> None:
    post(open_receiver, "v1")
    with asking.stream() as reading:
        live = post(open_receiver, "v2")
        assert ids([reading.message()]) == live
    missed = post(open_receiver, "v3", "v4")
    with asking.stream(cursor=reading.cursor) as again:
        assert ids(again.messages(2)) == missed
    with asking.stream(after=reading.cursor) as again:
        assert ids(again.messages(2)) == missed
    with asking.stream(after=again.cursor, cursor=reading.cursor) as both:
        last = post(open_receiver, "v5")
        assert ids([both.message()]) == last  # what was received last counts


def test_a_page_and_a_stream_have_cursors_of_one_kind(open_receiver: Receiver, asking: Asking) -> None:
    posted = post(open_receiver, "v1", "v2", "v3")
    page = asking.json("/events", limit=2)
    with asking.stream(cursor=page["next"]) as reading:
        assert ids([reading.message()]) == posted[2:]


@pytest.mark.parametrize("is_live", [False, True])
def test_filters_hold_in_a_stream_as_they_do_in_a_list(
    open_receiver: Receiver, asking: Asking, is_live: bool
) -> None:
    start = asking.json("/events")["next"]
    assert start is None
    with asking.stream() as first:
        first.until_comment()

    def send() -> list[str]:
        odd = post(open_receiver, "v1", "v2")
        done = post(open_receiver, "v3", "v4", status="completed")
        return [*odd, *done, *post(open_receiver, "v6", status="pending"), *post(open_receiver, "v5")]

    filters: list[tuple[dict[str, str], list[int]]] = [
        ({"type": "video.failed"}, [0, 1, 5]),
        ({"video": "v1"}, [0]),
        ({"source": "opennote", "type": "video.completed"}, [2, 3]),
        ({"source": "none"}, []),
        ({"until": "1h"}, []),
    ]
    with ExitStack() as stack:
        readings: list[tuple[Reading, list[int]]] = []
        sent = [] if is_live else send()
        for wanted, places in filters:
            reading = stack.enter_context(asking.stream(after=first.cursor, **wanted))
            readings.append((reading, places))
        sent = sent or send()
        end = post(open_receiver, "end")
        for reading, places in readings:
            assert ids(reading.messages(len(places))) == [sent[place] for place in places]
            reading.until_comment()  # and nothing else comes
            assert reading.cursor > first.cursor
    with asking.stream(after=readings[3][0].cursor) as rest:  # it went past what was not wanted
        following = post(open_receiver, "after")
        assert ids([rest.message()]) == following != end


def test_silence_is_filled_with_comments_that_say_how_far_it_has_come(asking: Asking) -> None:
    began = time.monotonic()
    with asking.stream() as reading:
        assert reading.until_comment().startswith(": nothing new")
        assert reading.cursor
        assert reading.answer.headers["x-accel-buffering"] == "no"
    assert HEARTBEAT_SECONDS - 1 < time.monotonic() - began < HEARTBEAT_SECONDS + 5


def test_events_that_are_not_wanted_are_no_reason_to_be_silent(
    open_receiver: Receiver, asking: Asking
) -> None:
    with asking.stream(source="none") as reading, ThreadPoolExecutor(1) as threads:
        beginning = reading.until_id()
        posting = threads.submit(post_for, open_receiver, HEARTBEAT_SECONDS + 3)
        began = time.monotonic()
        assert reading.until_comment().startswith(": nothing new")
        assert time.monotonic() - began < HEARTBEAT_SECONDS + 2
        assert not posting.done()
        assert reading.cursor != beginning


def post_for(receiver: Receiver, seconds: float) -> None:
    """Post an event every fifth of a second."""
    until_then = time.monotonic() + seconds
    for number in count():
        if time.monotonic() > until_then:
            return
        post(receiver, f"passing{number}")
        time.sleep(0.2)


def test_who_comes_too_late_is_told_how_many_are_gone(receivers: Callable[..., Receiver]) -> None:
    receiver = receivers('[retention]\nevents = "3d"\n', top=ADMIN).start()
    asking = Asking(receiver)
    with asking.stream() as reading:
        post(receiver, "v0")
        cursor = reading.messages(1)[0].id
    post(receiver, "v1", "v2")
    receiver.settled(count=3)
    old = (
        "PRAGMA busy_timeout=5000; UPDATE events SET received_at = 1; UPDATE deliveries SET received_at = 1;"
    )
    _execute(receiver, old)
    assert receiver.run("prune").status == 0
    receiver.stop()
    receiver.start()  # which had the newest events in memory, for the one who read them
    asking, kept = Asking(receiver), post(receiver, "v3")
    with asking.stream(after=cursor) as late:
        gap, message = late.messages(2)
        assert (gap.event, gap.data) == ("gap", {"reason": "retention", "missing": 2})
        assert ids([message]) == kept
    with asking.stream(after=late.cursor) as again:
        live = post(receiver, "v4")
        assert ids([again.message()]) == live
    with asking.stream(since="1h") as since:
        assert ids(since.messages(2)) == [*kept, *live]  # nothing that was asked for is missing


def _execute(receiver: Receiver, script: str) -> None:
    with closing(
        sqlite3.connect(receiver.folder / "data" / "receiver.db", isolation_level=None)
    ) as connection:
        connection.executescript(script)


def test_a_cursor_of_another_record_is_told_as_a_gap_and_all_is_read(
    receivers: Callable[..., Receiver],
) -> None:
    one, other = receivers(top=ADMIN).start(), receivers(top=ADMIN).start()
    post(one, "v1", "v2", "v3")
    with Asking(one).stream(since="1h") as reading:
        reading.messages(3)
    mine = post(other, "w1")
    for cursor in (reading.cursor, "nonsense", "A" * 20, "_" * 20):
        with Asking(other).stream(after=cursor) as elsewhere:
            gap, message = elsewhere.messages(2)
            assert (gap.event, gap.data) == ("gap", {"reason": "another_record", "missing": None})
            assert ids([message]) == mine


def test_who_read_further_than_a_backup_that_was_restored_is_told_all_again(
    receivers: Callable[..., Receiver],
) -> None:
    receiver = receivers("[handlers]\nload = []\n", top=ADMIN).start()
    kept, copied = post(receiver, "v0", "v1"), receiver.folder / "copy.db"
    assert receiver.run("backup", str(copied)).status == 0
    page = Asking(receiver).json("/events", limit=1)["next"]
    lost = post(receiver, "v2", "v3")
    with Asking(receiver).stream(since="1h") as reading:
        assert ids(reading.messages(4)) == [*kept, *lost]
        live = reading.cursor
    with Asking(receiver).stream(source="none") as passing:  # of which the place alone is told
        passing.until_id()
    receiver.stop()
    copied.replace(receiver.folder / "data" / "receiver.db")
    receiver.start()
    asking, new = Asking(receiver), post(receiver, "w2", "w3", "w4")
    for cursor in (live, passing.cursor):
        with asking.stream(after=cursor) as again:
            gap = again.message()
            assert (gap.event, gap.data["reason"]) == ("gap", "another_record")
            assert ids(again.messages(5)) == [*kept, *new]
    for cursor in (page, page[:20], live[:20]):  # what was read is there, or an old cursor does not say
        with asking.stream(after=cursor) as further:
            message = further.message()
            assert (message.event, message.data["id"]) == ("message", new[2 if cursor == live[:20] else 0])


@contextmanager
def stalled(receiver: Receiver, query: str) -> Iterator[socket.socket]:
    """A reader that asks for the stream and reads nothing."""
    parts = urlsplit(receiver.url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((parts.hostname, parts.port))
        head = f"GET /api/v1/stream?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        connection.sendall(head.encode())
        yield connection


def test_a_reader_that_does_not_read_costs_no_memory_and_disturbs_nobody(
    open_receiver: Receiver, asking: Asking
) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(stalled(open_receiver, "since=1h")) for _ in range(20)]
        reading = stack.enter_context(asking.stream())
        post(open_receiver, "warm")
        reading.message()
        before = peak_memory(open_receiver.pid)
        sent = _flood(open_receiver, 3000)
        assert [message.data["video_id"] for message in reading.messages(3000)] == sent
        assert peak_memory(open_receiver.pid) - before < 24 * 2**20
        began = time.monotonic()
        assert open_receiver.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 4
        for connection in connections:
            connection.close()


def _flood(receiver: Receiver, count: int) -> list[str]:
    """Post so many small callbacks over one connection; their videos."""
    parts = urlsplit(receiver.url)
    names = [f"flood{number:05}" for number in range(count)]
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        file = connection.makefile("rb")
        for name in names:
            body = json.dumps(callback(name, "failed", title="x" * 500)).encode()
            connection.sendall(_request(body))
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"
            lines = iter(file.readline, b"\r\n")
            lengths = [int(line.split()[1]) for line in lines if line.startswith(b"content-length")]
            file.read(lengths[0])
        file.close()
    return names


def _request(body: bytes) -> bytes:
    head = (
        "POST /webhooks/opennote HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "X-Webhook-Platform: opennote-api\r\nX-Origin: https://video.api.opennote.com\r\n"
        f"X-Organization-Id: {ORGANIZATION}\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def test_streams_end_with_the_server_and_say_so(open_receiver: Receiver, asking: Asking) -> None:
    with asking.stream() as reading:
        post(open_receiver, "v1")
        reading.message()
        began = time.monotonic()
        os.kill(open_receiver.pid, signal.SIGTERM)
        with pytest.raises(EOFError):  # not a connection that breaks
            reading.message()
        assert time.monotonic() - began < 4, "it did not wait for the next heartbeat"
    assert open_receiver.wait() == 0


def test_there_are_only_so_many_streams(open_receiver: Receiver, asking: Asking) -> None:
    with ExitStack() as stack:
        for _ in range(64):
            stack.enter_context(stalled(open_receiver, ""))
        assert int(until(lambda: _refused(asking), what="a refusal") or 0) >= 1
    until(lambda: _refused(asking) is None, what="a free place")


def _refused(asking: Asking) -> str | None:
    answer = asking.request("HEAD", "/stream")
    return answer.headers["retry-after"] if answer.status_code == 503 else None


def test_a_stream_lives_through_a_death_of_the_store(open_receiver: Receiver, asking: Asking) -> None:
    with asking.stream() as reading:
        first = post(open_receiver, "v1")
        assert ids([reading.message()]) == first
        store = open_receiver.child("receiver.store.process")
        os.kill(store, signal.SIGKILL)
        until(lambda: open_receiver.post(callback("v2", "failed")).status_code == 200, what="a new store")
        assert reading.message().data["video_id"] == "v2"
