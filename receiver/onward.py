"""The handler of `listen --to`: each event's first delivery is posted to one URL, as its sender would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from receiver import sources
from receiver.bodies import Bodies
from receiver.event import Event
from receiver.fetch import Fetcher
from receiver.model import EVENT_TYPES
from receiver.outcome import Fail, Retry
from receiver.repost import TRY_AGAIN, Posted, Reposting, target_of
from receiver.router import Router
from receiver.settings import Settings
from receiver.store.remote import Remote

if TYPE_CHECKING:
    import httpx

NAME = "onward"


def check(url: str, *, sends_credentials: bool) -> None:
    """Raise UsageError for a URL that nothing may be posted to."""
    target_of(url, sends_credentials=sends_credentials)


def onward(config: Settings, url: str, *, sends_credentials: bool) -> Router:
    """A router whose one handler posts to `url`; whoever calls it has checked that."""
    target: httpx.URL = target_of(url, sends_credentials=sends_credentials)
    router = Router(name=NAME)
    fetcher = Fetcher(max_bytes=config.worker.max_video)
    reposting = Reposting(
        target, sources=sources.configured(config), bodies=Bodies(config.bodies_folder), fetcher=fetcher
    )

    @router.on(*EVENT_TYPES, timeout="1h", concurrency=4, name=NAME)
    async def post(event: Event) -> dict[str, Any]:
        """Post the delivery that made the event to where `listen --to` says."""
        store = Remote(config.database)
        try:
            row = await store.event(event.id)
            (first, *_) = await store.copies.give([row["seq"]], limit=1)
        finally:
            await store.close()
        return judged(await reposting.post(first, 1))

    return router


def judged(posted: Posted) -> dict[str, Any]:
    """What became of a request, as the outcome of an attempt."""
    if posted.is_accepted:
        return {"status": posted.status, "bytes": posted.bytes, "seconds": posted.seconds}
    reason = posted.error or "it was not accepted"
    if posted.requests and (posted.status is None or posted.status in TRY_AGAIN):
        raise Retry(reason=reason)
    raise Fail(reason)
