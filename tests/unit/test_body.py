"""A body is read once; it is kept durably or not at all, whatever happens on the way."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import hmac
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from receiver.bodies import Bodies
from receiver.body import ReceivedBody, read_body
from receiver.errors import BadBody, Disconnected, ReceiverError, TooLarge, TooSlow, Unavailable
from receiver.model import INLINE_BODY_LIMIT
from receiver.sources.base import Admission, Denied

MEBIBYTE = 1024 * 1024
Receive = Callable[[], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Signed(Admission):
    """An admission that believes only the body whose digest it knows."""

    expected: str = ""
    seen: Any = field(default_factory=hashlib.sha256)

    def feed(self, chunk: bytes) -> None:
        self.seen.update(chunk)

    def conclude(self) -> Denied | None:
        is_right = hmac.compare_digest(self.seen.hexdigest(), self.expected)
        return None if is_right else Denied("signature")


@pytest.fixture
def bodies(tmp_path: Path) -> Bodies:
    return Bodies(tmp_path / "bodies", reserve=0)


@pytest.fixture(autouse=True)
async def _end_threads(bodies: Bodies) -> AsyncIterator[None]:
    yield
    bodies.close()


def message(chunk: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": chunk, "more_body": more}


def sender(chunks: Iterable[bytes | float], *, end: str = "complete") -> Receive:
    """Make a `receive` that gives the chunks, pausing between them where a number of seconds stands."""

    async def run() -> AsyncIterator[dict[str, Any]]:
        for chunk in chunks:
            if isinstance(chunk, bytes):
                yield message(chunk, more=True)
            else:
                await asyncio.sleep(chunk)
        if end == "complete":
            yield message(b"", more=False)
        elif end == "disconnect":
            yield {"type": "http.disconnect"}
        else:
            await asyncio.Event().wait()

    messages = run()

    async def receive() -> dict[str, Any]:
        return await anext(messages)

    return receive


def large(size: int = 3 * MEBIBYTE) -> list[bytes]:
    """Write a body with a long string of `size` bytes, in chunks of 50,000."""
    body = b'{"video_id":"x","response":{"b64_video":"' + b"A" * size + b'"}}'
    return [body[i : i + 50_000] for i in range(0, len(body), 50_000)]


def trickle(chunk: bytes, count: int) -> Iterator[bytes | float]:
    for _ in range(count):
        yield 0.005
        yield chunk


async def read(receive: Receive, bodies: Bodies, **options: Any) -> ReceivedBody:
    defaults: dict[str, Any] = {"admission": Admission(), "limit": 64 * MEBIBYTE, "declared": None}
    return await read_body(receive, bodies=bodies, **{**defaults, **options})


def files(bodies: Bodies) -> list[Path]:
    return [path for path in bodies.directory.rglob("*") if path.is_file()]


@pytest.mark.anyio
async def test_a_small_body_needs_no_file(bodies: Bodies) -> None:
    for cuts in ([b'{"a":1}'], [b'{"a"', b":", b"1}"]):
        received = await read(sender(cuts), bodies)
        assert received == ReceivedBody(b'{"a":1}', None, 7, {"a": 1})
    assert not bodies.directory.exists()


@pytest.mark.anyio
async def test_a_body_that_is_here_already_takes_neither_a_timer_nor_a_task(bodies: Bodies) -> None:
    async def receive() -> dict[str, Any]:
        return message(b'{"a":1}', more=False)

    reading = read(receive, bodies)
    with pytest.raises(StopIteration) as done:
        reading.send(None)  # it is through without giving control to the event loop
    assert done.value.value.payload == {"a": 1}


@pytest.mark.anyio
@pytest.mark.parametrize("size", [INLINE_BODY_LIMIT, INLINE_BODY_LIMIT + 1])
@pytest.mark.parametrize("step", [1000, 10**6])
async def test_only_more_than_64_kib_goes_to_a_file(bodies: Bodies, size: int, step: int) -> None:
    body = b'{"a":1}'.ljust(size)
    received = await read(sender(body[i : i + step] for i in range(0, size, step)), bodies)
    assert received.size == size
    assert received.payload == {"a": 1}
    if size == INLINE_BODY_LIMIT:
        assert (received.raw, received.sha256, files(bodies)) == (body, None, [])
    else:
        assert (received.raw, received.sha256) == (None, hashlib.sha256(body).hexdigest())
        assert files(bodies) == [bodies.path(received.sha256 or "")]


@pytest.mark.anyio
async def test_a_large_body_is_kept_byte_for_byte_and_its_long_string_noted(bodies: Bodies) -> None:
    body = b"".join(large())
    received = await read(sender(large()), bodies, declared=len(body))
    assert received.sha256 == hashlib.sha256(body).hexdigest()
    assert files(bodies) == [bodies.path(received.sha256)]
    assert bodies.path(received.sha256).read_bytes() == body
    string = received.strings[0]
    assert string.path == ("response", "b64_video")
    assert body[string.offset : string.offset + string.length] == b"A" * 3 * MEBIBYTE
    assert received.payload["response"] == {"b64_video": {"$long_string": {"bytes": 3 * MEBIBYTE}}}
    assert received.digests.sha256 == received.sha256
    assert received.digests.strings[string.path].startswith(f"{3 * MEBIBYTE}-")


@pytest.mark.anyio
@pytest.mark.fault("B4")
@pytest.mark.parametrize("size", [50, 3 * MEBIBYTE])
async def test_the_admission_sees_every_byte(bodies: Bodies, size: int) -> None:
    signed = Signed(expected=hashlib.sha256(b"".join(large(size))).hexdigest())
    received = await read(sender(large(size)), bodies, admission=signed)
    assert signed.conclude() is None
    assert received.payload["video_id"] == "x"


@pytest.mark.anyio
@pytest.mark.fault("B4")
@pytest.mark.parametrize("chunks", [large(50), large(), [b"no JSON"], [b"{", b"x" * 5 * MEBIBYTE]])
async def test_a_body_that_is_not_believed_is_neither_judged_nor_kept(
    bodies: Bodies, chunks: list[bytes]
) -> None:
    signed = Signed(expected="something else")
    received = await read(sender(chunks), bodies, admission=signed)
    assert signed.conclude() == Denied("signature")
    assert (received.payload, received.sha256) == ({}, None)
    assert files(bodies) == []


@pytest.mark.anyio
async def test_a_signed_body_that_is_believed_is_judged(bodies: Bodies) -> None:
    body = b"no JSON" * 20_000
    with pytest.raises(BadBody):
        await read(sender([body]), bodies, admission=Signed(expected=hashlib.sha256(body).hexdigest()))
    assert files(bodies) == []


FAILURES: list[tuple[list[bytes | float], str, dict[str, Any], type[ReceiverError]]] = [
    ([b"["], "complete", {}, BadBody),
    ([b"[" * 100_000], "complete", {}, BadBody),
    ([*large(), b"}"], "complete", {}, BadBody),
    ([*large()[:-1]], "complete", {}, BadBody),
    ([b'{"a":"', b"A" * 3 * MEBIBYTE, b"\x01", b"A" * 3 * MEBIBYTE], "silence", {}, BadBody),
    ([b"{"], "disconnect", {}, Disconnected),
    (list(large()), "disconnect", {}, Disconnected),
    ([b" " * 101], "silence", {"limit": 100}, TooLarge),
    ([b" " * 60, b" " * 41], "silence", {"limit": 100}, TooLarge),
    (list(large()), "silence", {"limit": 2 * MEBIBYTE}, TooLarge),
    ([b'{"a":"' + b" " * 5 * MEBIBYTE, *large()], "silence", {"limit": 6 * MEBIBYTE}, TooLarge),
    ([b" " * 5 * MEBIBYTE, *large()], "silence", {}, TooLarge),
    ([], "silence", {"limit": 100, "declared": 101}, TooLarge),
    ([], "silence", {"idle_seconds": 0.01}, TooSlow),
    ([b"{"], "silence", {"idle_seconds": 0.01}, TooSlow),
    ([b"{", *trickle(b"", 100)], "complete", {"idle_seconds": 0.05}, TooSlow),
    (list(large()), "silence", {"idle_seconds": 0.01}, TooSlow),
    ([b"{", *trickle(b" ", 1000)], "silence", {"grace_seconds": 0.02}, TooSlow),
    (list(large()), "complete", {"declared": 2**60, "limit": 2**61}, Unavailable),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("chunks", "end", "options", "error"), FAILURES)
async def test_a_failure_leaves_nothing_behind(
    bodies: Bodies, chunks: list[bytes | float], end: str, options: dict[str, Any], error: type[ReceiverError]
) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(error):
            await read(sender(chunks, end=end), bodies, **options)
    assert files(bodies) == []


@pytest.mark.anyio
async def test_exactly_the_limit_is_read(bodies: Bodies) -> None:
    body = b"".join(large())
    assert (await read(sender(large()), bodies, limit=len(body))).size == len(body)


@pytest.mark.anyio
async def test_time_that_we_need_ourselves_does_not_count(bodies: Bodies) -> None:
    class SlowDisk(Signed):
        def feed(self, chunk: bytes) -> None:
            time.sleep(0.05)

        def conclude(self) -> None:
            return None

    received = await read(
        sender(large()), bodies, admission=SlowDisk(), idle_seconds=0.03, grace_seconds=0, minimum_rate=10**8
    )
    assert received.sha256 is not None


@pytest.mark.anyio
@pytest.mark.parametrize("chunks", [[b"{"], large(), large(100_000)])
async def test_cancelling_leaves_nothing_behind(bodies: Bodies, chunks: list[bytes]) -> None:
    is_silent = asyncio.Event()

    async def receive(chunks: list[bytes] = list(chunks)) -> dict[str, Any]:  # noqa: B006
        if not chunks:
            is_silent.set()
            await asyncio.Event().wait()
        return message(chunks.pop(0), more=True)

    reading = asyncio.create_task(read(receive, bodies))
    await is_silent.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert files(bodies) == []


@pytest.mark.anyio
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "open", "statvfs"])
async def test_a_disk_that_fails_means_unavailable(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    (bodies.directory / "incoming").mkdir(parents=True)

    def fail(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(Unavailable) as caught:
        await read(sender(large()), bodies)
    monkeypatch.undo()
    assert isinstance(caught.value.__cause__, OSError)
    assert files(bodies) == []


@pytest.mark.anyio
@pytest.mark.fault("C4")
async def test_the_reserve_stays_free(tmp_path: Path) -> None:
    bodies = Bodies(tmp_path, reserve=Bodies(tmp_path).free_bytes() + 2**30)
    assert (await read(sender(large(100)), bodies)).raw is not None
    with pytest.raises(Unavailable, match="space"):
        await read(sender(large()), bodies)
    bodies.close()
    assert files(bodies) == []


@pytest.mark.anyio
async def test_ended_threads_leave_nothing_behind(bodies: Bodies) -> None:
    bodies.close()
    with pytest.raises((RuntimeError, Unavailable)):
        await read(sender(large()), bodies)
    assert files(bodies) == []
