"""Requests to a provider's API, at a real server on loopback that answers in every way."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.asking import Told, ask
from receiver.bodies import Bodies
from receiver.errors import Hopeless, Unavailable, Unfinished, Unreachable, Unreadable
from receiver.fetch import Fetcher, Pace
from receiver.sources.base import ApiRequest
from tests.file_server import FileServer, serving_files

LIMIT = 2_000_000
STATUS = json.dumps({"status": "completed", "video_id": "v1"}).encode()


@pytest.fixture
async def api() -> AsyncIterator[FileServer]:
    async with serving_files() as server:
        yield server


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(max_bytes=LIMIT, pace=Pace(connect_seconds=2, idle_seconds=2))
    yield fetcher
    await fetcher.aclose()


@pytest.fixture
def bodies(tmp_path: Path) -> Iterator[Bodies]:
    made = Bodies(tmp_path / "bodies", reserve=0)
    yield made
    made.close()


async def told(
    fetcher: Fetcher, api: FileServer, bodies: Bodies, *, path: str = "/v1/status/v1", **options: Any
) -> Told:
    request = ApiRequest(f"{api.base}{path}", f"{api.base}/v1", headers={"Authorization": "Bearer k"})
    return await ask(fetcher, request, bodies=bodies, **{"limit": LIMIT, **options})


def kept(bodies: Bodies) -> list[Path]:
    return (
        [path for path in bodies.directory.rglob("*") if path.is_file()] if bodies.directory.exists() else []
    )


@pytest.mark.anyio
async def test_a_small_answer_is_read_as_a_body_and_leaves_no_file(
    fetcher: Fetcher, api: FileServer, bodies: Bodies
) -> None:
    api.give("/v1/status/v1", STATUS, headers="openai-poll-after-ms: 2500\r\nRetry-After: 7\r\n")
    answer = await told(fetcher, api, bodies)
    assert answer.body is not None
    assert (answer.status, answer.body.raw, answer.complaint) == (200, STATUS, {})
    assert answer.body.payload == {"status": "completed", "video_id": "v1"}
    assert (answer.poll_after_seconds, answer.retry_after_seconds) == (2.5, 7.0)
    assert "authorization: bearer k" in api.requests[0].lower()
    assert kept(bodies) == []


@pytest.mark.anyio
async def test_a_large_answer_is_kept_verbatim_in_a_body_file(
    fetcher: Fetcher, api: FileServer, bodies: Bodies
) -> None:
    inline = "A" * 1_000_000
    text = json.dumps({"status": "completed", "response": {"b64_video": inline}}).encode()
    api.give("/v1/status/v1", text)
    answer = await told(fetcher, api, bodies)
    assert answer.body is not None
    assert (answer.body.raw, answer.body.sha256) == (None, hashlib.sha256(text).hexdigest())
    assert [path.read_bytes() for path in kept(bodies)] == [text]
    assert answer.body.strings[0].path == ("response", "b64_video")


@pytest.mark.anyio
@pytest.mark.parametrize("status", ["401 Unauthorized", "404 Not Found", "429 Too Many", "500 Oops"])
async def test_an_answer_that_is_no_success_is_given_with_its_complaint(
    fetcher: Fetcher, api: FileServer, bodies: Bodies, status: str
) -> None:
    api.give("/v1/status/v1", b'{"error": "no"}', status=status, headers="Retry-After: 9999999\r\n")
    answer = await told(fetcher, api, bodies)
    assert (answer.status, answer.body, answer.complaint) == (int(status[:3]), None, {"error": "no"})
    assert answer.retry_after_seconds == 3600


@pytest.mark.anyio
@pytest.mark.parametrize("complaint", [b"<html>", b"[1]", b"", b'{"a": ' * 100_000])
async def test_a_complaint_that_cannot_be_read_is_no_error(
    fetcher: Fetcher, api: FileServer, bodies: Bodies, complaint: bytes
) -> None:
    api.give("/v1/status/v1", complaint, status="502 Bad Gateway")
    answer = await told(fetcher, api, bodies)
    assert (answer.status, answer.complaint) == (502, {})


@pytest.mark.anyio
@pytest.mark.parametrize("text", [b"<html>", b"[]", b'{"a":1,"a":2}', b'{"a": NaN}', b""])
async def test_a_success_that_is_no_strict_object_is_hopeless(
    fetcher: Fetcher, api: FileServer, bodies: Bodies, text: bytes
) -> None:
    api.give("/v1/status/v1", text)
    with pytest.raises(Hopeless, match="no JSON object"):
        await told(fetcher, api, bodies)


@pytest.mark.anyio
async def test_an_answer_over_the_limit_is_hopeless_and_nothing_is_kept(
    fetcher: Fetcher, api: FileServer, bodies: Bodies
) -> None:
    text = json.dumps({"a": "A" * LIMIT}).encode()
    api.answers["/v1/status/v1"] = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + text
    with pytest.raises(Hopeless, match="too large"):
        await told(fetcher, api, bodies)
    api.give("/v1/status/v1", text)
    with pytest.raises(Hopeless, match="too large"):
        await told(fetcher, api, bodies)
    assert kept(bodies) == []


@pytest.mark.anyio
async def test_an_answer_that_is_cut_off_is_to_be_asked_for_again_and_nothing_is_kept(
    fetcher: Fetcher, api: FileServer, bodies: Bodies
) -> None:
    api.answers["/v1/status/v1"] = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b'{"a": "' + b"A" * 200_000
    )
    with pytest.raises(Unfinished, match="cut off"):
        await told(fetcher, api, bodies)
    assert kept(bodies) == []


@pytest.mark.anyio
async def test_an_answer_that_does_not_end_in_time_is_to_be_asked_for_again(
    fetcher: Fetcher, api: FileServer, bodies: Bodies
) -> None:
    async def drip(request: str, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
        await writer.drain()
        await never.wait()

    never = asyncio.Event()
    api.answers["/v1/status/v1"] = drip
    with pytest.raises(Unfinished, match="too long"):
        await told(fetcher, api, bodies, timeout_seconds=0.2)


@pytest.mark.anyio
async def test_an_answer_that_finds_no_room_is_not_taken(
    fetcher: Fetcher, api: FileServer, tmp_path: Path
) -> None:
    full = Bodies(tmp_path / "full", reserve=2**60)
    api.give("/v1/status/v1", json.dumps({"a": "A" * 100_000}).encode())
    with pytest.raises(Unavailable):
        await told(fetcher, api, full)
    full.close()


@pytest.mark.anyio
async def test_a_request_that_does_not_lie_under_its_base_is_not_sent(
    fetcher: Fetcher, api: FileServer, bodies: Bodies
) -> None:
    with pytest.raises(Hopeless, match="does not lie under"):
        await told(fetcher, api, bodies, path="/v2/status/v1")
    assert api.connections == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("header", "seconds"), [("soon", None), ("-1", None), ("nan", None), ("inf", None), ("1e12", 3600.0)]
)
async def test_an_odd_wish_for_the_next_poll_is_ignored_or_bounded(
    fetcher: Fetcher, api: FileServer, bodies: Bodies, header: str, seconds: float | None
) -> None:
    api.give("/v1/status/v1", STATUS, headers=f"openai-poll-after-ms: {header}\r\n")
    assert (await told(fetcher, api, bodies)).poll_after_seconds == seconds


@pytest.mark.anyio
async def test_it_is_told_apart_whether_anything_was_sent(
    fetcher: Fetcher, api: FileServer, bodies: Bodies
) -> None:
    async def unknown(_: str, __: int) -> list[str]:
        raise OSError

    async with serving_files() as gone:
        pass
    with pytest.raises(Unreachable, match="the connection failed"):
        await told(fetcher, gone, bodies)
    nameless = Fetcher(max_bytes=LIMIT, resolver=unknown)
    with pytest.raises(Unreachable, match="could not be resolved"):
        await ask(nameless, ApiRequest("https://a.test/", "https://a.test"), bodies=bodies, limit=LIMIT)
    await nameless.aclose()
    api.answers["/v1/status/v1"] = b""
    with pytest.raises(Unfinished) as caught:
        await told(fetcher, api, bodies)
    assert not isinstance(caught.value, Unreachable)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "headers"), [(b"[]", ""), (b"x", "Content-Encoding: gzip\r\n"), (b" " * (LIMIT + 1), "")]
)
async def test_an_answer_with_which_nothing_can_be_done_is_told_from_a_request_that_was_not_sent(
    fetcher: Fetcher, api: FileServer, bodies: Bodies, body: bytes, headers: str
) -> None:
    api.give("/v1/status/v1", body, headers=headers)
    with pytest.raises(Unreadable):
        await told(fetcher, api, bodies)
