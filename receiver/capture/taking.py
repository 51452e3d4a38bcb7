"""From a capture to a store: what is known is passed over, what is new is durable before it has a row."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import BinaryIO, NamedTuple

from receiver.bodies import Bodies
from receiver.capture import layout
from receiver.capture.reading import Capture
from receiver.copies import CopiedDelivery, copy_of, read_line, take_body
from receiver.errors import BadCapture, BadCopy
from receiver.permits import Claim
from receiver.record import Verdict
from receiver.store.base import Store
from receiver.store.copies import COPIED, Copy, KeptVideo

_PIECE = 1 << 20
_BATCH = 200
_BATCH_BYTES = 8 << 20


class Taken(NamedTuple):
    """What became of the deliveries of a capture."""

    events: int = 0
    """New ones."""
    deliveries: int = 0
    """New ones."""
    known: int = 0
    """Deliveries that were there already."""
    left: tuple[str, ...] = ()
    """What could not be taken, and why."""


async def take(
    capture: Capture,
    store: Store,
    bodies: Bodies,
    *,
    now: Callable[[], int],
    largest: int,
    is_partial: bool = False,
    told: Callable[[int], None] = lambda deliveries: None,
) -> Taken:
    """Record the deliveries of a capture, without jobs; `now` is in unix milliseconds.

    Every line is read before the first is recorded, so that a capture that is not in order changes nothing;
    if `is_partial`, what is whole is taken. Raise BadCapture, and what store and bodies raise.
    """
    problems = list(_faults(capture))
    if problems and not is_partial:
        raise BadCapture("\n".join(problems[:20]))
    work = _Taking(capture, store, bodies, now, largest)
    for number, line in enumerate(capture.lines(), 1):
        try:
            await work.add(_readable(capture, line))
        except BadCopy as error:
            if not is_partial:
                await work.record()
                raise BadCapture(f"{layout.DELIVERIES} line {number}: {error}") from error
            problems += [] if _is_told(problems, number) else [_said(number, error)]
        told(number)
    await work.record()
    return work.taken._replace(left=tuple(problems))


def _said(number: int, error: BadCopy) -> str:
    return f"{layout.DELIVERIES} line {number}: {error}"


def _is_told(problems: list[str], number: int) -> bool:
    start = f"{layout.DELIVERIES} line {number}: "
    return any(problem.startswith(start) for problem in problems)


def _faults(capture: Capture) -> Iterator[str]:
    """What is wrong with the lines, or does not fit together with the rest."""
    counts: Counter[str] = Counter()
    for number, line in enumerate(capture.lines(), 1):
        counts["deliveries"] += 1
        try:
            delivery = _readable(capture, line)
        except BadCopy as error:
            yield _said(number, error)
            continue
        counts["events"] += delivery.news is not None
    for name in ("events", "deliveries"):
        announced = getattr(capture.manifest, name)
        if counts[name] != announced:
            yield f"there are {counts[name]} {name}, and {layout.MANIFEST} says {announced}"


def _readable(capture: Capture, line: bytes) -> CopiedDelivery:
    """Read a line; all that it refers to has to be there. Raise BadCopy."""
    delivery = read_line(line)
    if delivery.body is None:
        _find(capture, f"{layout.BODIES}{delivery.body_sha256}", delivery.bytes)
    if delivery.video is not None:
        _find(capture, f"{layout.VIDEOS}{delivery.event}", delivery.video.bytes)
    return delivery


def _find(capture: Capture, name: str, size: int) -> None:
    member = capture.members.get(name)
    if member is None:
        raise BadCopy(f"{name} is not there, or not whole")
    if member.size != size:
        raise BadCopy(f"{name} has another size than the line says")


class _Taking:
    """The deliveries that are on their way into the store."""

    def __init__(
        self, capture: Capture, store: Store, bodies: Bodies, now: Callable[[], int], largest: int
    ) -> None:
        self.taken = Taken()
        self._capture = capture
        self._store = store
        self._bodies = bodies
        self._now = now
        self._largest = largest
        self._event = ""
        self._seen: Counter[bytes] = Counter()
        self._batch: list[Copy] = []
        self._size = 0

    async def add(self, delivery: CopiedDelivery) -> None:
        """Take one; its body and its video are on disk when this returns. Raise BadCopy."""
        chunks = None
        if delivery.body is None:
            chunks = _chunks(self._capture.open(f"{layout.BODIES}{delivery.body_sha256}"))
        body = await take_body(delivery, chunks, bodies=self._bodies, limit=self._largest)
        video = None
        if delivery.video is not None:
            video = KeptVideo(delivery.video.sha256, delivery.video.bytes)
            with self._capture.open(f"{layout.VIDEOS}{delivery.event}") as file:
                await asyncio.to_thread(_keep, self._bodies, file, video)
        copy = copy_of(delivery, body, now=self._now(), nth=self._nth(delivery), video=video)
        self._batch.append(copy)
        self._size += len(copy.arrival.body or copy.arrival.payload or "")
        if len(self._batch) >= _BATCH or self._size >= _BATCH_BYTES:
            await self.record()

    def _nth(self, delivery: CopiedDelivery) -> int:
        """How many like it there were: the deliveries of an event stand together."""
        if delivery.event != self._event:
            self._event = delivery.event
            self._seen.clear()
        digest = hashlib.sha256(delivery.model_dump_json(exclude={"news", "video"}).encode()).digest()
        self._seen[digest] += 1
        return self._seen[digest]

    async def record(self) -> None:
        """Record what has gathered."""
        batch, self._batch, self._size = self._batch, [], 0
        verdicts = await self._store.copies.take(batch) if batch else []
        for copy, became in zip(batch, verdicts, strict=True):
            is_new = became == COPIED
            self.taken = self.taken._replace(
                events=self.taken.events + (is_new and copy.verdict == Verdict.ACCEPTED),
                deliveries=self.taken.deliveries + is_new,
                known=self.taken.known + (not is_new),
            )


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece


def _keep(bodies: Bodies, file: BinaryIO, video: KeptVideo) -> None:
    """Put a video among the body files, durably. Raise BadCopy for another one than was announced."""
    claim = Claim(bodies.room, video.bytes)
    spool = bodies.spool()
    try:
        digest = hashlib.sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
            spool.write(piece)
        if digest.hexdigest() != video.sha256:
            raise BadCopy("video: it is not the one that belongs to the event")
        spool.keep(video.sha256)
    finally:
        spool.discard()
        claim.close()
