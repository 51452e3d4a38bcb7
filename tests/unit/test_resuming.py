"""A download that broke off is gone on with by the next attempt, and two files never become one."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from receiver.context import Context, Saved
from receiver.errors import Hopeless, Unfinished
from receiver.fetch import Fetcher
from receiver.partials import KEPT_SECONDS, LEAST_KEPT_BYTES
from receiver.saving import Progress
from receiver.sources.base import LinkedVideo
from tests.file_server import FileServer, Hosted, serving_files
from tests.unit.test_context import MP4, Lines, a_context, an_event, leftovers, visible

VIDEO = MP4 + os.urandom(3_000_000)
OTHER = MP4 + os.urandom(3_000_000)
BROKEN_AT = 2_000_000


class Stand:
    """A file host, and attempts to save what it hosts."""

    def __init__(self, folder: Path, files: FileServer, fetcher: Fetcher) -> None:
        self.folder = folder
        self.files = files
        self.fetcher = fetcher

    def attempt(self, number: int = 1, *, event: str = "evt_aaaaaaaa11111111") -> Context:
        place = LinkedVideo(f"{self.files.base}/v.mp4?sig=secret", self.files.base)
        context = a_context(an_event(event), place, self.fetcher, self.folder)
        context.attempt = number
        return context

    async def broken(self, **more: Any) -> Hosted:
        """Host the video, let an attempt break off in its middle, and mend the host."""
        hosted = self.files.host("/v.mp4", VIDEO, **more)
        hosted.breaks_at = BROKEN_AT
        with pytest.raises(Unfinished):
            await self.attempt().save_video()
        assert visible(self.folder) == []
        hosted.breaks_at = None
        return hosted

    @property
    def parts(self) -> Path:
        return self.folder / "videos" / ".receiver" / "partial"

    def kept(self) -> Path:
        """The only file that was kept."""
        (part,) = self.parts.glob("*.part")
        return part


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    fetcher = Fetcher(max_bytes=10**9)
    async with serving_files() as files:
        yield Stand(tmp_path, files, fetcher)
    await fetcher.aclose()


def whole(saved: Saved, content: bytes) -> bool:
    """Whether a file has this content, and says the right things of itself."""
    from hashlib import sha256

    said = (saved.bytes, saved.sha256) == (len(content), sha256(content).hexdigest())
    return said and saved.path.read_bytes() == content


@pytest.mark.anyio
async def test_the_next_attempt_fetches_only_what_is_missing(stand: Stand) -> None:
    hosted = await stand.broken()
    hosted.asked.clear()
    hosted.sent = 0
    context = stand.attempt(2)
    assert whole(await context.save_video(), VIDEO)
    assert hosted.asked == [BROKEN_AT - 1]
    assert hosted.sent == len(VIDEO) - BROKEN_AT + 1
    assert context.log.lines[0] == ("video.resumed", {"bytes": BROKEN_AT - 1})
    assert leftovers(stand.folder) == []


@pytest.mark.anyio
async def test_a_file_that_only_lacks_its_name_is_not_fetched_again(stand: Stand) -> None:
    hosted = await stand.broken()
    with stand.kept().open("ab") as part:
        part.write(VIDEO[BROKEN_AT:])
    hosted.sent = 0
    assert whole(await stand.attempt(2).save_video(), VIDEO)
    assert hosted.sent == 1


@pytest.mark.anyio
async def test_an_attempt_that_is_cancelled_leaves_its_part_to_the_next(stand: Stand) -> None:
    is_half_there = asyncio.Event()

    async def stalling(request: str, writer: asyncio.StreamWriter) -> None:
        hosted.breaks_at = BROKEN_AT
        await hosted(request, writer)
        await writer.drain()
        is_half_there.set()
        await asyncio.sleep(60)

    hosted = stand.files.host("/v.mp4", VIDEO)
    stand.files.answers["/v.mp4"] = stalling
    saving = asyncio.create_task(stand.attempt().save_video())
    await is_half_there.wait()
    deadline = time.monotonic() + 10
    while not stand.parts.is_dir() or stand.kept().stat().st_size < LEAST_KEPT_BYTES:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
    saving.cancel()
    with suppress(asyncio.CancelledError):
        await saving
    hosted.breaks_at = None
    stand.files.answers["/v.mp4"] = hosted
    assert whole(await stand.attempt(2).save_video(), VIDEO)
    assert hosted.asked[1] >= LEAST_KEPT_BYTES - 1


@pytest.mark.anyio
@pytest.mark.fault("S11")
async def test_content_that_was_swapped_between_attempts_is_fetched_from_its_start(stand: Stand) -> None:
    hosted = await stand.broken()
    hosted.content, hosted.etag = OTHER, '"v2"'
    assert whole(await stand.attempt(2).save_video(), OTHER)
    assert f"Range: bytes={BROKEN_AT - 1}-\r\n" in stand.files.requests[-1], "the fault fired"


@pytest.mark.anyio
@pytest.mark.fault("S11")
@pytest.mark.parametrize(
    "answer",
    [
        '206 Partial Content\r\nETag: "v2"\r\nContent-Range: bytes {at}-{last}/{whole}',
        "206 Partial Content\r\nContent-Range: bytes {at}-{last}/{whole}",
        '206 Partial Content\r\nETag: "v1"\r\nContent-Range: bytes 5-{last}/{whole}',
        '206 Partial Content\r\nETag: "v1"',
        "416 Range Not Satisfiable\r\nContent-Range: bytes */9",
    ],
    ids=["other file", "no etag", "other part", "no part", "shorter file"],
)
async def test_a_rest_that_does_not_fit_is_not_used(stand: Stand, answer: str) -> None:
    hosted = await stand.broken()
    hosted.content, hosted.etag = OTHER, '"v2"'
    odd = answer.format(at=BROKEN_AT - 1, last=len(OTHER) - 1, whole=len(OTHER))

    async def lying(request: str, writer: asyncio.StreamWriter) -> None:
        if "Range: " not in request:
            await hosted(request, writer)
            return
        rest = OTHER[BROKEN_AT - 1 :]
        writer.write(f"HTTP/1.1 {odd}\r\nContent-Length: {len(rest)}\r\n\r\n".encode() + rest)

    stand.files.answers["/v.mp4"] = lying
    assert whole(await stand.attempt(2).save_video(), OTHER)
    assert "Range: bytes=" in stand.files.requests[-2], "the fault fired"


@pytest.mark.anyio
@pytest.mark.fault("S8", "S11")
@pytest.mark.parametrize("surplus", [-100_000, 100_000])
async def test_a_rest_of_another_length_than_the_file_has_is_not_the_end(stand: Stand, surplus: int) -> None:
    hosted = await stand.broken()

    async def lying(request: str, writer: asyncio.StreamWriter) -> None:
        span = f"Content-Range: bytes {BROKEN_AT - 1}-{len(VIDEO) - 1}/{len(VIDEO)}"
        rest = (VIDEO[BROKEN_AT - 1 :] + bytes(max(0, surplus)))[: surplus if surplus < 0 else None]
        head = f"HTTP/1.1 206 P\r\n{span}\r\nETag: {hosted.etag}\r\nContent-Length: {len(rest)}\r\n\r\n"
        writer.write(head.encode() + rest)
        stand.files.answers["/v.mp4"] = hosted

    stand.files.answers["/v.mp4"] = lying
    try:
        saved = await stand.attempt(2).save_video()
    except Unfinished:
        saved = await stand.attempt(3).save_video()
    assert whole(saved, VIDEO)
    assert stand.files.answers["/v.mp4"] is hosted, "the fault fired"


@pytest.mark.anyio
@pytest.mark.parametrize("etag", ['W/"v1"', "", "unquoted"])
async def test_without_a_strong_etag_nothing_is_kept(stand: Stand, etag: str) -> None:
    hosted = await stand.broken(etag=etag)
    assert leftovers(stand.folder) == []
    assert whole(await stand.attempt(2).save_video(), VIDEO)
    assert hosted.asked[-1] == 0


@pytest.mark.anyio
async def test_the_last_attempt_leaves_nothing(stand: Stand) -> None:
    hosted = await stand.broken()
    hosted.breaks_at = BROKEN_AT + 100
    with pytest.raises(Unfinished):
        await stand.attempt(20).save_video()
    assert hosted.asked[-1] == BROKEN_AT + 100, "it was gone on with"
    assert leftovers(stand.folder) == []


@pytest.mark.anyio
@pytest.mark.fault("S10")
async def test_a_link_that_works_once_is_given_up_with_its_reason_and_leaves_nothing(stand: Stand) -> None:
    await stand.broken()
    stand.files.give("/v.mp4", b"<Error><Code>AccessDenied</Code></Error>", status="403 Forbidden")
    with pytest.raises(Hopeless, match=r"^403 Forbidden: an expired or forbidden link$"):
        await stand.attempt(2).save_video()
    assert leftovers(stand.folder) == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b'{"etag": 5}', b'{"etag": "\\"v1\\"", "boot": "a former one"}']
)
async def test_a_part_that_a_power_cut_may_have_torn_is_not_gone_on_with(stand: Stand, note: bytes) -> None:
    hosted = await stand.broken()
    (said,) = stand.parts.glob("*.note")
    assert json.loads(said.read_text()).keys() == {"etag", "boot"}
    said.write_bytes(note)
    assert whole(await stand.attempt(2).save_video(), VIDEO)
    assert hosted.asked[-1] == 0


@pytest.mark.anyio
async def test_another_event_or_another_link_does_not_go_on_with_it(stand: Stand) -> None:
    hosted = await stand.broken()
    assert whole(await stand.attempt(event="evt_bbbbbbbb22222222").save_video(), VIDEO)
    assert hosted.asked[-1] == 0
    assert stand.kept().stat().st_size == BROKEN_AT


@pytest.mark.anyio
async def test_two_attempts_at_once_have_a_file_each(stand: Stand) -> None:
    await stand.broken()
    one, two = await asyncio.gather(stand.attempt(2).save_video(), stand.attempt(2).save_video())
    assert one.path == two.path
    assert whole(one, VIDEO)
    assert leftovers(stand.folder) == []


@pytest.mark.anyio
@pytest.mark.fault("F2")
@pytest.mark.parametrize("kind", ["link", "second name", "pipe", "folder"])
@pytest.mark.parametrize("suffix", ["part", "note"])
async def test_what_is_planted_where_a_part_should_be_is_not_written_to(
    stand: Stand, kind: str, suffix: str
) -> None:
    await stand.broken()
    place = stand.kept().with_suffix(f".{suffix}")
    victim = stand.folder / "victim"
    victim.write_bytes(VIDEO[:BROKEN_AT])
    place.unlink()
    if kind == "link":
        place.symlink_to(victim)
    elif kind == "second name":
        place.hardlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    assert whole(await stand.attempt(2).save_video(), VIDEO)
    assert victim.read_bytes() == VIDEO[:BROKEN_AT]


@pytest.mark.anyio
async def test_parts_of_jobs_that_never_came_back_are_swept_after_two_days(stand: Stand) -> None:
    await stand.broken()
    kept = stand.kept()
    young = time.time() - KEPT_SECONDS + 600
    os.utime(kept, (young, young))
    stand.files.give("/v.mp4", MP4)
    await stand.attempt(event="evt_bbbbbbbb22222222").save_video()
    assert stand.kept() == kept
    old = time.time() - KEPT_SECONDS - 600
    os.utime(kept, (old, old))
    (stand.parts / "orphan.note").write_text("{}")
    await stand.attempt(event="evt_cccccccc33333333").save_video()
    assert leftovers(stand.folder) == []


def test_a_long_video_is_told_of_every_ten_seconds() -> None:
    now, log = [0.0], Lines()
    progress = Progress(log, clock=lambda: now[0])
    for now[0] in (1, 9.9, 10, 15, 19.9, 21):
        progress.reached(int(now[0] * 100), 3000)
    now[0] = 40
    progress.reached(4000, None)
    assert log.lines == [
        ("video.progressed", {"bytes": 1000, "of": 3000, "percent": 33}),
        ("video.progressed", {"bytes": 2100, "of": 3000, "percent": 70}),
        ("video.progressed", {"bytes": 4000}),
    ]
