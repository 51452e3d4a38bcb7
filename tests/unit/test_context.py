"""What a handler's context does with videos, wherever they are."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import resource
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.context import Context
from receiver.errors import Hopeless, Unfinished
from receiver.event import Event, StoredBody
from receiver.fetch import Fetcher
from receiver.model import LongString, Payload, Video
from receiver.sources.base import InlineVideo, LinkedVideo, VideoPlace
from tests.file_server import FileServer, serving_files

MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(range(256)) * 20
INLINE = InlineVideo(("response", "b64_video"))


class Lines:
    """A log that can be read."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with serving_files() as server:
        yield server


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(max_bytes=10**9)
    yield fetcher
    await fetcher.aclose()


def an_event(
    event_id: str = "evt_aaaaaaaa11111111", *, body: StoredBody | None = None, **video: Any
) -> Event:
    payload: Payload = json.loads(body.raw) if body and body.raw else {}
    return Event(
        id=event_id,
        source="opennote",
        type="video.completed",
        key="vid:completed",
        received_at=datetime(2026, 1, 31, tzinfo=UTC),
        warnings=(),
        video=Video(**{"id": "vid", "title": "Cells", **video}),
        payload=payload,
        body=body or StoredBody(raw=b"{}"),
    )


def a_context(
    event: Event, place: VideoPlace | None, fetcher: Fetcher, folder: Path, *, seconds: float = 60
) -> Context:
    return Context(
        event=event,
        place=place,
        fetcher=fetcher,
        folder=folder,
        log=Lines(),
        attempt=1,
        attempts=20,
        idempotency_key="key",
        replay=None,
        settings=None,
        results={},
        deadline=datetime.now(UTC) + timedelta(seconds=seconds),
    )


def small_inline(video: bytes, *, text: str | None = None) -> StoredBody:
    encoded = base64.b64encode(video).decode() if text is None else text
    return StoredBody(raw=json.dumps({"response": {"b64_video": encoded}}).encode())


def large_inline(folder: Path, encoded: bytes) -> StoredBody:
    start = b'{"response": {"b64_video": "'
    path = folder / "body"
    path.write_bytes(start + encoded + b'"}}')
    string = LongString(path=INLINE.path, offset=len(start), length=len(encoded), escaped=False)
    return StoredBody(path=path, strings=(string,))


def open_paths() -> list[str]:
    paths = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that the listing itself used
            paths.append(str(descriptor.readlink()))
    return paths


def leftovers(folder: Path) -> list[Path]:
    return list((folder / "videos" / ".receiver" / "partial").iterdir())


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "videos").glob("[!.]*"))


@pytest.mark.anyio
async def test_a_linked_video_is_saved_with_its_size_and_checksum(
    files: FileServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    files.give("/v.bin", MP4, headers="Content-Type: text/plain\r\n")
    place = LinkedVideo(f"{files.base}/v.bin", files.base, {"Authorization": "Bearer k"})
    context = a_context(an_event(), place, fetcher, tmp_path)
    saved = await context.save_video()
    assert saved.path == tmp_path / "videos" / "Cells-vid.mp4"
    assert (saved.bytes, saved.sha256) == (len(MP4), hashlib.sha256(MP4).hexdigest())
    assert saved.path.read_bytes() == MP4
    assert "Authorization: Bearer k\r\n" in files.requests[0]
    assert context.log.lines == [
        ("video.saved", {"path": str(saved.path), "bytes": saved.bytes, "sha256": saved.sha256})
    ]


@pytest.mark.anyio
async def test_a_small_inline_video_is_saved(fetcher: Fetcher, tmp_path: Path) -> None:
    saved = await a_context(an_event(body=small_inline(MP4)), INLINE, fetcher, tmp_path).save_video()
    assert saved.path.read_bytes() == MP4


@pytest.mark.anyio
async def test_a_large_inline_video_is_saved(fetcher: Fetcher, tmp_path: Path) -> None:
    video = MP4 * 1000
    body = large_inline(tmp_path, base64.b64encode(video))
    saved = await a_context(an_event(body=body), INLINE, fetcher, tmp_path).save_video()
    assert (
        saved.sha256
        == hashlib.sha256(video).hexdigest()
        == hashlib.sha256(saved.path.read_bytes()).hexdigest()
    )


@pytest.mark.anyio
@pytest.mark.fault("B9")
@pytest.mark.parametrize("at", [0, 100_000, 5_000_000])
async def test_base64_that_is_none_leaves_no_file(fetcher: Fetcher, tmp_path: Path, at: int) -> None:
    encoded = bytearray(base64.b64encode(MP4 * 1000))
    encoded[at] = ord("!")
    body = large_inline(tmp_path, bytes(encoded))
    with pytest.raises(Hopeless, match=f"byte {at}"):
        await a_context(an_event(body=body), INLINE, fetcher, tmp_path).save_video()
    assert visible(tmp_path) == []
    assert leftovers(tmp_path) == []


@pytest.mark.anyio
async def test_a_body_file_that_is_gone_is_hopeless(fetcher: Fetcher, tmp_path: Path) -> None:
    body = large_inline(tmp_path, base64.b64encode(MP4))
    (tmp_path / "body").unlink()
    with pytest.raises(Hopeless, match="gone"):
        await a_context(an_event(body=body), INLINE, fetcher, tmp_path).save_video()
    with pytest.raises(Hopeless, match="gone"):
        an_event(body=body).open_body()


@pytest.mark.anyio
@pytest.mark.fault("B11", "S14")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>marker</html>", "HTML"),
        (b"<?xml version='1.0'?><marker/>", "XML"),
        (b'{"marker": 1}', "JSON"),
        (b"#EXTM3U\nmarker", "a playlist"),
        (b"", "empty"),
        (b"\x00marker" * 100, "unknown"),
    ],
)
async def test_what_is_no_video_is_not_saved(
    files: FileServer, fetcher: Fetcher, tmp_path: Path, content: bytes, says: str
) -> None:
    files.give("/v.mp4", content, headers="Content-Type: video/mp4\r\n")
    context = a_context(an_event(), LinkedVideo(f"{files.base}/v.mp4", files.base), fetcher, tmp_path)
    with pytest.raises(Hopeless, match=rf"^what arrived is not a video \({says}\)$"):
        await context.save_video()
    assert visible(tmp_path) == []


@pytest.mark.anyio
@pytest.mark.fault("S8")
async def test_a_download_that_breaks_leaves_no_file(
    files: FileServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    files.answers["/v.mp4"] = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + MP4 * 1000
    context = a_context(an_event(), LinkedVideo(f"{files.base}/v.mp4", files.base), fetcher, tmp_path)
    with pytest.raises(Unfinished):
        await context.save_video()
    assert visible(tmp_path) == []
    assert leftovers(tmp_path) == []


def _halves(video: bytes, *, etags: tuple[str, str]) -> Any:
    async def answer(request: str, writer: asyncio.StreamWriter) -> None:
        whole, half = len(video), len(video) // 2
        if "Range: bytes=" not in request:
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\nETag: {etags[0]}\r\n\r\n".encode())
            writer.write(video[:half])
            return
        span = f"Content-Range: bytes {half}-{whole - 1}/{whole}"
        status = f"206 Partial Content\r\n{span}" if etags[0] == etags[1] else "200 OK"
        rest = video[half:] if etags[0] == etags[1] else b"\xff" * whole
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(rest)}\r\nETag: {etags[1]}\r\n\r\n"
        writer.write(head.encode() + rest)

    return answer


@pytest.mark.anyio
async def test_a_broken_download_goes_on_where_it_broke(
    files: FileServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    files.answers["/v.mp4"] = _halves(MP4 * 100, etags=('"v1"', '"v1"'))
    context = a_context(an_event(), LinkedVideo(f"{files.base}/v.mp4", files.base), fetcher, tmp_path)
    saved = await context.save_video()
    assert saved.path.read_bytes() == MP4 * 100
    assert 'If-Range: "v1"\r\n' in files.requests[1]


@pytest.mark.anyio
@pytest.mark.fault("S11")
@pytest.mark.parametrize("etags", [('"v1"', '"v2"'), ('W/"v1"', 'W/"v1"')])
async def test_two_files_are_never_stitched_together(
    files: FileServer, fetcher: Fetcher, tmp_path: Path, etags: tuple[str, str]
) -> None:
    files.answers["/v.mp4"] = _halves(MP4 * 100, etags=etags)
    context = a_context(an_event(), LinkedVideo(f"{files.base}/v.mp4", files.base), fetcher, tmp_path)
    with pytest.raises(Unfinished):
        await context.save_video()
    assert visible(tmp_path) == []


@pytest.mark.anyio
async def test_a_download_that_breaks_again_and_again_is_given_back_to_the_job(
    files: FileServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    async def one_more_byte(request: str, writer: asyncio.StreamWriter) -> None:
        at = int(request.partition("bytes=")[2].partition("-")[0] or 0)
        status = f"206 Partial Content\r\nContent-Range: bytes {at}-99/100" if at else "200 OK"
        writer.write(
            f'HTTP/1.1 {status}\r\nContent-Length: {100 - at}\r\nETag: "v"\r\n\r\n'.encode()
            + MP4[at : at + 1]
        )

    files.answers["/v.mp4"] = one_more_byte
    context = a_context(an_event(), LinkedVideo(f"{files.base}/v.mp4", files.base), fetcher, tmp_path)
    with pytest.raises(Unfinished):
        await context.save_video()
    assert len(files.requests) == 4


@pytest.mark.anyio
@pytest.mark.fault("B10")
async def test_an_event_without_a_video_is_hopeless(fetcher: Fetcher, tmp_path: Path) -> None:
    with pytest.raises(Hopeless, match="names no video"):
        await a_context(an_event(), None, fetcher, tmp_path).save_video()


@pytest.mark.anyio
@pytest.mark.fault("B10")
@pytest.mark.parametrize(
    "raw", [b"{}", b'{"response": null}', b'{"response": {"b64_video": 5}}', b'{"response": []}']
)
async def test_a_body_without_the_promised_text_is_hopeless(
    fetcher: Fetcher, tmp_path: Path, raw: bytes
) -> None:
    with pytest.raises(Hopeless, match="carries no video"):
        await a_context(an_event(body=StoredBody(raw=raw)), INLINE, fetcher, tmp_path).save_video()


@pytest.mark.anyio
@pytest.mark.fault("S1", "S2")
async def test_a_link_outside_its_base_is_never_asked_for(
    files: FileServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    place = LinkedVideo(f"{files.base}/v.mp4", "https://videos.example")
    with pytest.raises(Hopeless):
        await a_context(an_event(), place, fetcher, tmp_path).save_video()
    assert files.connections == 0


@pytest.mark.anyio
async def test_a_wrong_template_is_told_before_the_download(
    files: FileServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    context = a_context(an_event(), LinkedVideo(f"{files.base}/v.mp4", files.base), fetcher, tmp_path)
    with pytest.raises(Hopeless, match="template"):
        await context.save_video("{nope}")
    assert files.connections == 0


@pytest.mark.anyio
async def test_a_deadline_that_has_passed_ends_the_download(
    files: FileServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    files.give("/v.mp4", MP4)
    place = LinkedVideo(f"{files.base}/v.mp4", files.base)
    with pytest.raises(Unfinished, match="deadline"):
        await a_context(an_event(), place, fetcher, tmp_path, seconds=-1).save_video()


@pytest.mark.anyio
async def test_a_template_may_name_every_documented_field(fetcher: Fetcher, tmp_path: Path) -> None:
    context = a_context(an_event(body=small_inline(MP4), model="picasso"), INLINE, fetcher, tmp_path)
    saved = await context.save_video("{date} {source} {model} {title} {id} {event}.mov", directory="a/b")
    assert saved.path == tmp_path / "a/b" / "2026-01-31 opennote picasso Cells vid evt_aaaaaaaa11111111.mp4"


@pytest.mark.anyio
async def test_a_video_without_id_and_title_is_named_after_its_event(
    fetcher: Fetcher, tmp_path: Path
) -> None:
    event = an_event(body=small_inline(MP4), id=None, title=None)
    saved = await a_context(event, INLINE, fetcher, tmp_path).save_video()
    assert saved.path.name == "evt_aaaaaaaa11111111.mp4"
    again = await a_context(event, INLINE, fetcher, tmp_path).save_video("{id} raw")
    assert again.path.name == "evt_aaaaaaaa11111111 raw.mp4"


@pytest.mark.anyio
async def test_equal_titles_of_different_events_are_two_files(fetcher: Fetcher, tmp_path: Path) -> None:
    for event_id in ("evt_aaaaaaaa11111111", "evt_bbbbbbbb22222222", "evt_aaaaaaaa11111111"):
        event = an_event(event_id, body=small_inline(MP4))
        await a_context(event, INLINE, fetcher, tmp_path).save_video("{title}")
    assert visible(tmp_path) == ["Cells.mp4", "Cells~22222222.mp4"]


@pytest.mark.anyio
async def test_a_cancelled_save_leaves_nothing_and_no_open_file(
    files: FileServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    async def stalling(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + MP4 * 1000)
        await writer.drain()
        has_begun.set()
        await asyncio.sleep(60)

    has_begun = asyncio.Event()
    files.answers["/v.mp4"] = stalling
    context = a_context(an_event(), LinkedVideo(f"{files.base}/v.mp4", files.base), fetcher, tmp_path)
    saving = asyncio.create_task(context.save_video())
    await has_begun.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert visible(tmp_path) == []
    assert leftovers(tmp_path) == []
    assert not [path for path in open_paths() if path.startswith(str(tmp_path))]


@pytest.mark.anyio
@pytest.mark.fault("C4")
@pytest.mark.parametrize("video", [MP4, MP4 * 1000])
async def test_a_write_that_fails_is_an_error_and_leaves_no_file(
    fetcher: Fetcher, tmp_path: Path, video: bytes
) -> None:
    body = large_inline(tmp_path, base64.b64encode(video))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(video) - 100, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            await a_context(an_event(body=body), INLINE, fetcher, tmp_path).save_video()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert visible(tmp_path) == []
    assert leftovers(tmp_path) == []


@pytest.mark.anyio
async def test_a_stream_can_be_read_with_and_without_a_block(fetcher: Fetcher, tmp_path: Path) -> None:
    context = a_context(an_event(body=small_inline(MP4)), INLINE, fetcher, tmp_path)
    assert b"".join([chunk async for chunk in context.open_video()]) == MP4
    async with context.open_video() as stream:
        assert b"".join([chunk async for chunk in stream]) == MP4


@pytest.mark.anyio
async def test_a_block_that_stops_early_closes_the_connection(
    files: FileServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    closed = asyncio.Event()

    async def endless(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        except ConnectionError:
            closed.set()

    files.answers["/v.mp4"] = endless
    context = a_context(an_event(), LinkedVideo(f"{files.base}/v.mp4", files.base), fetcher, tmp_path)
    async with context.open_video() as stream:
        async for _ in stream:
            break
    await asyncio.wait_for(closed.wait(), 5)


@pytest.mark.anyio
async def test_json_is_saved_under_the_same_rules(fetcher: Fetcher, tmp_path: Path) -> None:
    context = a_context(an_event(), None, fetcher, tmp_path)
    saved = await context.save_json("../Cells.json", {"title": "é", "n": [1]})
    assert saved.path == tmp_path / "videos" / "_Cells.json"
    assert json.loads(saved.path.read_text()) == {"title": "é", "n": [1]}
    assert saved.sha256 == hashlib.sha256(saved.path.read_bytes()).hexdigest()
    other = a_context(an_event("evt_bbbbbbbb22222222"), None, fetcher, tmp_path)
    assert (await other.save_json("../Cells", {})).path.name == "_Cells~22222222.json"


@pytest.mark.anyio
async def test_a_small_file_is_saved_under_the_same_rules(fetcher: Fetcher, tmp_path: Path) -> None:
    context = a_context(an_event(), None, fetcher, tmp_path)
    saved = await context.save_file("../Cells.jpg", b"picture", directory=tmp_path / "elsewhere")
    assert saved.path == tmp_path / "elsewhere" / "_Cells.jpg"
    assert saved.path.read_bytes() == b"picture"
    for name in ("Cells", ".jpg", "Cells.", "Cells.j/pg"):
        with pytest.raises(Hopeless, match="with an extension"):
            await context.save_file(name, b"picture")


@pytest.mark.anyio
@pytest.mark.parametrize("value", [{1, 2}, float("nan"), object()])
async def test_what_is_not_json_is_refused(fetcher: Fetcher, tmp_path: Path, value: Any) -> None:
    with pytest.raises(Hopeless, match="not JSON"):
        await a_context(an_event(), None, fetcher, tmp_path).save_json("x", value)
    assert not (tmp_path / "videos").exists()


@pytest.mark.anyio
async def test_a_context_has_a_client(files: FileServer, fetcher: Fetcher, tmp_path: Path) -> None:
    files.give("/hook", b"ok")
    answer = await a_context(an_event(), None, fetcher, tmp_path).http.get(f"{files.base}/hook")
    assert (answer.status, answer.content) == (200, b"ok")
