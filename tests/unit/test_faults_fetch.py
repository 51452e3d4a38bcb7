"""Answers of a file host that would lead elsewhere, never end, blow up or tell too much."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.client import SafeClient
from receiver.errors import Hopeless, Unfinished, VideoError
from receiver.fetch import Fetcher, Pace
from receiver.sources.base import LinkedVideo
from tests.file_server import FileServer, serving_files
from tests.unit.test_context import MP4, a_context, an_event, leftovers, visible

SECRET = "X-Amz-Signature=5ecret"


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with serving_files() as server:
        yield server


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(max_bytes=10**7, pace=Pace(connect_seconds=2, idle_seconds=2))
    yield fetcher
    await fetcher.aclose()


@pytest.mark.anyio
@pytest.mark.fault("S5")
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
async def test_no_kind_of_redirect_leads_anywhere(files: FileServer, fetcher: Fetcher, status: int) -> None:
    async with serving_files() as trap:
        files.give(
            "/a.mp4",
            b"",
            status=f"{status} X",
            headers=f"Location: {trap.base}/\r\nRefresh: 0; {trap.base}\r\n",
        )
        with pytest.raises(Hopeless, match=str(status)):
            async with fetcher.open(f"{files.base}/a.mp4", base=files.base):
                pass
        assert (await SafeClient(fetcher).get(f"{files.base}/a.mp4")).status == status
        assert len(files.requests) == 2, "both were answered with it"
        assert trap.connections == 0


@pytest.mark.anyio
@pytest.mark.fault("S6")
async def test_nothing_from_the_environment_joins_a_request(
    files: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(
        "machine 127.0.0.1 login intruder password marker\ndefault login intruder password marker\n"
    )
    netrc.chmod(0o600)
    files.give("/", b"", headers="Set-Cookie: a=marker\r\n")
    async with serving_files() as trap:
        for name in ("http", "https", "all", "ftp", "no"):
            monkeypatch.setenv(f"{name}_proxy", trap.base)
            monkeypatch.setenv(f"{name}_proxy".upper(), trap.base)
        for name, value in (
            ("NETRC", netrc),
            ("HOME", tmp_path),
            ("SSL_CERT_FILE", netrc),
            ("SSLKEYLOGFILE", netrc),
        ):
            monkeypatch.setenv(name, str(value))
        fetcher = Fetcher(max_bytes=10**6)
        for _ in range(2):
            assert (await SafeClient(fetcher).get(f"{files.base}/")).status == 200
        await fetcher.aclose()
        assert trap.connections == 0
    assert len(files.requests) == 2
    sent = "".join(files.requests).lower()
    assert "authorization" not in sent
    assert "cookie" not in sent


@pytest.mark.anyio
@pytest.mark.fault("S9")
@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ("Content-Encoding: gzip\r\n", "compressed, which was not asked for"),
        ("Content-Encoding: gzip, gzip\r\n", "compressed, which was not asked for"),
        ("Content-Encoding: gzip\r\nContent-Encoding: identity\r\n", "compressed, which was not asked for"),
        ("", r"not a video \(compressed\)"),
    ],
)
async def test_a_bomb_is_never_inflated(
    files: FileServer, fetcher: Fetcher, tmp_path: Path, headers: str, says: str
) -> None:
    bomb = gzip.compress(gzip.compress(bytes(100_000_000), 1), 9)
    files.give("/v.mp4", bomb, headers=headers)
    context = a_context(an_event(), LinkedVideo(f"{files.base}/v.mp4", files.base), fetcher, tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(Hopeless, match=says):
            await context.save_video()
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert len(files.requests) == 1
    assert not visible(tmp_path)
    assert not leftovers(tmp_path)


S3_ERRORS = [
    ("403 Forbidden", "AccessDenied", "Request has expired", Hopeless, "link_expired: 403 Forbidden"),
    ("400 Bad Request", "ExpiredToken", "The provided token has expired.", Hopeless, "link_expired: 400"),
    ("403 Forbidden", "AccessDenied", "Access Denied", Hopeless, "an expired or forbidden link"),
    (
        "403 Forbidden",
        "SignatureDoesNotMatch",
        "It does not match.",
        Hopeless,
        "an expired or forbidden link",
    ),
    ("403 Forbidden", "RequestTimeTooSkewed", "The time differs too much.", Hopeless, "expired or forbidden"),
    ("403 Forbidden", "InvalidAccessKeyId", "It does not exist.", Hopeless, "expired or forbidden"),
    ("400 Bad Request", "AuthorizationQueryParametersError", "Missing.", Hopeless, "400 Bad Request"),
    ("404 Not Found", "NoSuchKey", "The specified key does not exist.", Hopeless, "404 Not Found"),
    ("404 Not Found", "NoSuchBucket", "The bucket does not exist.", Hopeless, "404 Not Found"),
    ("301 Moved Permanently", "PermanentRedirect", "Use another endpoint.", Hopeless, "not followed"),
    ("503 Slow Down", "SlowDown", "Please reduce your request rate.", Unfinished, "503"),
    ("500 Internal Server Error", "InternalError", "Please try again.", Unfinished, "500"),
]


@pytest.mark.anyio
@pytest.mark.fault("S10", "S14")
@pytest.mark.parametrize(("status", "code", "message", "kind", "says"), S3_ERRORS)
async def test_an_error_of_s3_becomes_a_reason_without_its_words_and_without_the_query(
    files: FileServer,
    fetcher: Fetcher,
    tmp_path: Path,
    status: str,
    code: str,
    message: str,
    kind: type[VideoError],
    says: str,
) -> None:
    xml = f"<Error><Code>{code}</Code><Message>{message}</Message><HostId>marker</HostId></Error>"
    files.give("/v.mp4", xml.encode(), status=status, headers="x-amz-id-2: marker\r\n")
    place = LinkedVideo(f"{files.base}/v.mp4?{SECRET}", files.base)
    context = a_context(an_event(), place, fetcher, tmp_path)
    with pytest.raises(kind, match=says) as failed:
        await context.save_video()
    assert SECRET in files.requests[0], "it was asked for with its query"
    said = f"{failed.value}{failed.value.__cause__}{context.log.lines}"
    assert not [word for word in ("marker", "5ecret", code, message) if word in said]
    assert not visible(tmp_path)
    assert not leftovers(tmp_path)


@pytest.mark.anyio
@pytest.mark.fault("S8")
async def test_a_file_longer_than_the_limit_leaves_nothing_of_it(files: FileServer, tmp_path: Path) -> None:
    async def endless(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "v1"\r\n\r\n' + MP4)
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    files.answers["/v.mp4"] = endless
    fetcher = Fetcher(max_bytes=5_000_000)
    context = a_context(an_event(), LinkedVideo(f"{files.base}/v.mp4", files.base), fetcher, tmp_path)
    with pytest.raises(Hopeless, match="larger than the limit"):
        await context.save_video()
    await fetcher.aclose()
    assert not visible(tmp_path)
    assert not leftovers(tmp_path)
