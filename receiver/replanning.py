"""Which jobs a replay makes of an event, by the jobs that it has had: a pure decision."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from receiver.life import FINAL_STATES, JobState
from receiver.record import JobRow, Wish
from receiver.router import HandlerCard, PlannedJob, plan


class Had(NamedTuple):
    """What an event has had of one handler."""

    state: str
    """Of its last job."""
    has_result: bool
    """Whether any of its jobs is done."""


class Replanned(NamedTuple):
    """What becomes of one event."""

    jobs: tuple[JobRow, ...]
    """New jobs; one that is `ready` although it waits for another gets that one's last stored result."""
    left: tuple[tuple[str, str], ...]
    """Handlers that want such an event and get no job, each with the reason."""


class Replanner:
    """Plans one replay; what was planned once is remembered."""

    def __init__(self, wish: Wish) -> None:
        self._cards = [HandlerCard.from_json(card) for card in wish.cards]
        self._named = frozenset(wish.handlers)
        self._again = wish.again
        self._firsts = {tuple(event): first for *event, first in wish.firsts}
        self._planned: dict[tuple[Any, ...], Replanned] = {}

    def plan(
        self,
        source: str,
        kind: str,
        type: str,  # noqa: A002 - the event's own word
        via: str,
        last: Mapping[str, str],
        done: Collection[str],
        *,
        has_object: bool = False,
    ) -> Replanned:
        """What an event of this kind gets that came this way.

        `last` is the state of each handler's last job, `done` are the handlers with a job that is done.
        `has_object`: what its provider says of the video is stored already, whoever looked it up.
        """
        key = (source, kind, type, via, has_object, *last.items(), *done)
        if key not in self._planned:
            had = {handler: Had(state, handler in done) for handler, state in last.items()}
            first = self._firsts.get((source, kind, type, via))
            if first is not None and has_object:
                had[first] = Had(JobState.DONE.value, has_result=True)
            planned = plan(self._cards, source=source, type=type, first=first)
            self._planned[key] = replan(planned, had, named=self._named, again=self._again, first=first)
        return self._planned[key]


def replan(
    planned: Sequence[PlannedJob],
    had: Mapping[str, Had],
    *,
    named: Collection[str] = (),
    again: bool = False,
    first: str | None = None,
) -> Replanned:
    """Choose among the jobs that a new event would get.

    A handler that failed, was cancelled or has had no job runs. One that is done or still to run does
    only when it is named, or with `again`. What comes after a handler that runs is made anew; alone,
    it gets the last stored result. The receiver's own job, `first`, runs only if it has no result and
    somebody needs it.
    """
    by_name = {job.handler: job for job in planned}
    chosen: dict[str, JobRow] = {}
    left: dict[str, str] = {}
    for job in sorted(planned, key=lambda job: _depth(job, by_name)):
        name, after = job.handler, job.after
        if name == first:
            continue
        if after is not None and after in chosen and after != first:
            chosen[name] = (name, JobState.WAITING.value, after, None)
        elif not named or name in named:
            reason = _hindrance(job, had, is_wished=again or name in named, first=first)
            if reason is not None:
                left[name] = reason
            elif after is None or had.get(after, _NONE).has_result:
                chosen[name] = (name, JobState.READY.value, after, None)
            else:  # after the receiver's own job, which is made anew, too
                chosen[after] = (after, JobState.READY.value, None, None)
                chosen[name] = (name, JobState.WAITING.value, after, None)
    jobs = tuple(chosen[job.handler] for job in planned if job.handler in chosen)
    return Replanned(jobs, tuple((name, left[name]) for name in by_name if name in left))


_NONE = Had("", has_result=False)


def _hindrance(job: PlannedJob, had: Mapping[str, Had], *, is_wished: bool, first: str | None) -> str | None:
    """Why a handler gets no job; None when it does."""
    if job.state is JobState.CANCELLED:
        return job.reason
    was = had.get(job.handler)
    if was is not None and not is_wished:
        if was.state == JobState.DONE:
            return "it is done"
        if was.state not in FINAL_STATES:
            return "it is still to run"
    before = _NONE if job.after is None else had.get(job.after, _NONE)
    if job.after is None or before.has_result:
        return None
    if job.after == first and (not before.state or before.state in FINAL_STATES):
        return None
    return f"it comes after {job.after}, which has no result"


def _depth(job: PlannedJob, by_name: Mapping[str, PlannedJob]) -> int:
    """How many jobs come before it; what is born cancelled comes last."""
    depth = 0
    while job.state is not JobState.CANCELLED and job.after is not None:
        job = by_name[job.after]
        depth += 1
    return len(by_name) if job.state is JobState.CANCELLED else depth
