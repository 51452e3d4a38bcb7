"""Videos behind a content endpoint: their variants, the key that they take, and links that have expired."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.context import Context
from receiver.errors import Hopeless, Unfinished
from receiver.event import Event, StoredBody
from receiver.fetch import Fetcher
from receiver.model import Video
from receiver.sources.base import LinkedVideo, NoVideo, VideoPlace
from receiver.testing.canned import CannedFetcher
from tests.file_server import FileServer, serving_files

pytestmark = pytest.mark.anyio
MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(3000)
WEBP = b"RIFF\x10\x00\x00\x00WEBPVP8 " + bytes(500)
JPEG = b"\xff\xd8\xff\xe0" + bytes(500)
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
KEY = {"Authorization": "Bearer sk-canary"}


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


def a_context(
    folder: Path,
    fetcher: Fetcher,
    place: VideoPlace | None,
    *,
    variants: dict[str, VideoPlace] | None = None,
    expires_at: datetime | None = None,
    log: Lines | None = None,
) -> Context:
    event = Event(
        id="evt_aaaaaaaa11111111",
        source="openai",
        type="video.completed",
        key="video_1:completed",
        received_at=NOW,
        warnings=(),
        video=Video(id="video_1", title="Cells", expires_at=expires_at),
        payload={},
        body=StoredBody(raw=b"{}"),
    )
    return Context(
        event=event,
        place=place,
        variants=variants or {},
        fetcher=fetcher,
        folder=folder,
        log=log or Lines(),
        attempt=1,
        attempts=20,
        idempotency_key="key",
        replay=None,
        settings=None,
        results={},
        deadline=NOW + timedelta(minutes=1),
        now=lambda: NOW,
    )


def contents_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_each_variant_is_saved_under_a_name_and_an_extension_of_its_own(
    tmp_path: Path, files: FileServer, fetcher: Fetcher
) -> None:
    contents = {"video": MP4, "thumbnail": WEBP, "spritesheet": JPEG}
    places: dict[str, VideoPlace] = {}
    for variant, content in contents.items():
        files.give(f"/{variant}", content)
        places[variant] = LinkedVideo(f"{files.base}/{variant}", files.base, KEY)
    context = a_context(tmp_path, fetcher, places.pop("video"), variants=places)

    assert context.variants == ("video", "thumbnail", "spritesheet")
    saved = {variant: await context.save_video(variant=variant) for variant in context.variants}

    assert {variant: file.path.name for variant, file in saved.items()} == {
        "video": "Cells-video_1.mp4",
        "thumbnail": "Cells-video_1-thumbnail.webp",
        "spritesheet": "Cells-video_1-spritesheet.jpg",
    }
    assert {variant: file.path.read_bytes() for variant, file in saved.items()} == contents


async def test_a_variant_can_be_read_without_being_saved(
    tmp_path: Path, files: FileServer, fetcher: Fetcher
) -> None:
    files.give("/thumbnail", WEBP)
    thumbnail = LinkedVideo(f"{files.base}/thumbnail", files.base)
    context = a_context(tmp_path, fetcher, None, variants={"thumbnail": thumbnail})

    assert context.variants == ("thumbnail",)
    async with context.open_video(variant="thumbnail") as stream:
        assert b"".join([chunk async for chunk in stream]) == WEBP


@pytest.mark.parametrize(("variant", "content"), [("video", JPEG), ("thumbnail", MP4), ("thumbnail", b"{}")])
async def test_a_picture_is_no_video_and_a_video_no_picture(
    tmp_path: Path, files: FileServer, fetcher: Fetcher, variant: str, content: bytes
) -> None:
    files.give("/it", content)
    place = LinkedVideo(f"{files.base}/it", files.base)
    context = a_context(tmp_path, fetcher, place, variants={"thumbnail": place})
    expected = "video" if variant == "video" else "picture"

    with pytest.raises(Hopeless, match=f"what arrived is not a {expected}"):
        await context.save_video(variant=variant)


async def test_a_variant_that_there_is_none_of_is_named(tmp_path: Path, fetcher: Fetcher) -> None:
    with pytest.raises(Hopeless, match="there is no spritesheet of this video to be had"):
        await a_context(tmp_path, fetcher, None).save_video(variant="spritesheet")
    with pytest.raises(Hopeless, match="the event names no video"):
        await a_context(tmp_path, fetcher, None).save_video()
    with pytest.raises(Hopeless, match="the source is gone"):
        await a_context(tmp_path, fetcher, NoVideo("the source is gone")).save_video()


@pytest.mark.fault("O1")
async def test_the_key_goes_to_the_endpoint_and_nowhere_else(
    tmp_path: Path, files: FileServer, fetcher: Fetcher
) -> None:
    files.give("/v", MP4)
    log = Lines()
    context = a_context(tmp_path, fetcher, LinkedVideo(f"{files.base}/v", files.base, KEY), log=log)
    await context.save_video()
    files.give("/v", b"", status="500 Internal Server Error")
    with pytest.raises(Unfinished) as caught:
        await context.save_video()

    assert "Authorization: Bearer sk-canary\r\n" in files.requests[0]
    assert "canary" not in repr(log.lines) + repr(caught.value)
    assert contents_of(tmp_path)
    assert b"canary" not in contents_of(tmp_path)


async def test_a_wrong_key_is_tried_again_and_told(
    tmp_path: Path, files: FileServer, fetcher: Fetcher
) -> None:
    files.give("/v", b"", status="401 Unauthorized")
    with pytest.raises(Unfinished, match="401 Unauthorized: the api_key of the source is wrong"):
        await a_context(tmp_path, fetcher, LinkedVideo(f"{files.base}/v", files.base, KEY)).save_video()
    with pytest.raises(Hopeless, match=r"401 Unauthorized$"):
        await a_context(tmp_path, fetcher, LinkedVideo(f"{files.base}/v", files.base)).save_video()


EXPIRED = "link_expired: {}, the link has expired; if the provider still has the video, ask it for a new link"


@pytest.mark.fault("S10")
@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone", "403 Forbidden", "400 Bad Request"])
@pytest.mark.parametrize(("seconds", "is_late"), [(-1, True), (0, True), (1, False)])
async def test_a_refused_link_after_its_time_has_expired(
    tmp_path: Path, files: FileServer, fetcher: Fetcher, status: str, seconds: int, is_late: bool
) -> None:
    files.give("/v", b"", status=status)
    place = LinkedVideo(f"{files.base}/v", files.base)
    context = a_context(tmp_path, fetcher, place, expires_at=NOW + timedelta(seconds=seconds))

    with pytest.raises(Hopeless) as caught:
        await context.save_video()

    said = str(caught.value)
    assert said.startswith(EXPIRED.format(status)) if is_late else "link_expired" not in said


@pytest.mark.fault("S10")
async def test_a_host_that_says_so_is_believed_before_that_time(
    tmp_path: Path, files: FileServer, fetcher: Fetcher
) -> None:
    files.give("/v", b'{"error":{"code":"video_expired","message":"canary"}}', status="404 Not Found")
    context = a_context(tmp_path, fetcher, LinkedVideo(f"{files.base}/v", files.base))

    with pytest.raises(Hopeless) as caught:
        await context.save_video()

    assert str(caught.value).startswith(EXPIRED.format("404 Not Found"))
    assert "canary" not in str(caught.value)


async def test_a_link_that_still_works_after_its_time_is_used(
    tmp_path: Path, files: FileServer, fetcher: Fetcher
) -> None:
    files.give("/v", MP4)
    place = LinkedVideo(f"{files.base}/v", files.base)

    saved = await a_context(tmp_path, fetcher, place, expires_at=NOW - timedelta(days=1)).save_video()

    assert saved.bytes == len(MP4)


class Guarded(CannedFetcher):
    """Answers nobody, and keeps who would have been let into a private network."""

    def __init__(self) -> None:
        super().__init__()
        self.let_in: list[bool] = []

    def exchange(self, *arguments: Any, allow_private: bool = False) -> Any:
        self.let_in.append(allow_private)
        return super().exchange(*arguments, allow_private=allow_private)


@pytest.mark.fault("S1")
@pytest.mark.parametrize("allow_private", [True, False])
async def test_a_gateway_may_stand_in_a_private_network_and_a_link_may_not_lead_there(
    tmp_path: Path, allow_private: bool
) -> None:
    fetcher = Guarded()
    base = "https://gateway.internal.example/v1"
    place = LinkedVideo(f"{base}/videos/v/content", base, KEY, allow_private=allow_private)

    with pytest.raises(Unfinished):
        await a_context(tmp_path, fetcher, place).save_video()

    assert fetcher.let_in == [allow_private]


@pytest.mark.fault("S1")
async def test_a_gateway_may_not_stand_where_clouds_give_their_keys_away(tmp_path: Path) -> None:
    async def metadata(host: str, port: int) -> list[str]:
        return ["169.254.169.254"]

    fetcher = Fetcher(max_bytes=10**6, resolver=metadata)
    base = "https://gateway.internal.example/v1"
    place = LinkedVideo(f"{base}/videos/v/content", base, KEY, allow_private=True)

    with pytest.raises(Hopeless, match="neither a public nor a private one"):
        await a_context(tmp_path, fetcher, place).save_video()
