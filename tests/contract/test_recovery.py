"""What a store keeps, and what it gives back, when it was killed; and who may open it."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver import __version__
from receiver.errors import StoreDamaged, StoreDown, StoreError, StoreInUse, Unavailable
from receiver.store import opened, wire
from receiver.store.base import Store
from receiver.store.lock import StoreLock, bereaved
from receiver.store.remote import Remote
from receiver.store.service import Service
from receiver.store.sqlite.database import Database
from tests.contract.stand import (
    ANY,
    StoreProcess,
    arrival,
    claim,
    claim_one,
    hang_up,
    in_its_own_process,
    in_this_process,
    outcomes_of,
    ready,
    settlement,
    states_of,
    waiting,
)

ROUNDS = 8


@pytest.fixture
async def start(database: Path) -> AsyncIterator[Callable[..., StoreProcess]]:
    """Starts store processes; those that still run at the end are killed."""
    started: list[StoreProcess] = []

    def start(*, run: str, lease_seconds: float = 60.0) -> StoreProcess:
        started.append(StoreProcess(database, run=run, lease_seconds=lease_seconds))
        return started[-1]

    yield start
    for process in started:
        process.kill()


# Killed.


@pytest.mark.anyio
@pytest.mark.timeout(180)
async def test_a_kill_at_any_moment_loses_nothing_acknowledged_and_doubles_nothing(
    start: Callable[..., StoreProcess], database: Path
) -> None:
    moments = random.Random(2)
    ledger: dict[str, str] = {}
    for number in range(ROUNDS):
        process = start(run=f"run{number}")
        remote = await process.connected()
        has_begun = asyncio.Event()
        senders = [_send(remote, f"{number}.{lane}", ledger, has_begun) for lane in range(16)]
        sending = asyncio.gather(*senders)
        await has_begun.wait()  # the kill hits a store that is writing
        await asyncio.sleep(moments.uniform(0.0, 0.15))
        process.kill()
        await sending
        await hang_up(remote)
    async with in_this_process(database, run="last") as store:
        assert await store.check() == []
        await _agree(store, ledger)


async def _send(remote: Remote, lane: str, ledger: dict[str, str], has_begun: asyncio.Event) -> None:
    """Post one video after another, each twice, until the store is gone; note what was acknowledged."""
    for number in range(10**6):
        video = f"v{lane}.{number}"
        try:
            for _ in range(2):
                receipt = await remote.record(arrival(video, jobs=[*ready("save"), waiting("probe", "save")]))
                assert ledger.setdefault(video, receipt.event_id) == receipt.event_id
                has_begun.set()
        except Unavailable:
            return


async def _agree(store: Store, ledger: dict[str, str]) -> None:
    """Every acknowledged event is there exactly once, whole; and a sender's retry finds it."""
    events = await store.events(ANY, limit=10**6, before=None)
    by_video = {event["video_id"]: event for event in events}
    assert len(by_video) == len(events)
    assert {video: event["id"] for video, event in by_video.items() if video in ledger} == ledger
    for event in events:
        assert {job["handler"]: job["state"] for job in event["jobs"]} == {
            "save": "ready",
            "probe": "waiting",
        }
    retried = [await store.record(arrival(video)) for video in list(ledger)[:50]]
    assert {(receipt.verdict, ledger[video]) for video, receipt in zip(ledger, retried, strict=False)} == {
        ("duplicate", receipt.event_id) for receipt in retried
    }


@pytest.mark.anyio
async def test_a_request_to_a_store_that_dies_fails_and_the_next_one_finds_its_successor(
    start: Callable[..., StoreProcess],
) -> None:
    first = start(run="run1")
    remote = await first.connected()
    waiting_claim = asyncio.create_task(claim(remote, "w", "save", wait_ms=60_000))
    await remote.status()
    first.kill()
    with pytest.raises(StoreDown):
        await waiting_claim
    with pytest.raises(StoreDown):
        await remote.record(arrival())
    await hang_up(await start(run="run1").connected())
    assert (await remote.record(arrival())).verdict == "accepted"
    await hang_up(remote)


@pytest.mark.anyio
async def test_a_new_run_gives_back_what_the_former_one_held_but_not_what_outlives_it(
    start: Callable[..., StoreProcess],
) -> None:
    former = start(run="aaaa")
    remote = await former.connected()
    events = {}
    for worker in ("aaaa/1.0", "aaaa/2.3", "external/host.1"):
        first = arrival(worker, jobs=ready("save"))
        await remote.record(first)
        await claim_one(remote, worker, "save")
        events[worker] = first.event_id
    former.kill()
    await hang_up(remote)
    remote = await start(run="bbbb").connected()
    assert [await states_of(remote, event) for event in events.values()] == [
        {"save": "ready"},
        {"save": "ready"},
        {"save": "running"},
    ]
    assert await outcomes_of(remote, events["aaaa/2.3"]) == [("lost", 1, "aaaa/2.3")]
    assert (await remote.status())["workers"] == ["external/host.1"]
    assert len(await claim(remote, "bbbb/1.0", "save")) == 2
    await hang_up(remote)


@pytest.mark.anyio
async def test_a_store_that_restarts_in_its_run_leaves_its_workers_what_they_hold(
    start: Callable[..., StoreProcess],
) -> None:
    former = start(run="aaaa")
    remote = await former.connected()
    first = arrival(jobs=ready("save"))
    await remote.record(first)
    job = await claim_one(remote, "aaaa/1.0", "save")
    former.kill()
    await hang_up(remote)
    remote = await start(run="aaaa").connected()
    assert await states_of(remote, first.event_id) == {"save": "running"}
    assert (await remote.status())["workers"] == ["aaaa/1.0"]
    assert await remote.settle([settlement(job)], worker="aaaa/1.0") == [True]
    await hang_up(remote)


@pytest.mark.anyio
async def test_a_worker_that_outlives_its_store_and_stays_silent_loses_its_jobs(
    start: Callable[..., StoreProcess],
) -> None:
    former = start(run="aaaa")
    remote = await former.connected()
    await remote.record(arrival(jobs=ready("save")))
    await claim_one(remote, "external/host.1", "save")
    former.kill()
    await hang_up(remote)
    remote = await start(run="bbbb", lease_seconds=0.5).connected()
    assert await claim_one(remote, "bbbb/1.0", "save", wait_ms=20_000)
    await hang_up(remote)


@pytest.mark.anyio
async def test_what_was_queued_is_written_before_a_store_ends(start: Callable[..., StoreProcess]) -> None:
    process = start(run="run1")
    remote = await process.connected()
    receipts = await asyncio.gather(*(remote.record(arrival(f"v{number}")) for number in range(200)))
    process.stop()
    await hang_up(remote)
    assert not wire.socket_path(process.database).exists()
    assert not process.database.with_name("receiver.db-wal").exists()
    async with in_this_process(process.database, run="run2") as store:
        events = await store.events(ANY, limit=1000, before=None)
        assert {event["id"] for event in events} == {receipt.event_id for receipt in receipts}


# One at a time.


@pytest.mark.anyio
async def test_a_second_store_is_refused_with_one_line_that_names_the_first(
    start: Callable[..., StoreProcess], database: Path
) -> None:
    first = start(run="run1")
    remote = await first.connected()
    second = start(run="run2")
    assert second.exit_status() == 2
    (line,) = second.log.read_text().splitlines()
    assert line.startswith(f"receiver: another receiver (server {os.getpid()}, its store {first.number})")
    assert str(database) in line
    assert (await remote.record(arrival())).verdict == "accepted"
    await hang_up(remote)


@pytest.mark.anyio
async def test_a_store_waits_a_moment_for_a_former_one_on_its_way_out(
    start: Callable[..., StoreProcess], database: Path
) -> None:
    lock = StoreLock(database, wait_seconds=0)
    process = start(run="run1")
    connecting = asyncio.create_task(process.connected())
    await asyncio.sleep(0.5)  # long enough for it to meet the lock; shorter than its patience
    assert not connecting.done()
    lock.release()
    await hang_up(await connecting)


def test_a_lock_that_somebody_keeps_is_refused_and_one_that_was_let_go_is_not(database: Path) -> None:
    lock = StoreLock(database, wait_seconds=0)
    with pytest.raises(StoreInUse, match=rf"store {os.getpid()}\).*{database.name}"):
        StoreLock(database, wait_seconds=0)
    lock.release()
    lock = StoreLock(database, wait_seconds=0, is_embedded=True)
    with pytest.raises(StoreInUse, match=rf"\(process {os.getpid()}\)"):
        StoreLock(database, wait_seconds=0)
    lock.release()


@pytest.mark.anyio
async def test_a_socket_that_a_killed_store_left_behind_is_replaced(
    start: Callable[..., StoreProcess], database: Path
) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(wire.socket_path(database)))
    with pytest.raises(StoreDown):
        await Remote(database).connect()
    remote = await start(run="run1").connected()
    assert stat.S_IMODE(wire.socket_path(database).stat().st_mode) == 0o600
    await hang_up(remote)


@pytest.mark.anyio
async def test_a_store_in_a_deep_folder_can_be_reached(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*("a folder with a long name ü" for _ in range(8))) / "receiver.db"
    assert len(os.fsencode(deep)) > 200
    async with in_its_own_process(deep) as store:
        assert (await store.record(arrival())).verdict == "accepted"


@pytest.mark.anyio
async def test_without_a_server_a_command_opens_the_database_for_itself(database: Path) -> None:
    async with in_its_own_process(database) as served:
        await served.record(arrival())
        async with opened(database, lease_seconds=60) as store:
            assert isinstance(store, Remote)
            assert len(await store.events(ANY, limit=9, before=None)) == 1
        await asyncio.sleep(0)
    async with opened(database, lease_seconds=60) as store:
        assert not isinstance(store, Remote)
        assert len(await store.events(ANY, limit=9, before=None)) == 1
        with pytest.raises(StoreInUse):
            StoreLock(database, wait_seconds=0)
    StoreLock(database, wait_seconds=0).release()


@pytest.mark.anyio
async def test_a_command_does_not_keep_out_the_store_that_a_server_is_about_to_start_again(
    start: Callable[..., StoreProcess], database: Path
) -> None:
    first = start(run="run1")
    await hang_up(await first.connected())
    first.kill()
    opening = opened(database, lease_seconds=60)
    entering = asyncio.create_task(opening.__aenter__())
    await asyncio.sleep(0)
    start(run="run1")
    try:
        assert isinstance(await entering, Remote)
    finally:
        await opening.__aexit__(None, None, None)


def test_a_store_whose_server_is_gone_is_waited_for_by_nobody(database: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert not bereaved(database)
    wire.lock_path(database).write_text(f"server {ended.pid}, its store 1\n")
    assert not bereaved(database)
    wire.lock_path(database).write_text(f"server {os.getpid()}, its store 1\n")
    assert bereaved(database)
    StoreLock(database, wait_seconds=0).release()
    assert not bereaved(database), "it was let go, not lost"


@pytest.mark.anyio
async def test_a_command_takes_no_job_from_a_worker(database: Path) -> None:
    async with in_this_process(database, run="aaaa") as store:
        first = arrival(jobs=ready("save"))
        await store.record(first)
        await claim_one(store, "aaaa/1.0", "save")
    async with opened(database, lease_seconds=60) as store:
        assert await states_of(store, first.event_id) == {"save": "running"}


# What is said on the socket.


@pytest.mark.anyio
@pytest.mark.fault("D1")
async def test_two_clients_that_send_the_same_at_once_make_one_event(database: Path) -> None:
    async with in_its_own_process(database) as one:
        other = await Remote(database).connect()
        copies = [arrival(jobs=ready("save")) for _ in range(128)]
        receipts = await asyncio.gather(
            *(client.record(copy) for client, copy in zip([one, other] * 64, copies, strict=True))
        )
        assert sorted(receipt.verdict for receipt in receipts) == ["accepted"] + ["duplicate"] * 127
        assert len({receipt.event_id for receipt in receipts}) == 1
        await hang_up(other)


@pytest.mark.anyio
async def test_a_server_refuses_the_store_of_another_one(database: Path) -> None:
    async with in_its_own_process(database, run="aaaa"):
        with pytest.raises(StoreDown, match="another server"):
            await Remote(database, run="bbbb").connect()
        own = await Remote(database, run="aaaa").connect()
        await hang_up(own)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "bytes_sent",
    [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", b"\x00\x00\x00\x03{x}", b"\x00\x00\x00\x02[]"],
    ids=["another protocol", "an absurd length", "no JSON", "no request"],
)
async def test_a_client_that_does_not_speak_the_language_is_hung_up_on(
    database: Path, bytes_sent: bytes
) -> None:
    async with in_its_own_process(database) as store:
        async with _stranger(database) as (reader, writer), asyncio.timeout(5):
            writer.write(bytes_sent)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert (await store.record(arrival())).verdict == "accepted"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("request_sent", "error"),
    [([1, "hello", wire.PROTOCOL + 1], __version__), ([1, "events", None], "unknown verb")],
    ids=["another version", "no greeting"],
)
async def test_versions_are_compared_before_anything_else_is_said(
    database: Path, request_sent: list[object], error: str
) -> None:
    async with in_its_own_process(database), _stranger(database) as (reader, writer):
        number, result, (name, reason) = await _asked(reader, writer, request_sent)
        assert (number, result, name) == (1, None, StoreError.__name__)
        assert error in reason


@pytest.mark.anyio
@pytest.mark.fault("D6")
async def test_what_a_store_comes_to_after_its_deadline_is_not_recorded(database: Path) -> None:
    async with in_its_own_process(database) as store:
        async with _stranger(database) as (reader, writer):
            await _asked(reader, writer, [1, "hello", wire.PROTOCOL])
            late = [2, "record", [time.monotonic() - 0.001, [tuple(arrival("late"))]]]
            in_time = [3, "record", [time.monotonic() + 60, [tuple(arrival("in time"))]]]
            assert (await _asked(reader, writer, late))[2][0] == Unavailable.__name__
            assert (await _asked(reader, writer, in_time))[2] is None
        assert [row["video_id"] for row in await store.events(ANY, limit=9, before=None)] == ["in time"]


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: object) -> Any:
    """Send one request and take its answer."""
    writer.write(wire.pack(request))
    length = int.from_bytes(await reader.readexactly(4), "big")
    return orjson.loads(await reader.readexactly(length))


@asynccontextmanager
async def _stranger(database: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the store's socket on which anything can be said."""
    reader, writer = await asyncio.open_unix_connection(wire.socket_path(database))
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


# Not able to write.


@pytest.mark.anyio
@pytest.mark.fault("C8")
async def test_a_file_that_turns_out_damaged_while_it_is_written_ends_the_store(
    start: Callable[..., StoreProcess], database: Path
) -> None:
    async with in_this_process(database) as store:
        await store.record(arrival("before"))
    _damage_the_index_of_keys(database)
    process = start(run="run1")
    remote = await process.connected()
    await remote.all_bodies()  # now it has a thread that reads, which must not keep it alive
    with pytest.raises(Unavailable):
        await remote.record(arrival())
    assert process.exit_status() == 4
    assert "store.failed" in process.log.read_text()
    with pytest.raises(StoreDown):
        await remote.record(arrival())
    await hang_up(remote)


def _damage_the_index_of_keys(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'events_of_videos'"
        (page,) = connection.execute(query).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))


@pytest.mark.anyio
@pytest.mark.fault("C10")
async def test_a_writer_that_is_kept_waiting_is_an_unavailable_store_and_goes_on_afterwards(
    database: Path,
) -> None:
    async with in_its_own_process(database) as store:
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            begin = time.monotonic()
            with pytest.raises(Unavailable):
                await store.record(arrival())
            assert time.monotonic() - begin < 10
            other.execute("ROLLBACK")
        assert (await store.record(arrival())).verdict == "accepted"


@pytest.mark.anyio
async def test_a_database_that_was_moved_away_is_not_written_any_more(database: Path) -> None:
    errors: list[BaseException] = []
    service = Service(database, run="r", lease_seconds=60, on_fatal=errors.append)
    assert (await service.record(arrival())).verdict == "accepted"

    await asyncio.to_thread(database.rename, database.with_name("moved.db"))

    with pytest.raises(Unavailable, match="moved or deleted"):
        await service.record(arrival())
    await asyncio.to_thread(database.with_name("moved.db").rename, database)
    with pytest.raises(Unavailable, match="former error"):
        await service.record(arrival("after it"))
    assert len(errors) == 1


def test_a_store_that_is_started_again_makes_no_new_file(database: Path) -> None:
    with pytest.raises(StoreDamaged, match="is gone"):
        Database(database, now=0, must_exist=True)
    assert not database.exists()
