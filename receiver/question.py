"""One question: how does this video stand? Its answer is recorded as a callback would be."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from receiver.announcer import Announcer
from receiver.asking import Told, refused
from receiver.bodies import Bodies
from receiver.body import ReceivedBody
from receiver.errors import BadBody, Hopeless, Unavailable, Unfinished
from receiver.intervals import Intervals, is_over
from receiver.passing import keep, passing
from receiver.ration import Ration
from receiver.record import Arrival
from receiver.recording import Plans, arrival_of
from receiver.sources.base import Admission, ApiRequest, Source
from receiver.store.base import Intake
from receiver.store.values import Receipt
from receiver.store.watches import Outcome, Seen, Watch, Watches
from receiver.watching import given_up

Ask = Callable[[ApiRequest, int, Bodies], Awaitable[Told]]
"""Send a request, for an answer of at most so many bytes, whose body is kept there; see `asking.ask`."""

_BUSY_SECONDS = 5.0
"""How long a provider that has enough of us, and doesn't say for how long, is left in peace."""
_NOT_NOW = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a question has brought."""

    outcome: Outcome
    error: str | None = None
    arrival: Arrival | None = None
    """What the answer says of the video, when it says anything."""
    retry_after_seconds: float | None = None
    poll_after_seconds: float | None = None
    is_enough: bool = False
    """Whether the provider wants no more questions for now, about whichever video."""


@dataclass
class Inquirer:
    """Asks, records and notes. Raise Unavailable and StoreError when the store can't be told."""

    ask: Ask
    intake: Intake
    watches: Watches
    plans: Plans
    bodies: Bodies
    intervals: Intervals
    wall: Callable[[], int]
    """Unix milliseconds."""
    log: Any
    bytes_of: Callable[[int], bytes] = os.urandom
    luck: Callable[[], float] = random.random
    _announcer: Announcer = field(init=False)
    _ration: Ration = field(init=False)

    def __post_init__(self) -> None:
        self._announcer = Announcer(self.log)
        self._ration = Ration(lambda untold: self.log.warning("watches.summed", **untold))

    async def inquire(self, source: Source, watch: Watch) -> float | None:
        """Ask about a video once; return for how many seconds its provider wants peace, if it does."""
        async with passing(self.bodies) as bodies:
            finding = await self._find(source, watch, bodies)
            is_end = finding.outcome in (Outcome.COMPLETED, Outcome.FAILED)
            is_first = finding.outcome is Outcome.PROGRESS and watch.event is None
            if finding.arrival is not None and (is_end or is_first):
                receipt = await self._record(finding.arrival, bodies)
                if is_end:
                    how = {"ending": finding.outcome.value, "verdict": receipt.verdict}
                    self.log.info("watch.ended", **_named(watch), **how)
        await self._note(watch, finding)
        if not is_end:
            await self._give_up_in_time(source, watch, finding)
        return max(finding.retry_after_seconds or 0.0, _BUSY_SECONDS) if finding.is_enough else None

    async def _record(self, arrival: Arrival, bodies: Bodies) -> Receipt:
        if arrival.body_sha256 is not None:
            try:
                await keep(arrival.body_sha256, source=bodies, target=self.bodies)
            except OSError as error:
                raise Unavailable(f"the answer can't be kept: {error.strerror}") from error
        receipt = await self.intake.record(arrival)
        self._announcer.announce(arrival, receipt)
        return receipt

    async def _find(self, source: Source, watch: Watch, bodies: Bodies) -> Finding:
        request = source.status_request(watch.video_id)
        if request is None:
            return Finding(Outcome.REFUSED, "no key is configured for asking")
        try:
            told = await self.ask(request, source.max_body, bodies)
            return self._understand(source, watch, request, told)
        except Hopeless as error:
            return Finding(Outcome.REFUSED, str(error))
        except Unfinished as error:
            return Finding(Outcome.UNANSWERED, str(error), retry_after_seconds=error.retry_after_seconds)
        except Unavailable as error:  # the answer can't be kept: we are to blame, and it may pass
            return Finding(Outcome.UNANSWERED, error.reason)
        except BadBody as error:
            return Finding(Outcome.REFUSED, f"the answer can't be understood: {error.reason}")

    def _understand(self, source: Source, watch: Watch, request: ApiRequest, told: Told) -> Finding:
        body = told.body
        finding = _refusal(source, told) if body is None else self._read(source, watch, request, body)
        retry_after, poll_after = told.retry_after_seconds, told.poll_after_seconds
        return replace(finding, retry_after_seconds=retry_after, poll_after_seconds=poll_after)

    def _read(self, source: Source, watch: Watch, request: ApiRequest, body: ReceivedBody) -> Finding:
        arrival = arrival_of(
            source,
            Admission(watch.video_id),
            body,
            via="poll",
            method=request.method,
            path=request.path,
            headers="[]",
            plans=self.plans,
            now=self.wall(),
            random=self.bytes_of,
        )
        if arrival.identity != watch.identity:
            return Finding(Outcome.REFUSED, "the answer is about another video")
        is_known = arrival.what in (Outcome.PROGRESS, Outcome.COMPLETED, Outcome.FAILED)
        return Finding(Outcome(arrival.what) if is_known else Outcome.UNKNOWN, arrival=arrival)

    async def _note(self, watch: Watch, finding: Finding) -> None:
        now = self.wall()
        next_at = self.intervals.next_at(
            now,
            asked=watch.asked,
            deadline_at=watch.deadline_at,
            random=self.luck(),
            poll_after_seconds=finding.poll_after_seconds,
            retry_after_seconds=finding.retry_after_seconds,
        )
        status = finding.arrival.status if finding.arrival else None
        progress = finding.arrival.progress if finding.arrival else None
        seen = Seen(finding.outcome.value, now, next_at, status, progress, finding.error)
        await self.watches.note(watch.seq, seen)
        is_new = finding.error is not None and finding.error != watch.last_error
        if is_new and self._ration.allows(finding.outcome.value):
            self.log.warning("watch.refused", **_named(watch), reason=finding.error)

    async def _give_up_in_time(self, source: Source, watch: Watch, finding: Finding) -> None:
        """Record that nothing was heard of a video whose deadline has passed."""
        unanswered = watch.unanswered + 1 if finding.outcome is Outcome.UNANSWERED else 0
        now = self.wall()
        if not is_over(now, deadline_at=watch.deadline_at, unanswered=unanswered):
            return
        seen = finding.arrival.status if finding.arrival else None
        latest = watch._replace(status=seen or watch.status)
        arrival = given_up(source, latest, plans=self.plans, now=now, random=self.bytes_of)
        receipt = await self.watches.expire(watch.seq, arrival)
        if receipt is None:  # its end came at the last moment
            return
        self._announcer.announce(arrival, receipt)
        self.log.warning("watch.expired", **_named(watch), last_seen=latest.status)


def _named(watch: Watch) -> dict[str, str]:
    return {"source": watch.source, "video": watch.video_id}


def _refusal(source: Source, told: Told) -> Finding:
    """What an answer means that says nothing of the video."""
    is_busy = told.status == HTTPStatus.TOO_MANY_REQUESTS
    is_later = is_busy or told.status in _NOT_NOW or told.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    outcome = Outcome.UNANSWERED if is_later else Outcome.REFUSED
    is_enough = is_busy or (is_later and told.retry_after_seconds is not None)
    return Finding(outcome, str(refused(told, source=source.name)), is_enough=is_enough)
