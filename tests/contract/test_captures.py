"""From a store to a file and back, in any store: the same bytes every time, whatever happens to the file."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from receiver.capture.taking import Taken
from receiver.capture.videos import count_left_behind
from receiver.errors import BadCapture, CommandFailed
from receiver.retention import prune
from receiver.store.base import Store
from receiver.store.values import EventFilter, Keep
from tests.contract.sides import Side, fill, inline
from tests.contract.stand import AGES_AGO


@pytest.fixture
async def here(store: Store, tmp_path: Path) -> Side:
    """The store under test."""
    return Side(store, tmp_path / "here")


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
async def test_what_was_imported_is_exported_to_the_same_bytes(
    here: Side, there: Side, tmp_path: Path, name: str
) -> None:
    await fill(here)
    first, second = tmp_path / name, tmp_path / f"second-{name}"

    manifest = (await here.exported(first)).manifest
    taken = await there.imported(first)
    await there.exported(second)

    assert (manifest.events, manifest.deliveries, manifest.bodies) == (3, 7, 1)
    assert taken == Taken(events=3, deliveries=7)
    assert first.read_bytes() == second.read_bytes()
    assert (await there.imported(first)) == Taken(known=7)
    assert (await here.imported(second)) == Taken(known=7)


@pytest.mark.anyio
async def test_an_imported_event_is_what_it_was_and_has_no_jobs(
    here: Side, there: Side, tmp_path: Path
) -> None:
    await fill(here)
    await here.exported(tmp_path / "a.tar")
    await there.imported(tmp_path / "a.tar")

    for video in ("v1", "v2", "v3"):
        was, is_ = await here.event(video), await there.event(video)
        for row in (was, is_):
            for name in ("jobs", "seq", "payload", "strings", "copied_at"):
                del row[name]
            for delivery in row["deliveries"]:
                del delivery["seq"]
        assert is_ == was
    assert (await there.store.figures())["jobs"] == {}
    assert there.bodies.path(hashlib.sha256(inline(100_000)).hexdigest()).read_bytes() == inline(100_000)


@pytest.mark.anyio
async def test_a_filter_takes_whole_events_with_all_of_their_deliveries(
    here: Side, there: Side, tmp_path: Path
) -> None:
    await fill(here)
    await here.exported(tmp_path / "a.tar", wanted=EventFilter(video="v1"))

    assert await there.imported(tmp_path / "a.tar") == Taken(events=1, deliveries=4)
    assert (await there.event("v1"))["duplicates"] == 3


@pytest.mark.anyio
async def test_a_later_capture_brings_what_has_come_since(here: Side, there: Side, tmp_path: Path) -> None:
    await fill(here)
    await here.exported(tmp_path / "a.tar")
    await there.imported(tmp_path / "a.tar")
    await here.receive("v1", b'{"status": "completed", "a": 2}', received_at=AGES_AGO + 60)
    await here.receive("v4", b"{}")
    await here.exported(tmp_path / "b.tar")

    assert await there.imported(tmp_path / "b.tar") == Taken(events=1, deliveries=2, known=7)


@pytest.mark.anyio
async def test_the_same_events_make_the_same_bytes(here: Side, tmp_path: Path) -> None:
    await fill(here)
    for name in ("a.tar.gz", "b.tar.gz"):
        await here.exported(tmp_path / name)
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()


@pytest.mark.anyio
async def test_standard_tools_open_it(here: Side, tmp_path: Path) -> None:
    await fill(here)
    await here.exported(tmp_path / "a.tar.gz")
    folder = tmp_path / "unpacked"
    folder.mkdir()

    def said(*command: str) -> str:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        assert ended.stderr == ""
        return ended.stdout

    names = said("tar", "-tzf", "../a.tar.gz").splitlines()
    said("tar", "-xzf", "../a.tar.gz")

    digest = hashlib.sha256(inline(100_000)).hexdigest()
    assert names == ["capture.json", "deliveries.jsonl", f"bodies/{digest}", "SHA256SUMS"]
    assert said("sha256sum", "-c", "SHA256SUMS").count(": OK\n") == 3
    assert (folder / "bodies" / digest).read_bytes() == inline(100_000)
    if shutil.which("jq"):
        assert said("jq", "-r", "select(.news) | .news.video_id", "deliveries.jsonl").split() == [
            "v1",
            "v2",
            "v3",
        ]
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        assert {(info.mtime, info.uid, info.uname, info.mode) for info in archive} == {(0, 0, "", 0o600)}
    assert oct((tmp_path / "a.tar.gz").stat().st_mode)[-3:] == "600"


@pytest.mark.anyio
async def test_what_retention_took_is_left_out_and_counted(here: Side, there: Side, tmp_path: Path) -> None:
    await here.receive("v2", inline(100_000), received_at=AGES_AGO)
    await here.receive("v2", inline(100_000), received_at=AGES_AGO + 1)
    await here.receive("v1", b"{}", received_at=AGES_AGO)
    await prune(here.store, here.bodies, Keep(0, 0, AGES_AGO + 10))

    exported = await here.exported(tmp_path / "a.tar")

    assert (exported.left, exported.manifest.events, exported.manifest.deliveries) == (2, 1, 1)
    assert await there.imported(tmp_path / "a.tar") == Taken(events=1, deliveries=1)


@pytest.mark.anyio
async def test_a_damaged_body_is_not_exported(here: Side, tmp_path: Path) -> None:
    await here.receive("v2", inline(100_000))
    (path,) = here.bodies.directory.glob("??/*")
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)

    with pytest.raises(CommandFailed, match="changed while it was being written"):
        await here.exported(tmp_path / "a.tar")


# What can happen to a file.


async def whole(side: Side, path: Path) -> bytes:
    await fill(side)
    await side.receive("v5", inline(70_000), received_at=AGES_AGO + 5)
    await side.exported(path)
    return await asyncio.to_thread(path.read_bytes)


@pytest.mark.anyio
async def test_a_file_that_is_cut_short_anywhere_is_named_as_unfinished_and_changes_nothing(
    here: Side, there: Side, tmp_path: Path
) -> None:
    path = tmp_path / "a.tar"
    content = await whole(here, path)
    sums = content.rindex(b"SHA256SUMS\0")
    for size in (0, 100, 700, 1024, 3000, 5000, 100_000, sums - 5000, sums, sums + 600):
        path.write_bytes(content[:size])
        with pytest.raises(BadCapture, match=r"a\.tar: it is (unfinished|no capture)"):
            await there.imported(path)
    assert await there.store.events(EventFilter(), limit=9, before=None) == []


@pytest.mark.anyio
async def test_of_a_file_that_is_cut_short_what_is_whole_can_be_used(
    here: Side, there: Side, tmp_path: Path
) -> None:
    path = tmp_path / "a.tar"
    content = await whole(here, path)
    last_body = content.rindex(b"bodies/", 0, content.rindex(b"SHA256SUMS"))
    path.write_bytes(content[: last_body + 20_000])

    taken = await there.imported(path, is_partial=True)

    assert taken.events == 3
    assert any("is not there, or not whole" in problem for problem in taken.left)
    assert len(await there.store.all_bodies()) == 1


@pytest.mark.anyio
async def test_of_a_list_that_is_cut_short_the_whole_lines_are_used(
    here: Side, there: Side, tmp_path: Path
) -> None:
    path = tmp_path / "a.tar"
    content = await whole(here, path)
    second_line = content.index(b"\n", content.index(b'{"event":"evt_')) + 10
    path.write_bytes(content[:second_line])

    taken = await there.imported(path, is_partial=True)

    assert (taken.events, taken.deliveries) == (1, 1)


@pytest.mark.anyio
async def test_a_flipped_bit_is_found_wherever_it_is(here: Side, there: Side, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    content = await whole(here, path)
    with tarfile.open(path) as archive:
        places = {info.name: info.offset_data for info in archive}
    for name, offset in places.items():
        damaged = bytearray(content)
        damaged[offset + 40] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(BadCapture, match=r"a\.tar: "):
            await there.imported(path)
        if name.startswith("bodies/"):
            taken = await there.imported(path, is_partial=True)
            assert any(name in problem for problem in taken.left), taken.left
    assert len(await there.store.all_bodies()) == 2, "each of both was whole in one of the files"


@pytest.mark.anyio
async def test_a_compressed_file_that_is_damaged_gives_what_comes_before(
    here: Side, there: Side, tmp_path: Path
) -> None:
    await whole(here, tmp_path / "a.tar")
    content = bytearray(gzip.compress((tmp_path / "a.tar").read_bytes(), mtime=0))
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content[: len(content) * 3 // 4])

    with pytest.raises(BadCapture, match="unfinished"):
        await there.imported(path)
    assert (await there.imported(path, is_partial=True)).events >= 1


@pytest.mark.anyio
async def test_videos_that_are_left_behind_are_counted(here: Side, tmp_path: Path) -> None:
    link = b'{"status": "completed", "response": {"s3_url": "https://example.com/v.mp4"}}'
    await here.receive("v1", link)
    await here.receive("v1", link)
    await here.receive("v2", inline(1000))
    await here.receive("v3", link.replace(b"completed", b"failed"), what="failed", type="video.failed")
    seqs = await here.store.replays.select(EventFilter(), limit=9)

    assert await count_left_behind(here.store, seqs, configured={}) == 1
