"""What `context.http` sends: files of any size, and how it says what the other side asks for."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from receiver import Context
from receiver.client import SafeClient
from receiver.errors import Hopeless, Unfinished
from receiver.fetch import Fetcher
from tests.sink import Sink, said, sinking


@pytest.fixture
def sink() -> Iterator[Sink]:
    with sinking() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[SafeClient]:
    fetcher = Fetcher(max_bytes=1)
    yield SafeClient(fetcher)
    await fetcher.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 1_000_001])
async def test_a_file_is_sent_from_where_it_stands_with_its_length(
    size: int, sink: Sink, client: SafeClient
) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    file = io.BytesIO(b"before" + content)
    file.seek(6)

    assert (await client.post(sink.base, content=file)).status == 204

    (request,) = sink.requests
    assert (request.body, request.length) == (content, size)
    assert "transfer-encoding" not in request.named
    assert not file.closed


@pytest.mark.anyio
async def test_a_file_that_is_cut_while_it_is_sent_is_never_taken_for_a_whole_one(
    sink: Sink, client: SafeClient, tmp_path: Path
) -> None:
    class Cut(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            self.truncate(300_000)
            return super().read(size)

    with pytest.raises(Unfinished, match="became shorter"):
        await client.post(sink.base, content=Cut(bytes(600_000)))
    assert sink.requests == []


@pytest.mark.anyio
async def test_an_answer_that_comes_before_the_body_is_read_counts(client: SafeClient) -> None:
    with sinking() as sink:
        sink.early = said("413 Too Large", "Connection: close\r\n")
        answer = await client.post(sink.base, content=io.BytesIO(bytes(100_000)), max_bytes=None)

    assert answer.status == 413
    assert sink.requests == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("value", "wait"),
    [("30", timedelta(seconds=30)), ("999999", timedelta(hours=1)), ("soon", None), (None, None)],
)
async def test_an_answer_says_how_long_to_wait(
    value: str | None, wait: timedelta | None, sink: Sink, client: SafeClient
) -> None:
    url = sink.answer("/in", said("503 Busy", "" if value is None else f"Retry-After: {value}\r\n", b"later"))

    answer = await client.post(url)

    assert (answer.status, answer.retry_after, answer.content) == (503, wait, b"later")


@pytest.mark.anyio
async def test_connections_are_used_again_when_the_body_is_not_asked_for(
    sink: Sink, client: SafeClient
) -> None:
    url = sink.answer("/in", said("200 OK", "Content-Encoding: identity\r\n", b"unread"))

    answers = [await client.post(url, content=b"x", max_bytes=None) for _ in range(3)]

    assert {(answer.status, answer.content) for answer in answers} == {(200, b"")}
    assert (len(sink.requests), sink.connections) == (3, 1)


@pytest.mark.anyio
async def test_connections_into_private_networks_serve_nobody_else(sink: Sink, client: SafeClient) -> None:
    for allow_private in (True, False, True):
        await client.post(sink.base, content=b"", allow_private=allow_private)

    assert (len(sink.requests), sink.connections) == (3, 2)


@pytest.mark.anyio
async def test_a_compressed_body_is_refused_when_it_is_asked_for(sink: Sink, client: SafeClient) -> None:
    url = sink.answer("/in", said("200 OK", "Content-Encoding: gzip\r\n", b"\x1f\x8b"))

    with pytest.raises(Hopeless, match="compressed"):
        await client.post(url)


def test_a_url_among_settings_is_checked_without_repeating_it() -> None:
    assert Context.check_url("https://hooks.example/in?token=1") == "https://hooks.example/in?token=1"
    with pytest.raises(ValueError, match="plain http") as caught:
        Context.check_url("http://hooks.example/in?token=1")
    assert "token" not in str(caught.value)
