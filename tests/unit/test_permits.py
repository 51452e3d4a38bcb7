"""What large bodies may take together: places, bytes, and the space on one disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.bodies import Bodies
from receiver.body import ReceivedBody, read_body
from receiver.errors import BadBody, Disconnected, Unavailable
from receiver.model import INLINE_BODY_LIMIT
from receiver.permits import Claim, Permit, Permits, Room
from receiver.sources.base import Admission

LARGE = INLINE_BODY_LIMIT + 1


class Upload:
    """A sender whose body comes piece by piece, when the test says so."""

    def __init__(self, bodies: Bodies, *, declared: int | None = None) -> None:
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.is_asked = asyncio.Event()
        reading = read_body(
            self._receive, admission=Admission(), limit=2**30, bodies=bodies, declared=declared
        )
        self.reading: asyncio.Task[ReceivedBody] = asyncio.create_task(reading)

    async def _receive(self) -> dict[str, Any]:
        self.is_asked.set()
        return await self._messages.get()

    def send(self, body: bytes, *, more: bool = True) -> Upload:
        """Send a piece."""
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": more})
        return self

    def leave(self) -> Upload:
        """Close the connection."""
        self._messages.put_nowait({"type": "http.disconnect"})
        return self

    async def is_refused(self, why: str) -> None:
        """Wait for the refusal."""
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match=why):
                await self.reading


async def until_covered(permits: Permits, size: int) -> None:
    """Wait until the uploads have been permitted so many bytes."""
    async with asyncio.timeout(10):
        while permits.size != size:  # noqa: ASYNC110 - numbers have no event
            await asyncio.sleep(0)


@pytest.fixture
async def bodies(tmp_path: Path) -> AsyncIterator[Bodies]:
    """A folder in which two large bodies of a million bytes together may arrive."""
    made = Bodies(tmp_path / "bodies", reserve=0, permits=Permits(most=2, most_bytes=1_000_000))
    yield made
    made.close()
    assert (made.permits.uploads, made.permits.size) == (0, 0), "every permit was given back"
    assert list((tmp_path / "bodies").rglob("*.part")) == []


@pytest.mark.anyio
async def test_one_large_body_too_many_is_refused_before_it_is_asked_for(bodies: Bodies) -> None:
    first, second = (Upload(bodies, declared=LARGE) for _ in range(2))
    await until_covered(bodies.permits, 2 * LARGE)
    third = Upload(bodies, declared=LARGE)
    await third.is_refused("too many")
    assert not third.is_asked.is_set()
    body = b'{"a":1}'
    small = Upload(bodies, declared=len(body)).send(body, more=False)
    assert (await small.reading).raw == body, "small ones need no permit"
    first.send(b"{}".ljust(LARGE), more=False)
    assert (await first.reading).size == LARGE
    fourth = Upload(bodies, declared=LARGE).send(b"{}".ljust(LARGE), more=False)
    assert (await fourth.reading).size == LARGE, "a place is free again"
    second.leave()
    with pytest.raises(Disconnected):
        await second.reading


@pytest.mark.anyio
async def test_what_was_declared_counts_before_it_is_here(bodies: Bodies) -> None:
    first = Upload(bodies, declared=900_000)
    await until_covered(bodies.permits, 900_000)
    await Upload(bodies, declared=100_001).is_refused("together")
    second = Upload(bodies, declared=100_000)
    await until_covered(bodies.permits, 1_000_000)
    for upload in (first, second):
        upload.leave()
        with pytest.raises(Disconnected):
            await upload.reading


@pytest.mark.anyio
async def test_a_body_of_unknown_length_counts_as_it_grows(bodies: Bodies) -> None:
    first = Upload(bodies, declared=900_000)
    await until_covered(bodies.permits, 900_000)
    growing = Upload(bodies).send(b'{"a":"'.ljust(LARGE))
    await until_covered(bodies.permits, 900_000 + LARGE)
    growing.send(b" " * (100_000 - LARGE))
    await until_covered(bodies.permits, 1_000_000)
    growing.send(b" ")
    await growing.is_refused("together")
    assert bodies.permits.size == 900_000
    first.leave()
    with pytest.raises(Disconnected):
        await first.reading


@pytest.mark.anyio
async def test_one_body_alone_may_be_larger_than_all_together(bodies: Bodies) -> None:
    alone = Upload(bodies, declared=3_000_000).send(b"{}".ljust(3_000_000), more=False)
    assert (await alone.reading).size == 3_000_000


@pytest.mark.anyio
async def test_a_permit_is_given_back_however_an_upload_ends(bodies: Bodies) -> None:
    bad = Upload(bodies, declared=LARGE).send(b"no JSON".ljust(LARGE), more=False)
    with pytest.raises(BadBody):
        await bad.reading
    cancelled = Upload(bodies, declared=LARGE)
    await cancelled.is_asked.wait()
    cancelled.reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled.reading
    gone = Upload(bodies).send(b"{".ljust(LARGE)).leave()
    with pytest.raises(Disconnected):
        await gone.reading


def test_a_disk_is_not_promised_twice() -> None:
    room = Room(lambda: 1000, reserve=100)
    first = Claim(room, 600)
    with pytest.raises(Unavailable, match="space"):
        Claim(room, 301)
    second = Claim(room, 300)
    with pytest.raises(Unavailable, match="space"):
        second.need(301)
    first.close()
    second.need(301)
    first.close()
    with pytest.raises(Unavailable, match="space"):
        Claim(room, 600)
    Claim(room, 599)


def test_an_upload_goes_on_while_what_it_was_promised_is_there() -> None:
    free = 1000
    room = Room(lambda: free, reserve=100)
    upload = Claim(room, 600)
    other = Claim(room, 0)
    free -= 250  # somebody else has written: there is room for the one, not for more
    upload.need(200)
    with pytest.raises(Unavailable, match="space"):
        other.need(51)
    free -= 200
    upload.spend(200)
    free -= 151
    with pytest.raises(Unavailable, match="space"):
        upload.need(200)


@given(st.lists(st.integers(1, 400), max_size=30), st.integers(1, 64))
def test_a_disk_never_overflows_however_many_write_at_once(sizes: list[int], step: int) -> None:
    """Each writes a declared half and an undeclared half, in turn, in pieces."""
    free = 1000
    room = Room(lambda: free, reserve=100)
    writing: list[tuple[Claim, int, bool]] = []
    for number, size in enumerate(sizes):
        is_declared = number % 2 == 0
        with suppress(Unavailable):
            writing.append((Claim(room, size if is_declared else 0), size, is_declared))
    while writing:
        claim, left, is_declared = writing.pop(0)
        piece = min(step, left)
        try:
            claim.need(piece)
        except Unavailable:
            assert not is_declared, "what was promised is kept"
            claim.close()
            continue
        free -= piece
        assert free >= 100
        claim.spend(piece)
        if left > piece:
            writing.append((claim, left - piece, is_declared))
        else:
            claim.close()
    Claim(room, free - 100)  # nothing that has ended holds any of it


def test_threads_do_not_promise_the_same_room() -> None:
    room = Room(lambda: 1000, reserve=0)

    def claim(_: int) -> bool:
        try:
            Claim(room, 100)
        except Unavailable:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(claim, range(200))) == 10


def test_a_permit_never_shrinks() -> None:
    permits = Permits(most=1, most_bytes=10)
    with Permit(permits) as permit:
        permit.cover(7)
        permit.cover(3)
        assert (permits.uploads, permits.size) == (1, 7)
    assert (permits.uploads, permits.size) == (0, 0)
