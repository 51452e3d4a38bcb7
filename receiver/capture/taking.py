"""From a capture to a store: what is known is passed over, what is new is durable before it has a row."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, NamedTuple

from receiver.bodies import Bodies
from receiver.capture import layout
from receiver.capture.reading import Capture
from receiver.capture.survey import Survey, name_of_body, readable, said
from receiver.copies import CopiedDelivery, copy_of, take_body
from receiver.errors import BadCapture, BadCopy
from receiver.permits import Claim
from receiver.record import Verdict
from receiver.store.base import Store
from receiver.store.copies import COPIED, STRAY, Copy, KeptVideo

_PIECE = 1 << 20
_BATCH = 200
_BATCH_BYTES = 8 << 20
_MOST_PROBLEMS = 20


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
    survey: Survey | None = None,
    told: Callable[[int], None] = lambda deliveries: None,
) -> Taken:
    """Record the deliveries of a capture, without jobs; `now` is in unix milliseconds.

    Every line is read before the first is recorded (`survey`, if somebody has done so already), so that a
    capture that is not in order changes nothing; if `is_partial`, what is whole is taken. Raise BadCapture,
    and what store and bodies raise.
    """
    survey = survey or Survey(capture, judges=not is_partial)
    if survey.problems and not is_partial:
        raise BadCapture("\n".join(survey.problems[:_MOST_PROBLEMS]))
    work = _Taking(capture, store, bodies, now, largest, survey)
    done, problems = 0, dict.fromkeys(survey.problems)
    for takes in (_is_any,) if survey.is_in_order else (_is_accepted, _is_other):
        for number, line in enumerate(capture.lines(), 1):
            try:
                delivery = readable(capture, line, needs_video=not is_partial)
                if takes(delivery):
                    await work.add(delivery)
            except BadCopy as error:
                if not is_partial:
                    await work.record()
                    raise BadCapture(said(number, error)) from error
                problems[said(number, error)] = None
            done = max(done, number)
            told(done)
    await work.record()
    if work.strays:
        problems[f"{work.strays} deliveries are left out: what they repeat is neither in it nor here"] = None
    return work.taken._replace(left=tuple(problems))


def _is_any(delivery: CopiedDelivery) -> bool:
    return True


def _is_accepted(delivery: CopiedDelivery) -> bool:
    return delivery.news is not None


def _is_other(delivery: CopiedDelivery) -> bool:
    return delivery.news is None


class _Taking:
    """The deliveries that are on their way into the store."""

    def __init__(
        self,
        capture: Capture,
        store: Store,
        bodies: Bodies,
        now: Callable[[], int],
        largest: int,
        survey: Survey,
    ) -> None:
        self.taken = Taken()
        self.strays = 0
        """Deliveries of an event that is neither here nor in the capture."""
        self._capture = capture
        self._store = store
        self._bodies = bodies
        self._now = now
        self._largest = largest
        self._survey = survey
        self._event = ""
        self._seen: Counter[bytes] = Counter()
        self._batch: list[Copy] = []
        self._size = 0

    async def add(self, delivery: CopiedDelivery) -> None:
        """Take one; its body and its video are on disk when this returns. Raise BadCopy."""
        chunks = None
        if delivery.body is None:
            chunks = _chunks(self._capture.open(name_of_body(delivery)))
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
        """How many like it there were; where the deliveries of an event stand together, only of this one."""
        if delivery.event != self._event and self._survey.is_in_order:
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
            # Of an event that was passed over, as its key is known, the others are known, too.
            if became == STRAY and self._survey.is_orphan(copy.arrival.event_id):
                self.strays += 1
                continue
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
