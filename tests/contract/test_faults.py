"""A database that is locked, full, damaged or in a bad place: what is said, and what is left of it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from receiver.errors import StoreDamaged, StoreError
from receiver.store.inspection import Inspection
from receiver.store.remote import Remote
from receiver.store.service import Service
from receiver.store.sqlite.database import Database, file_system
from tests.contract.stand import (
    ANY,
    PATIENCE_SECONDS,
    StoreProcess,
    arrival,
    claim_one,
    hang_up,
    in_this_process,
    outcomes_of,
    ready,
    states_of,
)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Somebody else writes, and does not come to an end."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def opened(database: Path) -> Service:
    return Service(database, run="next", lease_seconds=60)


@asynccontextmanager
async def served(database: Path) -> AsyncIterator[tuple[StoreProcess, Remote]]:
    """A store in its own process, known by its number and its log."""
    process = StoreProcess(database, run="next")
    try:
        remote = await process.connected()
        yield process, remote
        await hang_up(remote)
    finally:
        process.stop()


# At the start.


@pytest.mark.anyio
@pytest.mark.fault("C10")
async def test_a_file_that_another_program_keeps_locked_is_not_called_damaged(database: Path) -> None:
    async with in_this_process(database) as store:
        await store.record(arrival())
    with locked(database), pytest.raises(StoreError, match="another program keeps it locked") as refused:
        await asyncio.to_thread(opened, database)
    assert not isinstance(refused.value, StoreDamaged)
    async with in_this_process(database, run="next") as store:
        assert len(await store.events(ANY, limit=9, before=None)) == 1


@pytest.mark.fault("C4")
def test_a_start_on_a_full_disk_names_the_disk(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def connect_to_a_full_disk(*arguments: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]
        connection.execute("PRAGMA max_page_count = 2")
        return connection

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect_to_a_full_disk)
        with pytest.raises(StoreError, match="no room left on its disk") as refused:
            opened(database)
    assert not isinstance(refused.value, StoreDamaged)
    Database(database, now=0).close()


@pytest.mark.anyio
@pytest.mark.timeout(60)
@pytest.mark.fault("C7")
async def test_a_recovery_that_is_killed_again_and_again_gives_each_job_back_once(database: Path) -> None:
    async with in_this_process(database, run="former") as store:
        events = [arrival(f"v{number}", jobs=ready("save")) for number in range(50)]
        for number, event in enumerate(events):
            await store.record(event)
            await claim_one(store, f"former/{number}.1", "save")
    for killed in count(1):
        process = StoreProcess(database, run=f"run{killed}")
        await asyncio.sleep(
            0.01 * 1.2**killed
        )  # the moment of the kill: nothing tells of the ones in between
        has_started = "store.started" in process.log.read_text()
        process.kill()
        assert "damaged" not in process.log.read_text()
        if has_started:
            break
    assert killed >= 3, "it was killed before it had recovered"
    async with in_this_process(database, run="last") as store:
        for number, event in enumerate(events):
            assert await states_of(store, event.event_id) == {"save": "ready"}
            assert await outcomes_of(store, event.event_id) == [("lost", 1, f"former/{number}.1")]
        assert await store.check() == []


# Damage.


def rooted(database: Path, name: str) -> int:
    """Where the first page of a table or an index begins in the file."""
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (page,) = connection.execute(query, (name,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((page - 1) * size)


@pytest.mark.anyio
@pytest.mark.fault("C8")
async def test_damage_that_no_start_meets_makes_the_store_unready_and_is_told(database: Path) -> None:
    async with in_this_process(database) as store:
        await store.record(arrival())
    with database.open("r+b") as file:
        file.seek(rooted(database, "rejections"))
        file.write(b"\xa5" * 4096)
    async with served(database) as (process, remote):
        assert await remote.probe() == []
        reason = await _unready(remote)
        assert reason.startswith("the database is damaged: ")
        assert "store.damaged" in process.log.read_text()
        assert (await remote.status())["writable"], "whoever asks for more than readiness still gets it"
        assert await remote.check()


async def _unready(remote: Remote) -> str:
    """Ask again and again whether a store is ready, until it says why not."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await remote.probe()
            except StoreError as error:
                return str(error)
            await asyncio.sleep(0.1)


@pytest.mark.anyio
@pytest.mark.fault("C8")
async def test_a_whole_file_is_found_whole_and_only_in_a_quiet_moment(database: Path) -> None:
    async with in_this_process(database) as store:
        await store.record(arrival())
    traffic = iter(range(0, 3000, 100))
    inspection = Inspection(database, changes=lambda: next(traffic, 3000))
    assert await inspection.problems() == []
    assert list(traffic) == [], "it waited for the traffic to end"
    inspection.stop()


@pytest.mark.fault("C8")
@pytest.mark.parametrize("is_zeroed", [True, False], ids=["zeroed", "cut off"])
def test_a_damaged_file_is_refused_and_kept_by_the_whole_store_process(
    database: Path, is_zeroed: bool
) -> None:
    Database(database, now=0).close()
    if is_zeroed:
        with database.open("r+b") as file:
            file.write(bytes(4096))
    else:
        os.truncate(database, 3000)
    before = database.read_bytes()
    process = StoreProcess(database, run="next")
    assert process.exit_status() == 2
    [line] = process.log.read_text().splitlines()
    assert line.startswith(f"receiver: {database}")
    assert "left as it is" in line
    assert database.read_bytes() == before


# Where and with what it is opened.


@pytest.mark.anyio
@pytest.mark.fault("C9")
async def test_one_connection_writes_and_the_file_is_not_mapped(database: Path) -> None:
    async with served(database) as (process, remote):
        await remote.record(arrival())
        await remote.events(ANY, limit=9, before=None)  # the reading connection is there as well
        modes = _modes_of(process.number, database)
        assert set(modes) == {os.O_RDONLY, os.O_RDWR}
        assert modes.count(os.O_RDWR) == 1
        maps = _maps_of(process.number)
        assert f"{database}-shm\n" in maps
        assert f"{database}\n" not in maps


def _maps_of(process: int) -> str:
    return Path(f"/proc/{process}/maps").read_text()


def _modes_of(process: int, database: Path) -> list[int]:
    """How a process has opened a file, once for each time."""
    proc = Path(f"/proc/{process}")
    of_it = [entry.name for entry in (proc / "fd").iterdir() if entry.readlink() == database]
    flags = [(proc / "fdinfo" / name).read_text().split("flags:\t")[1].split()[0] for name in of_it]
    return [int(flag, 8) & os.O_ACCMODE for flag in flags]


@pytest.mark.fault("C9")
@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "ext4"])
def test_the_file_system_of_a_folder_is_read_from_the_mounts(tmp_path: Path, kind: str) -> None:
    device = tmp_path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 0:1 / /proc rw - proc proc rw\n"
        f"23 1 {os.major(device)}:{os.minor(device)} / /mnt rw,relatime shared:1 - {kind} server:/export rw\n"
    )
    assert file_system(tmp_path, mounts=mounts) == kind
    assert file_system(tmp_path, mounts=tmp_path / "nowhere") == ""


@pytest.mark.fault("C9")
def test_a_network_disk_is_refused_before_anything_is_made(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = "receiver.store.sqlite.database.file_system"
    monkeypatch.setattr(mounted, lambda folder: "nfs4")  # nothing here can mount one
    with pytest.raises(StoreError, match=r"network file system \(nfs4\)"):
        opened(database)
    assert not database.exists()


@pytest.mark.fault("C9")
def test_a_library_that_is_too_old_is_refused(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(StoreError, match=r"too old; 3\.38\.0 is needed"):
        opened(database)
    assert not database.exists()
