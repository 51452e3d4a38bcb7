"""Downloads from a real server on loopback that behaves in every way but well."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trustme

from receiver.client import SafeClient
from receiver.errors import DeadLink, Hopeless, Unfinished, VideoError
from receiver.fetch import Fetcher, Pace, retry_after_seconds
from tests.file_server import FileServer, serving_files

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MARKER = "top-secret-marker"
LIMIT = 1_000_000


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with serving_files() as server:
        yield server


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(max_bytes=LIMIT, now=lambda: NOW, pace=Pace(connect_seconds=2, idle_seconds=2))
    yield fetcher
    await fetcher.aclose()


async def download(fetcher: Fetcher, files: FileServer, path: str = "/a.mp4", **options: Any) -> bytes:
    async with fetcher.open(f"{files.base}{path}?sig={MARKER}", base=files.base, **options) as answer:
        return b"".join([chunk async for chunk in answer])


async def failure(fetcher: Fetcher, files: FileServer, **options: Any) -> VideoError:
    with pytest.raises(VideoError) as failed:
        await download(fetcher, files, **options)
    assert MARKER not in str(failed.value)
    assert failed.value.__cause__ is None
    return failed.value


class SteppingClock:
    """Each look at it costs so many seconds."""

    def __init__(self, step: float) -> None:
        self.time = 0.0
        self.step = step

    def __call__(self) -> float:
        self.time += self.step
        return self.time


@pytest.mark.anyio
async def test_a_file_arrives_byte_for_byte(fetcher: Fetcher, files: FileServer) -> None:
    content = bytes(range(256)) * 2000
    files.give("/a.mp4", content, headers='ETag: "v1"\r\n')
    async with fetcher.open(f"{files.base}/a.mp4", base=files.base) as answer:
        assert (answer.status, answer.length, answer.etag) == (200, len(content), '"v1"')
        assert b"".join([chunk async for chunk in answer]) == content


@pytest.mark.anyio
async def test_a_request_asks_for_plain_bytes_and_carries_the_given_headers(
    fetcher: Fetcher, files: FileServer
) -> None:
    files.give("/a.mp4", b"x")
    await download(fetcher, files, headers={"Authorization": "Bearer k"})
    head = files.requests[0].lower()
    assert f"get /a.mp4?sig={MARKER} http/1.1" in head
    assert "accept-encoding: identity" in head
    assert "authorization: bearer k" in head
    assert f"host: 127.0.0.1:{files.port}" in head


@pytest.mark.anyio
async def test_chunked_bodies_arrive_whole(fetcher: Fetcher, files: FileServer) -> None:
    files.answers["/a.mp4"] = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert await download(fetcher, files) == b"abcde"


@pytest.mark.anyio
@pytest.mark.fault("S14")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
        f"{MARKER} this is not HTTP\r\n\r\n".encode(),
        f"HTTP/1.1 200 OK\r\n{MARKER}\x00: x\r\n\r\n".encode(),
    ],
)
async def test_an_answer_that_is_cut_off_or_broken_is_unfinished(
    fetcher: Fetcher, files: FileServer, answer: bytes
) -> None:
    files.answers["/a.mp4"] = answer
    assert isinstance(await failure(fetcher, files), Unfinished)


@pytest.mark.anyio
@pytest.mark.fault("S5", "S14")
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("404 Not Found", DeadLink),
        ("410 Gone", DeadLink),
        ("401 Unauthorized", DeadLink),
        ("400 Bad Request", DeadLink),
        ("403 Forbidden", DeadLink),
        ("418 I'm a Teapot", Hopeless),
        ("204 No Content", Hopeless),
        ("301 Moved Permanently", Hopeless),
        ("302 Found", Hopeless),
        ("307 Temporary Redirect", Hopeless),
        ("206 Partial Content", Unfinished),
        ("408 Request Timeout", Unfinished),
        ("429 Too Many Requests", Unfinished),
        ("500 Internal Server Error", Unfinished),
        ("502 Bad Gateway", Unfinished),
        ("503 Service Unavailable", Unfinished),
        ("599 What", Unfinished),
    ],
)
async def test_a_status_decides_whether_another_attempt_makes_sense(
    fetcher: Fetcher, files: FileServer, status: str, kind: type[VideoError]
) -> None:
    files.give("/a.mp4", b"" if status.startswith("204") else MARKER.encode(), status=status)
    error = await failure(fetcher, files)
    assert type(error) is kind
    assert status[:3] in str(error)


@pytest.mark.anyio
@pytest.mark.fault("S5")
async def test_a_redirect_is_never_followed(fetcher: Fetcher, files: FileServer) -> None:
    async with serving_files() as trap:
        files.give("/a.mp4", b"", status="302 Found", headers=f"Location: {trap.base}/{MARKER}\r\n")
        assert isinstance(await failure(fetcher, files), Hopeless)
        assert trap.connections == 0


@pytest.mark.anyio
@pytest.mark.fault("S10", "S14")
@pytest.mark.parametrize("status", ["403 Forbidden", "400 Bad Request", "404 Not Found", "410 Gone"])
@pytest.mark.parametrize(
    "xml",
    [
        "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
        "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
    ],
)
async def test_an_expired_link_is_told_apart(
    fetcher: Fetcher, files: FileServer, status: str, xml: str
) -> None:
    files.give("/a.mp4", f"{xml}<!-- {MARKER} -->".encode(), status=status)
    error = await failure(fetcher, files)
    assert isinstance(error, Hopeless)
    assert "link_expired" in str(error)


@pytest.mark.anyio
@pytest.mark.fault("S10")
async def test_a_forbidden_link_is_not_called_expired(fetcher: Fetcher, files: FileServer) -> None:
    files.give("/a.mp4", b"<Error><Code>AccessDenied</Code></Error>", status="403 Forbidden")
    assert "link_expired" not in str(await failure(fetcher, files))


@pytest.mark.anyio
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
async def test_the_wait_that_is_asked_for_is_passed_on(
    fetcher: Fetcher, files: FileServer, status: str
) -> None:
    files.give("/a.mp4", b"", status=status, headers="Retry-After: 17\r\n")
    error = await failure(fetcher, files)
    assert isinstance(error, Unfinished)
    assert error.retry_after_seconds == 17


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("3601", 3600),
        ("9" * 400, 3600),
        ("Sat, 31 Jan 2026 12:01:30 GMT", 90),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0),
        ("Fri, 31 Jan 2031 12:00:00 GMT", 3600),
        ("-5", None),
        ("1e3", None),
        ("١٢", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_an_hour(
    value: str | None, seconds: float | None
) -> None:
    assert retry_after_seconds(value, now=NOW) == seconds


@pytest.mark.anyio
@pytest.mark.fault("S9")
@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, gzip", "zstd", "deflate", "x-unknown"])
async def test_a_compressed_answer_is_refused(fetcher: Fetcher, files: FileServer, encoding: str) -> None:
    files.give("/a.mp4", gzip.compress(b"\0" * 1000), headers=f"Content-Encoding: {encoding}\r\n")
    assert isinstance(await failure(fetcher, files), Hopeless)


@pytest.mark.anyio
@pytest.mark.fault("S8")
async def test_a_size_over_the_limit_is_refused_when_it_is_announced(
    fetcher: Fetcher, files: FileServer
) -> None:
    files.answers["/a.mp4"] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n"
    assert isinstance(await failure(fetcher, files), Hopeless)


@pytest.mark.anyio
@pytest.mark.fault("S8")
async def test_a_download_of_exactly_the_limit_is_fine_and_one_more_byte_is_not(
    fetcher: Fetcher, files: FileServer
) -> None:
    def chunked(size: int) -> bytes:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return head + f"{size:x}\r\n".encode() + b"x" * size + b"\r\n0\r\n\r\n"

    files.answers["/a.mp4"] = chunked(LIMIT)
    assert len(await download(fetcher, files)) == LIMIT
    files.answers["/a.mp4"] = chunked(LIMIT + 1)
    assert isinstance(await failure(fetcher, files), Hopeless)


async def _endless(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 50_000)
        await writer.drain()


@pytest.mark.anyio
@pytest.mark.fault("S8")
async def test_an_endless_download_ends_at_the_limit(fetcher: Fetcher, files: FileServer) -> None:
    files.answers["/a.mp4"] = _endless
    assert isinstance(await failure(fetcher, files), Hopeless)


@pytest.mark.anyio
@pytest.mark.fault("S8")
async def test_a_trickle_is_given_up_after_its_grace(files: FileServer) -> None:
    async def trickle(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.001)

    files.answers["/a.mp4"] = trickle
    fetcher = Fetcher(max_bytes=LIMIT, clock=SteppingClock(1))
    async with fetcher.open(f"{files.base}/a.mp4", base=files.base) as answer:
        chunks = aiter(answer)
        for _ in range(30):
            assert await anext(chunks)
        with pytest.raises(Unfinished, match="too slow"):
            await anext(chunks)
    await fetcher.aclose()


@pytest.mark.anyio
async def test_a_slow_reader_is_not_taken_for_a_slow_sender(files: FileServer) -> None:
    files.give("/a.mp4", b"x" * 900_000)
    clock = SteppingClock(0)
    fetcher = Fetcher(max_bytes=LIMIT, clock=clock)
    async with fetcher.open(f"{files.base}/a.mp4", base=files.base) as answer:
        async for _ in answer:
            clock.time += 1000
    await fetcher.aclose()


async def _silent(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    await writer.drain()
    await asyncio.sleep(3)


async def _speechless(_: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3)


@pytest.mark.anyio
@pytest.mark.fault("S8")
@pytest.mark.parametrize("answer", [_silent, _speechless])
async def test_silence_is_unfinished(files: FileServer, answer: Callable[..., Any]) -> None:
    files.answers["/a.mp4"] = answer
    fetcher = Fetcher(max_bytes=LIMIT, pace=Pace(idle_seconds=0.05))
    assert isinstance(await failure(fetcher, files), Unfinished)
    await fetcher.aclose()


@pytest.mark.anyio
@pytest.mark.fault("S8")
@pytest.mark.parametrize("answer", [_silent, _speechless])
@pytest.mark.parametrize("seconds", [0.05, 0, -1])
async def test_a_download_ends_at_its_deadline(
    fetcher: Fetcher, files: FileServer, answer: Callable[..., Any], seconds: float
) -> None:
    files.answers["/a.mp4"] = answer
    error = await failure(fetcher, files, deadline_seconds=seconds)
    assert isinstance(error, Unfinished)
    assert "deadline" in str(error)


@pytest.mark.anyio
@pytest.mark.fault("S8")
async def test_a_deadline_passes_between_chunks_too(files: FileServer) -> None:
    files.answers["/a.mp4"] = _endless
    fetcher = Fetcher(max_bytes=10**12, clock=SteppingClock(60), pace=Pace(bytes_per_second=0))
    error = await failure(fetcher, files, deadline_seconds=1000)
    assert "deadline" in str(error)
    await fetcher.aclose()


@pytest.mark.anyio
async def test_the_rest_of_a_file_can_be_asked_for(fetcher: Fetcher, files: FileServer) -> None:
    files.give("/a.mp4", b"def", status="206 Partial Content", headers="Content-Range: bytes 3-5/6\r\n")
    async with fetcher.open(f"{files.base}/a.mp4", base=files.base, offset=3, if_range='"v1"') as answer:
        assert answer.status == 206
        assert b"".join([chunk async for chunk in answer]) == b"def"
    assert "Range: bytes=3-\r\n" in files.requests[0]
    assert 'If-Range: "v1"\r\n' in files.requests[0]


@pytest.mark.anyio
@pytest.mark.fault("S11")
@pytest.mark.parametrize("span", ["", "Content-Range: bytes 0-5/6\r\n", "Content-Range: bytes 30-5/6\r\n"])
async def test_another_part_than_the_one_asked_for_is_not_used(
    fetcher: Fetcher, files: FileServer, span: str
) -> None:
    files.give("/a.mp4", b"def", status="206 Partial Content", headers=span)
    assert isinstance(await failure(fetcher, files, offset=3), Unfinished)


@pytest.mark.anyio
@pytest.mark.fault("S8")
async def test_the_limit_counts_what_was_there_before(fetcher: Fetcher, files: FileServer) -> None:
    files.give("/a.mp4", b"def", status="206 Partial Content", headers="Content-Range: bytes 999998-/*\r\n")
    assert isinstance(await failure(fetcher, files, offset=LIMIT - 2), Hopeless)


@pytest.mark.anyio
async def test_nobody_there_is_unfinished(fetcher: Fetcher) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert isinstance(await failure(fetcher, FileServer(port=unused.getsockname()[1])), Unfinished)


@pytest.mark.anyio
@pytest.mark.fault("S6")
async def test_proxies_of_the_environment_are_not_used(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.give("/a.mp4", b"abc")
    async with serving_files() as trap:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, trap.base)
        fetcher = Fetcher(max_bytes=LIMIT)
        assert await download(fetcher, files) == b"abc"
        await fetcher.aclose()
        assert trap.connections == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        *({"X": value} for value in ("a\r\nY: b", "é", " a", "a\t", " ")),
        *({name: "a"} for name in ("X\r\nY", "", "Host", "x y", "Content-Length")),
    ],
)
async def test_a_header_that_could_split_a_request_is_never_sent(
    fetcher: Fetcher, files: FileServer, headers: dict[str, str]
) -> None:
    assert isinstance(await failure(fetcher, files, headers=headers), Hopeless)
    assert files.connections == 0


class Answers:
    """A resolver that gives one list after the other and remembers who was asked for."""

    def __init__(self, *answers: Sequence[str] | BaseException) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.mark.anyio
@pytest.mark.fault("S1", "S4")
@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], ["::1"], ["127.1"], ["localhost"]],
)
async def test_a_public_name_that_leads_to_this_machine_is_refused_before_connecting(
    addresses: list[str],
) -> None:
    async with serving_files() as trap:
        resolver = Answers(addresses, ["127.0.0.1"])
        fetcher = Fetcher(max_bytes=LIMIT, resolver=resolver)
        base = f"https://videos.example:{trap.port}"
        with pytest.raises(Hopeless, match="not a public"):
            async with fetcher.open(f"{base}/a.mp4", base=base):
                pass
        assert resolver.asked == ["videos.example"]
        assert trap.connections == 0
        await fetcher.aclose()


@pytest.mark.anyio
@pytest.mark.fault("S4")
async def test_the_system_is_asked_once_and_its_first_answer_is_connected_to(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | bytes] = []

    def flipping(host: str | bytes | None, port: int, *_: object, **__: object) -> list[Any]:
        asked.append(host or "")
        address = "127.0.0.1" if len(asked) == 1 else "203.0.113.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", flipping)
    files.give("/a.mp4", b"abc")
    fetcher = Fetcher(max_bytes=LIMIT)
    base = f"http://localhost:{files.port}"
    async with fetcher.open(f"{base}/a.mp4", base=base) as answer:
        assert b"".join([chunk async for chunk in answer]) == b"abc"
    await fetcher.aclose()
    assert asked == ["localhost"]
    assert f"Host: localhost:{files.port}\r\n" in files.requests[0]


@pytest.mark.anyio
async def test_the_next_address_is_tried_when_one_does_not_answer(files: FileServer) -> None:
    files.give("/a.mp4", b"abc")
    fetcher = Fetcher(max_bytes=LIMIT, resolver=Answers(["::1", "127.0.0.1"]))
    base = f"http://localhost:{files.port}"
    async with fetcher.open(f"{base}/a.mp4", base=base) as answer:
        assert answer.length == 3
    await fetcher.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [socket.gaierror(-2, MARKER), UnicodeError(MARKER), []])
async def test_a_name_that_is_not_found_is_unfinished(answer: Any) -> None:
    fetcher = Fetcher(max_bytes=LIMIT, resolver=Answers(answer))
    with pytest.raises(Unfinished) as failed:
        async with fetcher.open("https://videos.example/a.mp4", base="https://videos.example"):
            pass
    assert MARKER not in str(failed.value)
    await fetcher.aclose()


@pytest.mark.anyio
async def test_a_name_that_is_never_found_is_unfinished_after_the_time_to_connect() -> None:
    async def hanging(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(5)
        return []

    fetcher = Fetcher(max_bytes=LIMIT, resolver=hanging, pace=Pace(connect_seconds=0.05))
    with pytest.raises(Unfinished, match="ConnectTimeout"):
        async with fetcher.open("https://videos.example/a.mp4", base="https://videos.example"):
            pass
    await fetcher.aclose()


async def _over_tls(
    certificate: trustme.LeafCert, trusted: trustme.CA | None, *, speaks_tls: bool = True
) -> tuple[str, int]:
    """Fetch from localhost over TLS; return what came or went wrong, and how many requests were seen."""
    seen = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        if await reader.readline() and speaks_tls:
            seen += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")
        writer.close()

    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server_side)
    client_side = None
    if trusted is not None:
        client_side = ssl.create_default_context()
        trusted.configure_trust(client_side)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_side if speaks_tls else None)
    base = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    fetcher = Fetcher(max_bytes=LIMIT, resolver=Answers(["127.0.0.1"]), tls=client_side)
    try:
        async with fetcher.open(f"{base}/a.mp4", base=base) as download:
            return b"".join([chunk async for chunk in download]).decode(), seen
    except Unfinished as error:
        return str(error), seen
    finally:
        await fetcher.aclose()
        server.close()
        await server.wait_closed()


@pytest.mark.anyio
@pytest.mark.fault("S7")
async def test_a_certificate_is_verified_for_the_name_and_not_for_the_address() -> None:
    authority = trustme.CA()
    assert await _over_tls(authority.issue_cert("localhost"), authority) == ("abc", 1)
    refusal = ("the server's certificate could not be verified", 0)
    assert await _over_tls(authority.issue_cert("127.0.0.1"), authority) == refusal
    assert await _over_tls(authority.issue_cert("other.example"), authority) == refusal
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert await _over_tls(authority.issue_cert("localhost", not_after=yesterday), authority) == refusal
    assert await _over_tls(trustme.CA().issue_cert("localhost"), authority) == refusal
    assert await _over_tls(authority.issue_cert("localhost"), None) == refusal


@pytest.mark.anyio
@pytest.mark.fault("S7")
async def test_https_never_becomes_http() -> None:
    authority = trustme.CA()
    said, _ = await _over_tls(authority.issue_cert("localhost"), authority, speaks_tls=False)
    assert said == "TLS could not be agreed on"


@pytest.mark.anyio
async def test_a_fetcher_can_be_used_after_it_was_closed(fetcher: Fetcher, files: FileServer) -> None:
    files.give("/a.mp4", b"abc")
    await download(fetcher, files)
    await fetcher.aclose()
    assert await download(fetcher, files) == b"abc"


@pytest.mark.anyio
async def test_a_client_returns_any_status_with_its_body(fetcher: Fetcher, files: FileServer) -> None:
    files.give("/x", b'{"a": [1]}', status="409 Conflict", headers="X-A: 1\r\nX-A: 2\r\n")
    answer = await SafeClient(fetcher).post(f"{files.base}/x", json={"title": "é"}, headers={"X-Key": "k"})
    assert (answer.status, answer.headers["x-a"], answer.json()) == (409, "1, 2", {"a": [1]})
    head = files.requests[0]
    assert head.startswith("POST /x HTTP/1.1\r\n")
    assert "Content-Type: application/json\r\n" in head
    assert "Content-Length: 15\r\n" in head


@pytest.mark.anyio
async def test_a_client_reads_no_more_than_it_was_told_to(fetcher: Fetcher, files: FileServer) -> None:
    client = SafeClient(fetcher)
    files.give("/x", b"x" * 1024)
    assert len((await client.get(f"{files.base}/x", max_bytes="1KiB")).content) == 1024
    with pytest.raises(Hopeless, match="larger"):
        await client.get(f"{files.base}/x", max_bytes=1023)


@pytest.mark.anyio
async def test_a_client_waits_no_longer_than_it_was_told_to(fetcher: Fetcher, files: FileServer) -> None:
    files.answers["/x"] = _silent
    with pytest.raises(Unfinished, match="timeout"):
        await SafeClient(fetcher).get(f"{files.base}/x", timeout="50ms")


@pytest.mark.anyio
@pytest.mark.fault("S1")
@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://127.1/", "https://10.0.0.1/", "ftp://127.0.0.1/"]
)
async def test_a_client_goes_to_public_or_loopback_hosts_only(url: str) -> None:
    fetcher = Fetcher(max_bytes=LIMIT, resolver=Answers(["10.0.0.1"]))
    with pytest.raises(Hopeless):
        await SafeClient(fetcher).get(url)
    await fetcher.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["GET /evil HTTP/1.1\r\nX:", "", "G T"])
async def test_a_client_sends_real_methods_only(fetcher: Fetcher, files: FileServer, method: str) -> None:
    with pytest.raises(Hopeless, match="method"):
        await SafeClient(fetcher).request(method, files.base)
    assert files.connections == 0
