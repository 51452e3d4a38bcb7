"""Captures that were packed again, changed or made by hand: all that can be understood is taken."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from receiver.capture.taking import Taken
from receiver.errors import BadCapture
from receiver.store.values import EventFilter
from tests.contract.sides import NO_LINES, Side, fill, forged, inline, manifest
from tests.contract.stand import AGES_AGO


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
async def test_one_that_was_unpacked_and_packed_again_by_another_program_is_taken(
    here: Side, there: Side, tmp_path: Path, kind: int
) -> None:
    await fill(here)
    await here.exported(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # which Python has since 3.11.4
        archive.extractall(tmp_path / "a")  # noqa: S202 - our own
    again = tmp_path / "again.tar"
    with tarfile.open(again, "w", format=kind) as archive:
        for name in (".", "capture.json", "bodies", "deliveries.jsonl", "SHA256SUMS"):
            archive.add(tmp_path / "a" / name, f"./{name}", recursive=name == "bodies")

    assert await there.imported(again) == Taken(events=3, deliveries=7)


@pytest.mark.anyio
async def test_one_that_is_compressed_in_several_parts_is_taken(
    here: Side, there: Side, tmp_path: Path
) -> None:
    await fill(here)
    await here.exported(tmp_path / "a.tar")
    content = (tmp_path / "a.tar").read_bytes()
    parts = [gzip.compress(content[at : at + 5000]) for at in range(0, len(content), 5000)]
    (tmp_path / "a.tar.gz").write_bytes(b"".join(parts) + bytes(512))

    assert await there.imported(tmp_path / "a.tar.gz") == Taken(events=3, deliveries=7)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
async def test_one_that_comes_through_a_pipe_is_taken(
    here: Side, there: Side, tmp_path: Path, name: str
) -> None:
    await fill(here)
    await here.exported(tmp_path / name)
    reading, writing = os.pipe()
    cat = await asyncio.create_subprocess_exec("cat", tmp_path / name, stdout=writing)
    os.close(writing)
    try:
        taken = await there.imported(Path(f"/dev/fd/{reading}"))
    finally:
        os.close(reading)

    assert (taken, await cat.wait()) == (Taken(events=3, deliveries=7), 0)


async def shuffled(side: Side, path: Path, order: Callable[[list[bytes]], list[bytes]]) -> None:
    """An export whose lines stand in another order, and with what they say of themselves made right."""
    await side.exported(path)
    with tarfile.open(path) as archive:
        members = [(info.name, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]
    lines = order(members[1][1].splitlines())
    counts = {"deliveries": len(lines), "events": sum(b'"news"' in line for line in lines)}
    changed = orjson.dumps(orjson.loads(members[0][1]) | counts)
    forged(path, [("capture.json", changed), ("deliveries.jsonl", b"\n".join(lines)), *members[2:-1]])


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(4))
async def test_deliveries_in_any_order_are_all_taken(
    here: Side, there: Side, tmp_path: Path, seed: int
) -> None:
    await fill(here)
    for _ in range(2):
        await here.receive("v3", b"{}", what="progress", type="video.progress", received_at=AGES_AGO + 9)
    path = tmp_path / "a.tar"
    await shuffled(here, path, lambda lines: random.Random(seed).sample(lines, len(lines)))

    assert await there.imported(path) == Taken(events=3, deliveries=9)
    assert await there.imported(path) == Taken(known=9)


@pytest.mark.anyio
async def test_a_delivery_without_its_event_is_not_said_to_be_there(
    here: Side, there: Side, tmp_path: Path
) -> None:
    await fill(here)
    path = tmp_path / "a.tar"
    await shuffled(here, path, lambda lines: [line for line in lines if b'"v1"' not in line])

    with pytest.raises(BadCapture, match="line 1: the delivery that became the event is not in the capture"):
        await there.imported(path)
    assert await there.store.events(EventFilter(), limit=9, before=None) == []
    taken = await there.imported(path, is_partial=True)

    assert (taken.events, taken.deliveries, taken.known) == (2, 3, 0)
    assert taken.left == ("3 deliveries are left out: what they repeat is neither in it nor here",)
    assert (await here.imported(path, is_partial=True)) == Taken(known=6), "where the event is, all is known"


@pytest.mark.anyio
async def test_a_body_that_no_receiver_would_have_taken_is_named_and_changes_nothing(
    here: Side, there: Side, tmp_path: Path
) -> None:
    await here.receive("v1", b"{}")
    await here.receive("v2", b"{")
    await here.receive("v3", b"[" + b"1," * 50_000 + b"1]")
    path = tmp_path / "a.tar"
    await here.exported(path)

    with pytest.raises(BadCapture, match=r"line 2: body: .*\n.*line 3: body: "):
        await there.imported(path)
    assert await there.store.events(EventFilter(), limit=9, before=None) == []
    taken = await there.imported(path, is_partial=True)

    assert (taken.events, len(taken.left)) == (1, 2)


@pytest.mark.anyio
async def test_a_small_body_may_lie_beside_and_a_large_one_in_its_line(
    here: Side, there: Side, tmp_path: Path
) -> None:
    await here.receive("v1", b'{"a": 1}')
    await here.receive("v2", inline(100_000))
    path = tmp_path / "a.tar"

    def swapped(lines: list[bytes]) -> list[bytes]:
        small, large = orjson.loads(lines[0]), orjson.loads(lines[1])
        small.pop("body")
        return [orjson.dumps(small), orjson.dumps(large | {"body": inline(100_000).decode()})]

    await shuffled(here, path, swapped)
    with tarfile.open(path) as archive:
        lines = archive.extractfile("deliveries.jsonl").read()  # type: ignore[union-attr]
    digest = hashlib.sha256(b'{"a": 1}').hexdigest()
    counts = manifest(events=2, deliveries=2, bodies=1, bytes=len(lines) + 8)
    forged(path, [counts, ("deliveries.jsonl", lines), (f"bodies/{digest}", b'{"a": 1}')])

    assert await there.imported(path) == Taken(events=2, deliveries=2)
    await there.exported(tmp_path / "b.tar")
    await here.exported(tmp_path / "c.tar")
    assert (tmp_path / "b.tar").read_bytes() == (tmp_path / "c.tar").read_bytes()


@pytest.mark.anyio
async def test_another_version_of_the_format_is_named(there: Side, tmp_path: Path) -> None:
    name, text = manifest()
    path = forged(tmp_path / "a.tar", [(name, text.replace(b"capture/1", b"capture/2")), NO_LINES])
    with pytest.raises(BadCapture, match="it has the format receiver-capture/2, and this version of"):
        await there.imported(path)


@pytest.mark.anyio
async def test_what_a_later_version_adds_is_passed_over(there: Side, tmp_path: Path) -> None:
    name, text = manifest()
    path = forged(tmp_path / "a.tar", [(name, orjson.dumps(orjson.loads(text) | {"made_by": "x"})), NO_LINES])
    assert await there.imported(path) == Taken()


@pytest.mark.anyio
async def test_an_event_whose_video_is_cut_short_is_taken_without_it(
    here: Side, there: Side, tmp_path: Path
) -> None:
    news = await here.receive("v1", b'{"a": 1}')
    path = tmp_path / "a.tar"
    video = os.urandom(20_000)
    kept = {"sha256": hashlib.sha256(video).hexdigest(), "bytes": len(video)}
    await shuffled(here, path, lambda lines: [orjson.dumps(orjson.loads(lines[0]) | {"video": kept})])
    with tarfile.open(path) as archive:
        lines = archive.extractfile("deliveries.jsonl").read()  # type: ignore[union-attr]
    counts = manifest(events=1, deliveries=1, videos=1, bytes=100_000)
    forged(path, [counts, ("deliveries.jsonl", lines), (f"videos/{news.event_id}", video)])
    path.write_bytes(path.read_bytes()[:10_000])

    taken = await there.imported(path, is_partial=True)

    assert (taken.events, taken.deliveries) == (1, 1)
    assert taken.left == (f"deliveries.jsonl line 1: videos/{news.event_id} is not there, or not whole",)
