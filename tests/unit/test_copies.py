"""Lines that say what another receiver recorded: what is read from them, and what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.bodies import Bodies
from receiver.copies import LONGEST_LINE, copy_of, read_line, take_body
from receiver.errors import BadCopy
from receiver.store.copies import KeptVideo

LIMIT = 2**30
NOW = 1_800_000_000_000


def line(body: bytes = b'{"status":"completed"}', **changes: Any) -> dict[str, Any]:
    """The line of an accepted delivery; `changes` replaces fields, `news_…` those of its news."""
    news: dict[str, Any] = {
        "type": "video.completed",
        "identity": "v1@org",
        "what": "completed",
        "video_id": "v1",
        "status": "completed",
        "progress": None,
        "title": "Cells",
        "warnings": [],
        "content": None,
    }
    plain: dict[str, Any] = {
        "event": "evt_0123456789abcdef0123456789ab",
        "verdict": "accepted",
        "source": "opennote",
        "kind": "opennote",
        "via": "callback",
        "received_at": "2026-01-31T12:00:00.123+00:00",
        "method": "POST",
        "path": "/webhooks/opennote",
        "headers": [["content-type", "application/json"]],
        "bytes": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest(),
        "body": body.decode(),
        "news": news | {name[5:]: value for name, value in changes.items() if name.startswith("news_")},
    }
    return plain | {name: value for name, value in changes.items() if not name.startswith("news_")}


def read(**changes: Any) -> Any:
    return read_line(orjson.dumps(line(**changes)))


def nested(depth: int) -> dict[str, Any]:
    """An object in an object, and so on."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


def large(body: bytes, **changes: Any) -> dict[str, Any]:
    """The line of a delivery whose body lies elsewhere."""
    without = line(body, **changes)
    del without["body"]
    return without


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"event": "../../etc/passwd"}, "^event: "),
        ({"event": "evt_ABC"}, "^event: "),
        ({"verdict": "rejected"}, "^verdict: "),
        ({"source": "a/b"}, "^source: "),
        ({"kind": "nobody's"}, "^kind: this version knows"),
        ({"via": "email"}, "^via: "),
        ({"received_at": "2026-01-31T12:00:00.123"}, "^received_at: .*timezone"),
        ({"received_at": "1969-12-31T23:59:59+00:00"}, "^received_at: it is no time"),
        ({"received_at": "2026-01-31T12:00:00.1234+00:00"}, "^received_at: it is no time"),
        ({"method": "P\nOST"}, "^method: "),
        ({"path": "/webhooks/\x1b[31m"}, "^path: it has characters"),
        ({"headers": [["a"]]}, "^headers"),
        ({"headers": [["a", "b"]] * 257}, "^headers: "),
        ({"bytes": -1}, "^bytes: "),
        ({"bytes": 5}, "^body: it has another length"),
        ({"body_sha256": "0" * 64}, "^body: its SHA-256"),
        ({"body_sha256": "A" * 64}, "^body_sha256: "),
        ({"news": None}, "^news: a delivery that was accepted"),
        ({"verdict": "duplicate"}, "^news: a delivery that was accepted"),
        ({"news_type": "video.failed"}, "^news.type: it does not fit"),
        ({"news_what": "other:x"}, "^news.type: it does not fit"),
        ({"news_identity": ""}, "^news.identity: "),
        ({"news_video_id": "v\x00"}, "^news.video_id: "),
        ({"news_progress": "NaN"}, "^news.progress: "),
        ({"news_warnings": ["x"] * 101}, "^news.warnings: "),
        ({"news_object": nested(100)}, "^news.object: "),
        ({"news_object": {"a": "\0"}}, "^news.object: "),
    ],
)
def test_a_line_that_is_not_what_it_should_be_is_refused_with_the_field(
    changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(BadCopy, match=complaint):
        read(**changes)


@pytest.mark.parametrize(
    "text",
    [
        orjson.dumps(line()).replace(
            b'"news":{', b'"news":{"object":' + b'{"x":' * 900 + b"1" + b"}" * 900 + b","
        ),
        b"",
        b"{",
        b"[]",
        b"nonsense",
        b"\xff",
        b"[" * 5000,
        b"1" * (LONGEST_LINE + 1),
    ],
)
def test_what_is_no_line_at_all_is_refused(text: bytes) -> None:
    with pytest.raises(BadCopy):
        read_line(text)


def test_a_refusal_repeats_nothing_of_the_line() -> None:
    with pytest.raises(BadCopy) as refused:
        read(via="a-secret-value")
    assert "a-secret-value" not in str(refused.value)


def test_fields_that_a_later_version_may_add_are_passed_over() -> None:
    assert read(extra=1, news_extra={"a": 1}) == read()


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "", "path": "", "via": "poll"},  # a watch that was given up
        {"path": "/v1/videos/" + "%F0%9F%98%80" * 256},
        {"headers": [["x-" + "n" * 32_000, "redacted:00000000"]] * 100},
        {"news_content": "https://example.com/" + "x" * 4_000_000},
        {"news_what": f"other:{'x' * 256}", "news_type": "video.unknown"},
        {"news_title": "a\nb"},
    ],
)
def test_whatever_a_receiver_records_is_read(changes: dict[str, Any]) -> None:
    assert read(**changes).event == line()["event"]


@pytest.mark.anyio
async def test_what_is_recorded_is_what_the_line_says_and_what_the_body_holds(tmp_path: Path) -> None:
    link = "https://videofs-opennote-us-east-1.s3.us-east-1.amazonaws.com/a.mp4"
    signed = f"{link}?X-Amz-Date=20260131T120000Z&X-Amz-Expires=3600"
    body = orjson.dumps({"status": "completed", "video_id": "v1", "response": {"s3_url": signed}})
    delivery = read_line(orjson.dumps(line(body, via="poll", news_warnings=["no_id"])))
    taken = await take_body(delivery, None, bodies=Bodies(tmp_path), limit=LIMIT)

    copy = copy_of(delivery, taken, now=NOW, nth=2, video=KeptVideo("ab" * 32, 5))

    arrival = copy.arrival
    assert (arrival.event_id, arrival.via, arrival.received_at) == (delivery.event, "poll", 1_769_860_800_123)
    assert (arrival.body, arrival.body_sha256, arrival.size) == (body.decode(), None, len(body))
    assert (arrival.identity, arrival.warnings, arrival.title) == ("v1@org", ["no_id"], "Cells")
    assert arrival.expires_at == 1_769_864_400_000
    assert arrival.headers == '[["content-type","application/json"]]'
    assert (copy.verdict, copy.nth, copy.at, copy.video) == ("accepted", 2, NOW, KeptVideo("ab" * 32, 5))
    assert files(tmp_path) == []


@pytest.mark.anyio
async def test_a_large_body_is_judged_and_on_disk_before_anything_is_said_of_it(tmp_path: Path) -> None:
    body = b'{"status":"completed","response":{"b64_video":"' + b"A" * 100_000 + b'"}}'
    delivery = read_line(orjson.dumps(large(body)))

    taken = await take_body(delivery, pieces(body[:10], body[10:]), bodies=Bodies(tmp_path), limit=LIMIT)

    arrival = copy_of(delivery, taken, now=NOW).arrival
    assert arrival.body is None
    assert arrival.body_sha256 is not None
    assert Bodies(tmp_path).path(arrival.body_sha256).read_bytes() == body
    assert (
        arrival.payload == '{"status":"completed","response":{"b64_video":{"$long_string":{"bytes":100000}}}}'
    )
    (string,) = orjson.loads(arrival.strings or "")
    assert (string["path"], string["length"]) == (["response", "b64_video"], 100_000)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b'{"a":"' + b"x" * 70_000 + b'"}', "not the one that belongs"),  # another one
        (b'{"a":"' + b"A" * 69_992 + b'"', "unexpected end"),
        (b"[" + b"1," * 40_000 + b"1]", "object"),
        (b'{"a":"' + b"A" * 200_000 + b'"}', "more than 100000 bytes"),
    ],
)
async def test_a_large_body_that_is_not_what_it_should_be_is_refused_and_not_kept(
    tmp_path: Path, body: bytes, complaint: str
) -> None:
    announced = b'{"a":"' + b"A" * 69_992 + b'"}'
    delivery = read_line(orjson.dumps(large(announced)))

    with pytest.raises(BadCopy, match=complaint):
        await take_body(delivery, pieces(body), bodies=Bodies(tmp_path), limit=100_000)

    assert [path for path in files(tmp_path) if path.suffix == ".part"] == []


@pytest.mark.anyio
@pytest.mark.fault("W10")
async def test_a_secret_in_a_line_that_somebody_else_wrote_is_not_recorded(tmp_path: Path) -> None:
    headers = [
        ["content-type", "application/json"],
        ["x-api-key", "redacted:0a1b2c3d"],
        ["X-API-Key", "canary"],
        ["authorization", "redacted: canary"],
        ["cookie", "redacted"],
    ]
    delivery = read(headers=headers)
    taken = await take_body(delivery, None, bodies=Bodies(tmp_path), limit=LIMIT)

    assert orjson.loads(copy_of(delivery, taken, now=NOW).arrival.headers) == [
        *headers[:2],
        ["X-API-Key", "redacted"],
        ["authorization", "redacted"],
        ["cookie", "redacted"],
    ]
