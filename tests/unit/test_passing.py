"""Bodies that are looked at and not kept: gone afterwards, however that ended, unless they are kept."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from receiver.bodies import PASSING, Bodies, SweepReport
from receiver.passing import keep, passing

pytestmark = pytest.mark.anyio
CONTENT = b"an answer"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
YESTERDAY = time.time() - 86400


def put(bodies: Bodies) -> None:
    spool = bodies.spool()
    spool.write(CONTENT)
    spool.keep(DIGEST)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_nothing_is_made_for_answers_that_need_no_file(tmp_path: Path) -> None:
    async with passing(Bodies(tmp_path / "bodies")):
        pass

    assert files(tmp_path) == []
    assert not (tmp_path / "bodies").exists()


@pytest.mark.parametrize("raises", [False, True])
async def test_a_body_is_gone_afterwards(tmp_path: Path, raises: bool) -> None:
    bodies = Bodies(tmp_path, reserve=7)
    with pytest.raises(ValueError, match="odd") if raises else pytest.MonkeyPatch.context():
        async with passing(bodies) as own:
            put(own)
            assert own.path(DIGEST).read_bytes() == CONTENT
            assert own.room.reserve == 7
            assert bodies.missing([DIGEST]) == [DIGEST]
            if raises:
                raise ValueError("odd")

    assert files(tmp_path) == []
    assert not any((tmp_path / PASSING).glob("*"))


async def test_a_body_may_be_kept_after_all(tmp_path: Path) -> None:
    bodies = Bodies(tmp_path)
    async with passing(bodies) as own:
        put(own)
        await keep(DIGEST, source=own, target=bodies)

    assert files(tmp_path) == [bodies.path(DIGEST)]
    assert bodies.path(DIGEST).read_bytes() == CONTENT


async def test_a_body_that_is_there_already_is_kept_once(tmp_path: Path) -> None:
    bodies = Bodies(tmp_path)
    put(bodies)
    async with passing(bodies) as own:
        put(own)
        await keep(DIGEST, source=own, target=bodies)

    assert files(tmp_path) == [bodies.path(DIGEST)]


@pytest.mark.fault("C6")
async def test_what_a_crash_left_is_swept_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    bodies = Bodies(tmp_path)
    left = Bodies(tmp_path / PASSING / "left")
    put(left)
    os.utime(left.directory, (YESTERDAY, YESTERDAY))

    async def known(shas: Sequence[str]) -> Sequence[str]:
        return shas

    async with passing(bodies) as own:
        put(own)
        report = await bodies.sweep(known=known, before=time.time() - 3600)
        assert own.path(DIGEST).exists()

    assert report == SweepReport(temporary=1, freed=len(CONTENT))
    assert not left.directory.exists()
