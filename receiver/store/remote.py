"""The store's verbs from another process: the client of its Unix socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from receiver.errors import StoreDown, StoreError, Unavailable, Unstorable
from receiver.record import Arrival
from receiver.store import wire
from receiver.store.base import resolve
from receiver.store.copies import RemoteCopies
from receiver.store.findings import RemoteFindings
from receiver.store.link import Link
from receiver.store.refusals import in_place_of
from receiver.store.replays import RemoteReplays
from receiver.store.submissions import RemoteSubmissions
from receiver.store.values import (
    EventFilter,
    Keep,
    Lost,
    Pruned,
    Receipt,
    Recorded,
    Rejection,
    Row,
    Settlement,
    Stretch,
)
from receiver.store.watches import RemoteWatches

_ANSWER_SECONDS = 10.0
_RECORD_SECONDS = 3.0
"""Senders give up after a few seconds; a store that takes longer is as good as away."""
_LARGEST_BATCH = 512
_LARGEST_BATCH_BYTES = 8 * 2**20


class Remote:
    """A store in another process. A lost connection is made again with the next request."""

    redactor_key: bytes

    def __init__(self, database: Path, *, run: str | None = None) -> None:
        """`run` is the `serve` whose store is meant; without it, whichever store serves the database."""
        self._database = database
        self._path = wire.socket_path(database)
        self._run = run
        self._link: Link | None = None
        self._connecting = asyncio.Lock()
        self._batch: list[tuple[Arrival, Recorded]] = []
        self._sender: asyncio.Task[None] | None = None
        self.watches = RemoteWatches(self._ask)
        self.findings = RemoteFindings(self._ask)
        self.submissions = RemoteSubmissions(self._ask)
        self.replays = RemoteReplays(self._ask)
        self.copies = RemoteCopies(self._ask)

    async def connect(self) -> Remote:
        """Connect and compare versions. Raise StoreDown (nobody serves), StoreError (another version)."""
        async with self._connecting:
            if self._link is None or not self._link.is_open:
                self._link = await self._dial()
        return self

    async def _dial(self) -> Link:
        loop = asyncio.get_running_loop()
        try:
            with wire.short_name(self._path) as name:
                _, link = await loop.create_unix_connection(Link, name)
        except OSError as error:
            raise StoreDown("no store is running") from error
        try:
            greeting = await self._answer(link.request("hello", wire.PROTOCOL))
            if self._run not in (None, greeting["run"]):
                raise StoreDown("the store of another server still has the database")
        except (StoreDown, StoreError):
            link.close()
            raise
        self.redactor_key = bytes.fromhex(greeting["redactor_key"])
        return link

    async def _ask(self, verb: str, arguments: Any, *, seconds: float = _ANSWER_SECONDS) -> Any:
        link = self._link
        if link is None or not link.is_open:
            await self.connect()
            link = self._link
            assert link is not None  # noqa: S101 - connect has just set it
        return await self._answer(link.request(verb, arguments), seconds=seconds)

    async def _answer(self, future: asyncio.Future[Any], *, seconds: float = _ANSWER_SECONDS) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError as error:
            raise StoreDown(f"the store did not answer within {seconds:g} s") from error

    # Recording: what arrives while a batch is on its way makes the next one.

    def record_soon(self, arrival: Arrival, recorded: Recorded) -> None:
        """See `base.Intake`."""
        self._batch.append((arrival, recorded))
        if self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send_batches())

    async def record(self, arrival: Arrival) -> Receipt:
        """See `base.Intake`."""
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.record_soon(arrival, partial(resolve, future))
        return await future

    async def _send_batches(self) -> None:
        try:
            while self._batch:
                await self._record(self._take())
        finally:
            self._sender = None

    async def _record(self, batch: list[tuple[Arrival, Recorded]]) -> None:
        """Have a batch recorded, and tell; when one of it can't be sent, halve it until that one is alone."""
        try:
            receipts = await self._ask_to_record([tuple(arrival) for arrival, _ in batch])
        except Unstorable as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            middle = len(batch) // 2
            await self._record(batch[:middle])
            await self._record(batch[middle:])
        except (Unavailable, StoreError) as error:
            _fail(batch, error)
            if isinstance(error, StoreDown):  # nor is it there for those that came meanwhile
                waiting, self._batch = self._batch, []
                _fail(waiting, error)
        else:
            for (_, recorded), (verdict, said) in zip(batch, receipts, strict=True):
                recorded(Unstorable(said) if verdict is None else Receipt(verdict, said))

    async def _ask_to_record(self, rows: list[Any]) -> Any:
        """The store records nothing that it comes to after the deadline: the senders have a 503 by then."""
        deadline = time.monotonic() + _RECORD_SECONDS
        return await self._ask("record", [deadline, rows], seconds=_RECORD_SECONDS)

    def _take(self) -> list[tuple[Arrival, Recorded]]:
        taken = size = 0
        for arrival, _ in self._batch[:_LARGEST_BATCH]:
            size += arrival.size if arrival.body is not None else len(arrival.payload or "")
            if taken and size > _LARGEST_BATCH_BYTES:
                break
            taken += 1
        batch, self._batch = self._batch[:taken], self._batch[taken:]
        return batch

    async def reject(self, rejections: Sequence[Rejection]) -> None:
        """See `base.Intake`."""
        await self._ask("reject", [tuple(rejection) for rejection in rejections])

    async def claim(
        self, worker: str, free: Mapping[str, int], *, count: int, wait_ms: int, alone: bool = False
    ) -> list[Row]:
        """See `base.Jobs`."""
        patience = _ANSWER_SECONDS + wait_ms / 1000
        arguments = [worker, dict(free), count, wait_ms, alone]
        rows: list[Row] = await self._ask("claim", arguments, seconds=patience)
        return rows

    async def settle(self, settlements: Sequence[Settlement], *, worker: str) -> list[bool]:
        """See `base.Jobs`."""
        try:
            settled: list[bool] = await self._ask("settle", [worker, [tuple(one) for one in settlements]])
        except Unstorable as error:  # one of them can't be sent
            if len(settlements) == 1:
                instead = in_place_of(settlements[0], error, now=time.time_ns() // 1_000_000)
                return list(await self._ask("settle", [worker, [tuple(instead)]]))
            middle = len(settlements) // 2
            first = await self.settle(settlements[:middle], worker=worker)
            return [*first, *await self.settle(settlements[middle:], worker=worker)]
        return settled

    async def renew(self, worker: str, jobs: Sequence[int] | None) -> None:
        """See `base.Jobs`."""
        await self._ask("renew", [worker, None if jobs is None else list(jobs)])

    async def release(self, worker: str, *, died: str | None = None) -> list[Lost]:
        """See `base.Jobs`."""
        return [Lost(*lost) for lost in await self._ask("release", [worker, died])]

    async def suspects(self) -> dict[str, int]:
        """See `base.Jobs`."""
        found: dict[str, int] = await self._ask("suspects", None)
        return found

    async def events(self, wanted: EventFilter, *, limit: int, before: int | None) -> list[Row]:
        """See `base.Reads`."""
        rows: list[Row] = await self._ask("events", [tuple(wanted), limit, before])
        return rows

    async def following(self, wanted: EventFilter, *, limit: int, after: int) -> Stretch:
        """See `base.Reads`."""
        return Stretch(*await self._ask("following", [tuple(wanted), limit, after]))

    async def id_of(self, seq: int) -> str | None:
        """See `base.Reads`."""
        found: str | None = await self._ask("id_of", seq)
        return found

    async def newest(self, *, after: int, wait_ms: int) -> int:
        """See `base.Reads`."""
        patience = _ANSWER_SECONDS + wait_ms / 1000
        return int(await self._ask("newest", [after, wait_ms], seconds=patience))

    async def event(self, prefix: str) -> Row:
        """See `base.Reads`."""
        row: Row = await self._ask("event", prefix)
        return row

    async def rejections(self, *, limit: int) -> list[Row]:
        """See `base.Reads`."""
        rows: list[Row] = await self._ask("rejections", limit)
        return rows

    async def probe(self) -> list[str]:
        """See `base.Reads`."""
        workers: list[str] = await self._ask("probe", None, seconds=_RECORD_SECONDS)
        return workers

    async def status(self) -> Row:
        """See `base.Reads`."""
        row: Row = await self._ask("status", None)
        return row

    async def figures(self) -> Row:
        """See `base.Reads`."""
        row: Row = await self._ask("figures", None)
        return row

    async def bodies_in_use(self, digests: Sequence[str]) -> list[str]:
        """See `base.Reads`."""
        found: list[str] = await self._ask("bodies_in_use", list(digests))
        return found

    async def all_bodies(self) -> list[str]:
        """See `base.Reads`."""
        found: list[str] = await self._ask("all_bodies", None)
        return found

    async def publish(self, cards: Sequence[Row]) -> None:
        """See `base.Store`."""
        await self._ask("publish", list(cards))

    async def published(self) -> list[Row]:
        """See `base.Store`."""
        cards: list[Row] = await self._ask("published", None)
        return cards

    async def check(self) -> list[str]:
        """See `base.Store`. A full check reads the whole file, so it may take minutes."""
        problems: list[str] = await self._ask("check", None, seconds=3600)
        return problems

    async def prune(self, keep: Keep, step: Sequence[Any] | None = None, *, count: int = 20) -> Pruned:
        """See `base.Upkeep`."""
        return Pruned(*await self._ask("prune", [tuple(keep), step, count]))

    async def prunable(self, keep: Keep) -> Pruned:
        """See `base.Upkeep`. It looks at every event that is old."""
        return Pruned(*await self._ask("prunable", tuple(keep), seconds=3600))

    async def backup(self, target: Path) -> list[str]:
        """See `base.Store`. It is this process that copies: the store's may see no other folders."""
        from receiver.store.sqlite.backup import copy

        return await copy(self._database, target)

    async def close(self) -> None:
        """Hang up."""
        if self._link is not None:
            self._link.close()


def _fail(batch: list[tuple[Arrival, Recorded]], error: Exception) -> None:
    for _, recorded in batch:
        recorded(error)
