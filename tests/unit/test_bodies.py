"""Body files appear whole and durable or not at all, and the sweep removes what nobody needs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from receiver.bodies import Bodies, Spool, SweepReport

YESTERDAY = time.time() - 86400


@pytest.fixture
def bodies(tmp_path: Path) -> Bodies:
    return Bodies(tmp_path / "data" / "bodies")


def kept(bodies: Bodies, data: bytes, *, at: float | None = None) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    spool = bodies.spool()
    spool.write(data)
    path = spool.keep(sha256)
    if at is not None:
        os.utime(path, (at, at))
    return sha256


def incoming(bodies: Bodies) -> list[Path]:
    return list((bodies.directory / "incoming").iterdir())


async def nobody(shas: Sequence[str]) -> list[str]:
    return []


def test_a_body_is_kept_under_its_name_and_can_be_read(bodies: Bodies) -> None:
    sha256 = kept(bodies, b"body" * 1000)
    assert bodies.path(sha256) == bodies.directory / sha256[:2] / sha256
    with bodies.open(sha256) as file:
        assert file.read() == b"body" * 1000
    assert incoming(bodies) == []


def test_nobody_else_may_read_it(bodies: Bodies) -> None:
    before = os.umask(0)
    try:
        sha256 = kept(bodies, b"secret")
        bodies.spool().write(b"secret")
    finally:
        os.umask(before)
    for path in (bodies.path(sha256), *incoming(bodies)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(bodies.directory.stat().st_mode) == 0o700


def test_a_discarded_body_leaves_nothing(bodies: Bodies) -> None:
    spool = bodies.spool()
    spool.write(b"half")
    spool.discard()
    spool.discard()
    assert incoming(bodies) == []
    with pytest.raises(ValueError, match="closed"):
        spool.write(b"more")


def test_discarding_a_kept_body_does_nothing(bodies: Bodies) -> None:
    spool = bodies.spool()
    spool.write(b"whole")
    path = spool.keep(hashlib.sha256(b"whole").hexdigest())
    spool.discard()
    assert path.read_bytes() == b"whole"


def test_a_spool_never_opens_a_file_that_is_there(bodies: Bodies, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    link = tmp_path / "link.part"
    link.symlink_to(victim)
    for path in (victim, link):
        with pytest.raises(FileExistsError):
            Spool(bodies, path)
    assert victim.read_text() == "precious"


def test_the_same_body_again_keeps_the_first_file_and_makes_it_new(bodies: Bodies) -> None:
    sha256 = kept(bodies, b"same", at=YESTERDAY)
    first = bodies.path(sha256).stat()
    assert kept(bodies, b"same") == sha256
    second = bodies.path(sha256).stat()
    assert second.st_ino == first.st_ino
    assert second.st_mtime > YESTERDAY + 1000
    assert incoming(bodies) == []


def test_a_damaged_file_is_replaced_when_the_body_comes_again(bodies: Bodies) -> None:
    sha256 = kept(bodies, b"whole")
    bodies.path(sha256).write_bytes(b"who")
    kept(bodies, b"whole")
    assert bodies.path(sha256).read_bytes() == b"whole"


def test_all_that_a_kept_body_needs_is_synced(bodies: Bodies, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    spool = bodies.spool()
    spool.write(b"body")
    sha256 = hashlib.sha256(b"body").hexdigest()
    monkeypatch.setattr(os, "fsync", watched)
    spool.keep(sha256)
    assert synced[0].endswith(".part")
    assert synced[-2:] == [sha256[:2], "bodies"]
    synced.clear()
    kept(bodies, b"body")
    assert synced[1:] == [sha256, sha256[:2]]


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_a_sha256_is_a_name(bodies: Bodies, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        bodies.path(name)


def test_free_space_is_known_before_anything_was_kept(bodies: Bodies) -> None:
    assert bodies.free_bytes() > 0


def test_missing_bodies_are_named(bodies: Bodies) -> None:
    sha256 = kept(bodies, b"here")
    assert bodies.missing([sha256, "0" * 64]) == ["0" * 64]


@pytest.mark.anyio
@pytest.mark.fault("C6")
async def test_the_sweep_removes_old_files_without_a_row_and_no_others(bodies: Bodies) -> None:
    orphan = kept(bodies, b"orphan", at=YESTERDAY)
    needed = kept(bodies, b"needed", at=YESTERDAY)
    young = kept(bodies, b"young")
    stranger = bodies.path(orphan).parent / "README"
    stranger.write_text("not ours")
    os.utime(stranger, (YESTERDAY, YESTERDAY))
    for age in (YESTERDAY, time.time()):
        bodies.spool().write(b"half")
        newest = max(incoming(bodies), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (age, age))

    async def known(shas: Sequence[str]) -> set[str]:
        assert set(shas) == {orphan, needed}
        return {needed}

    report = await bodies.sweep(known=known, before=time.time() - 3600)
    assert report == SweepReport(temporary=1, orphans=1, freed=len(b"half") + len(b"orphan"))
    assert report.removed == 2
    assert bodies.missing([orphan, needed, young]) == [orphan]
    assert stranger.exists()
    assert len(incoming(bodies)) == 1
    assert await bodies.sweep(known=known_all, before=time.time() - 3600) == SweepReport()


async def known_all(shas: Sequence[str]) -> Sequence[str]:
    return shas


@pytest.mark.anyio
@pytest.mark.fault("C6")
async def test_a_body_that_comes_again_during_the_sweep_stays(bodies: Bodies) -> None:
    sha256 = kept(bodies, b"again", at=YESTERDAY)

    async def known(shas: Sequence[str]) -> set[str]:
        kept(bodies, b"again")
        return set()

    assert await bodies.sweep(known=known, before=time.time() - 3600) == SweepReport()
    assert bodies.missing([sha256]) == []


def test_a_body_is_not_removed_while_it_is_being_kept_again(bodies: Bodies) -> None:
    sha256 = kept(bodies, b"again", at=YESTERDAY)
    shard = os.open(bodies.path(sha256).parent, os.O_RDONLY)
    fcntl.flock(shard, fcntl.LOCK_SH)  # as `keep` holds it, perhaps in another process
    removal = bodies.executor.submit(bodies.remove, sha256, before=time.time())
    with pytest.raises(TimeoutError):
        removal.result(timeout=0.05)
    os.utime(bodies.path(sha256), (time.time() + 60, time.time() + 60))
    os.close(shard)
    assert removal.result(timeout=10) is None
    assert bodies.missing([sha256]) == []
    bodies.close()


@pytest.mark.anyio
async def test_a_folder_that_is_not_there_is_swept_clean(bodies: Bodies) -> None:
    assert await bodies.sweep(known=nobody, before=time.time()) == SweepReport()
