"""What the store does when it is asked over its socket: a verb, its arguments, its answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from receiver.errors import Unavailable, Unstorable
from receiver.record import Arrival
from receiver.store.copies import VERBS as COPIES
from receiver.store.findings import Learned
from receiver.store.replays import VERBS as REPLAYS
from receiver.store.service import Service
from receiver.store.submissions import Intent
from receiver.store.values import EventFilter, Keep, Rejection, Settlement
from receiver.store.watches import NewWatch, Seen


async def _record(service: Service, arguments: Any) -> list[tuple[str | None, ...]]:
    deadline, rows = arguments
    if time.monotonic() > deadline:  # one clock for all processes of a machine
        raise Unavailable("the sender has been told already that it was not recorded")
    receipts = await service.record_batch([Arrival(*row) for row in rows])
    return [(None, str(one)) if isinstance(one, Unstorable) else tuple(one) for one in receipts]


async def _release(service: Service, worker: str, died: str | None) -> list[tuple[Any, ...]]:
    return [tuple(lost) for lost in await service.release(worker, died=died)]


async def _following(service: Service, wanted: Any, limit: int, after: int) -> tuple[Any, ...]:
    return tuple(await service.following(EventFilter(*wanted), limit=limit, after=after))


async def _prune(service: Service, keep: Any, step: Any, count: int) -> tuple[Any, ...]:
    return tuple(await service.prune(Keep(*keep), step, count=count))


async def _prunable(service: Service, keep: Any) -> tuple[Any, ...]:
    return tuple(await service.prunable(Keep(*keep)))


def _of_replays(name: str) -> Callable[[Service, Any], Awaitable[Any]]:
    return lambda service, a: REPLAYS[name](service.replays, a)


def _of_copies(name: str) -> Callable[[Service, Any], Awaitable[Any]]:
    return lambda service, a: COPIES[name](service.copies, a)


async def _watches_due(
    service: Service, sources: list[str], count: int, wait_ms: int, busy: list[int]
) -> list[tuple[Any, ...]]:
    found = await service.watches.due(sources, count=count, wait_ms=wait_ms, busy=busy)
    return [tuple(watch) for watch in found]


async def _expire(service: Service, watch: int, arrival: Any) -> tuple[Any, ...] | None:
    receipt = await service.watches.expire(watch, Arrival(*arrival))
    return None if receipt is None else tuple(receipt)


async def _watches(service: Service, source: str | None, ended: bool, limit: int) -> list[tuple[Any, ...]]:
    found = await service.watches.page(source=source, ended=ended, limit=limit)
    return [tuple(watch) for watch in found]


async def _watch_of(service: Service, source: str, video_id: str) -> tuple[Any, ...] | None:
    watch = await service.watches.of(source, video_id)
    return None if watch is None else tuple(watch)


async def _intend(service: Service, intent: Any, again: bool) -> tuple[Any, ...] | None:
    earlier = await service.submissions.intend(Intent(*intent), again=again)
    return None if earlier is None else tuple(earlier)


async def _settle_submission(
    service: Service, submission: str, outcome: str, at: int, video_id: str | None, error: str | None
) -> bool:
    return await service.submissions.settle(submission, outcome, at=at, video_id=video_id, error=error)


async def _submissions(service: Service, source: str | None, limit: int) -> list[tuple[Any, ...]]:
    return [tuple(each) for each in await service.submissions.page(source=source, limit=limit)]


async def _unclear_submissions(service: Service, before: int, limit: int) -> list[tuple[Any, ...]]:
    return [tuple(each) for each in await service.submissions.unclear(before=before, limit=limit)]


# What travels is an array of arguments; named tuples are built again on this side.
VERBS: dict[str, Callable[[Service, Any], Awaitable[Any]]] = {
    "record": _record,
    "reject": lambda service, rows: service.reject([Rejection(*row) for row in rows]),
    "claim": lambda service, a: service.claim(a[0], a[1], count=a[2], wait_ms=a[3], alone=a[4]),
    "settle": lambda service, a: service.settle([Settlement(*row) for row in a[1]], worker=a[0]),
    "renew": lambda service, a: service.renew(a[0], a[1]),
    "release": lambda service, a: _release(service, *a),
    "suspects": lambda service, a: service.suspects(),
    "events": lambda service, a: service.events(EventFilter(*a[0]), limit=a[1], before=a[2]),
    "id_of": lambda service, seq: service.id_of(seq),
    "following": lambda service, a: _following(service, *a),
    "newest": lambda service, a: service.newest(after=a[0], wait_ms=a[1]),
    "event": lambda service, a: service.event(a),
    "rejections": lambda service, a: service.rejections(limit=a),
    "probe": lambda service, a: service.probe(),
    "status": lambda service, a: service.status(),
    "figures": lambda service, a: service.figures(),
    "bodies_in_use": lambda service, a: service.bodies_in_use(a),
    "all_bodies": lambda service, a: service.all_bodies(),
    "publish": lambda service, cards: service.publish(cards),
    "published": lambda service, a: service.published(),
    "check": lambda service, a: service.check(),
    "prune": lambda service, a: _prune(service, *a),
    "prunable": _prunable,
    **{name: _of_replays(name) for name in REPLAYS},
    **{name: _of_copies(name) for name in COPIES},
    "watches.add": lambda service, rows: service.watches.add([NewWatch(*row) for row in rows]),
    "watches.due": lambda service, a: _watches_due(service, *a),
    "watches.note": lambda service, a: service.watches.note(a[0], Seen(*a[1])),
    "watches.end": lambda service, a: service.watches.end(*a),
    "watches.expire": lambda service, a: _expire(service, *a),
    "watches.page": lambda service, a: _watches(service, *a),
    "watches.of": lambda service, a: _watch_of(service, *a),
    "findings.learn": lambda service, row: service.findings.learn(Learned(*row)),
    "findings.refute": lambda service, a: service.findings.refute(a[0], Rejection(*a[1])),
    "submissions.intend": lambda service, a: _intend(service, *a),
    "submissions.settle": lambda service, a: _settle_submission(service, *a),
    "submissions.forget": lambda service, prefix: service.submissions.forget(prefix),
    "submissions.page": lambda service, a: _submissions(service, *a),
    "submissions.unclear": lambda service, a: _unclear_submissions(service, *a),
}
