"""Recorded deliveries posted once more, byte for byte, as their sender would: with fresh credentials."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import orjson

from receiver import egress
from receiver.bodies import Bodies
from receiver.errors import Hopeless, Unfinished, UsageError, VideoError
from receiver.fetch import Fetcher, retry_after_seconds
from receiver.replay import Standing, lasting
from receiver.sources.base import Source
from receiver.store.base import Store
from receiver.store.values import Row
from receiver.tempo import Tempo, pause
from receiver.upload import Upload

if TYPE_CHECKING:
    import httpx

TRY_AGAIN = frozenset({408, 425, 429}) | frozenset(range(500, 600))
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 30.0
_ANSWER_BYTES = 64 * 1024
_EVENTS_AT_ONCE = 50
_LAST_SECONDS = 3.0
_GONE = "the body is gone"
_OK = range(200, 300)


class Posted(NamedTuple):
    """What came of one delivery."""

    event: str
    delivery: int
    """Which of the event's, from 1."""
    verdict: str
    """What it was when it came first."""
    bytes: int
    status: int | None
    """Of the last answer; None when there was none."""
    seconds: float
    """Of the last request."""
    requests: int
    error: str | None

    @property
    def is_accepted(self) -> bool:
        """Whether the other side took it."""
        return self.status in _OK


def target_of(url: str, *, sends_credentials: bool) -> httpx.URL:
    """Read where to: loopback, or https with leave to send credentials there. Raise UsageError."""
    try:
        target = egress.parse(url)
    except Hopeless as error:
        raise UsageError(f"--to: {error}") from None
    if not egress.names_loopback(target.host) and not sends_credentials:
        raise UsageError(
            f"--to: {target.host} is not this machine, and would get your credentials; "
            "say --send-credentials if that is what you want"
        )
    return target


class Reposting:
    """Posts deliveries to one target, one after another. Nothing is tried again unless `retries` says so."""

    def __init__(
        self,
        target: httpx.URL,
        *,
        sources: Mapping[str, Source],
        bodies: Bodies,
        fetcher: Fetcher,
        retries: int = 0,
        rate: float | None = None,
        last_seconds: float = _LAST_SECONDS,
    ) -> None:
        """`last_seconds` is what a request that is under way may still take after a stop."""
        self._target = target
        self._sources = sources
        self._bodies = bodies
        self._fetcher = fetcher
        self._retries = retries
        self._last_seconds = last_seconds
        self._tempo = Tempo(rate)

    async def run(
        self,
        store: Store,
        events: Sequence[int],
        standing: Standing,
        *,
        stop: asyncio.Event,
        told: Callable[[Posted, Standing], None],
    ) -> Standing:
        """Post every delivery of these events (`seq`), in their order; what becomes of it goes on record.

        When `stop` is set it ends after the request under way, or without its answer when that takes too
        long. What is posted to the very receiver whose deliveries these are makes new ones: those are not
        posted again, or there would be no end.
        """
        through = await store.copies.newest()
        try:
            for start in range(0, len(events), _EVENTS_AT_ONCE):
                batch = events[start : start + _EVENTS_AT_ONCE]
                async for row, number, is_last in numbered(store, batch, through=through):
                    if not await self._tempo.wait(stop=stop):
                        return standing
                    posted = await self._post_in_time(row, number, stop)
                    is_done = posted.is_accepted or not stop.is_set()
                    standing = await _noted(store, standing, posted, is_last=is_last and is_done)
                    told(posted, standing)
                    if not is_done:
                        return standing
                standing = await _passed_over(store, standing, start + len(batch))
        finally:
            await store.replays.end(standing.replay, is_through=standing.is_through)
        return standing

    async def _post_in_time(self, row: Row, number: int, stop: asyncio.Event) -> Posted:
        """Post one delivery; when there is a stop, its request has little time left."""
        posting = asyncio.ensure_future(self.post(row, number, stop=stop))
        try:
            if not await pause(asyncio.wait([posting]), stop=stop):
                await asyncio.wait([posting], timeout=self._last_seconds)
            if posting.done():
                return posting.result()
        finally:
            posting.cancel()
        error = "it was stopped before there was an answer"
        return Posted(row["event"], number, row["verdict"], row["bytes"], None, self._last_seconds, 1, error)

    async def post(self, row: Row, number: int, *, stop: asyncio.Event | None = None) -> Posted:
        """Post one delivery, a row of `copies.give`; after a stop nothing is tried again."""
        posted = Posted(row["event"], number, row["verdict"], row["bytes"], None, 0.0, 0, None)
        reason = hindrance(row, self._sources, self._bodies)
        if reason is not None:
            return posted._replace(error=reason)
        wait = _FIRST_WAIT_SECONDS
        for _ in range(1 + self._retries):
            if posted.requests and not await pause(asyncio.sleep(wait), stop=stop):
                break
            began, before = time.monotonic(), posted.requests
            posted, asked = await self._try(row, posted)
            posted = posted._replace(seconds=round(time.monotonic() - began, 3))
            if posted.requests == before:  # there is nothing to send, or nobody to whom it may be sent
                break
            if posted.is_accepted or (posted.status is not None and posted.status not in TRY_AGAIN):
                break
            wait = asked if asked is not None else min(2 * wait, _LONGEST_WAIT_SECONDS)
        return posted

    async def _try(self, row: Row, posted: Posted) -> tuple[Posted, float | None]:
        """Post it once; say how long the other side asks to wait, too."""
        with ExitStack() as stack:
            try:
                body = stack.enter_context(self._open(row))
                headers = await asyncio.to_thread(_signed, self._sources[row["source"]], row, body)
                assert headers is not None  # noqa: S101 - else there is a hindrance
                # The operator has named the target, as with `listen`: it may be in a network of theirs.
                async with self._fetcher.exchange(
                    "POST", self._target, headers, Upload(body), allow_private=True
                ) as answer:
                    with suppress(Hopeless, Unfinished):
                        await answer.read(limit=_ANSWER_BYTES)  # so that its connection can be used again
                    wait = retry_after_seconds(answer.headers.get("retry-after"), now=datetime.now(UTC))
                    posted = posted._replace(requests=posted.requests + 1)
                    return posted._replace(status=answer.status, error=_phrase(answer.status)), wait
            except FileNotFoundError:
                return posted._replace(status=None, error=_GONE), None
            except Hopeless as error:
                return posted._replace(status=None, error=str(error)), None
            except VideoError as error:
                posted = posted._replace(requests=posted.requests + 1)
                return posted._replace(status=None, error=str(error)), None

    def _open(self, row: Row) -> BinaryIO:
        if row["body"] is not None:
            return io.BytesIO(row["body"].encode())
        return self._bodies.open(row["body_sha256"])


def hindrance(row: Row, sources: Mapping[str, Source], bodies: Bodies) -> str | None:
    """Why a delivery, a row of `copies.give`, can't be posted from here; None when it can."""
    source = sources.get(row["source"])
    if source is None or source.kind != row["kind"]:
        return f"no source {row['source']} of kind {row['kind']} is configured here to sign for"
    if _signed(source, row, io.BytesIO()) is None:
        return f"a source of kind {source.kind} sends no such callback"
    if row["body"] is None and not bodies.path(row["body_sha256"]).is_file():
        return _GONE if row["body_removed_at"] is None else "the body was removed, as retention.bodies says"
    return None


def _signed(source: Source, row: Row, body: BinaryIO) -> dict[str, str] | None:
    kept = {name.lower(): value for name, value in orjson.loads(row["headers"])}
    return source.sign(kept, video_id=row["video_id"], body=body, at=datetime.now(UTC))


def _phrase(status: int) -> str | None:
    if status in _OK:
        return None
    with suppress(ValueError):
        return f"{status} {HTTPStatus(status).phrase}"
    return str(status)


async def _noted(store: Store, standing: Standing, posted: Posted, *, is_last: bool) -> Standing:
    return await _counted(store, standing, events=int(is_last), jobs=1, failed=int(not posted.is_accepted))


async def _counted(store: Store, standing: Standing, *, events: int, jobs: int, failed: int) -> Standing:
    async def count(standing: Standing) -> Standing:
        counts = {"events": events, "jobs": jobs, "failed": failed}
        await store.replays.count(standing.replay, **counts, at=standing.place)
        return standing._replace(
            events=standing.events + events, jobs=standing.jobs + jobs, failed=standing.failed + failed
        )

    return await lasting(store, standing, count)


async def _passed_over(store: Store, standing: Standing, through: int) -> Standing:
    """Count the events that have been removed since they were chosen: there is nothing to post."""
    removed = through - standing.events
    return await _counted(store, standing, events=removed, jobs=0, failed=0) if removed else standing


async def numbered(
    store: Store, events: Sequence[int], *, through: int | None = None
) -> AsyncIterator[tuple[Row, int, bool]]:
    """Deliveries with their numbers, from 1 in each event, and whether they are the last of it."""
    after, number = (-1, 0), 0
    before: Row | None = None
    while rows := await store.copies.give(events, after=after, through=through, limit=20):
        for row in rows:
            if before is not None:
                yield before, number, before["event"] != row["event"]
            number = number + 1 if before is not None and before["event"] == row["event"] else 1
            before = row
        after = (rows[-1]["place"], rows[-1]["seq"])
    if before is not None:
        yield before, number, True
