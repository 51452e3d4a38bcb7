"""Ending attempts, many at a time; what of them can't be stored ends its own job, and no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from receiver import logs
from receiver.errors import Unstorable
from receiver.life import Move
from receiver.store.commits import GroupCommit
from receiver.store.refusals import in_place_of
from receiver.store.sqlite.jobs import Jobs
from receiver.store.values import Settlement


class Settling:
    """The settlements of workers on their way into the database."""

    def __init__(self, jobs: Jobs, commits: GroupCommit, *, wall: Callable[[], int]) -> None:
        self._jobs = jobs
        self._commits = commits
        self._wall = wall
        self._log = logs.get()

    async def settle(self, settlements: Sequence[Settlement], *, worker: str) -> list[Move | None]:
        """End attempts; say by which move each job has ended, None where it is no longer this worker's."""
        settled = await self._write(settlements, worker)
        moves = []
        for settlement, result in zip(settlements, settled, strict=True):
            if isinstance(result, Unstorable):
                moves.append(await self._fail(settlement, result, worker))
            else:
                moves.append(Move(settlement.move) if result else None)
        return moves

    async def _fail(self, settlement: Settlement, error: Unstorable, worker: str) -> Move | None:
        self._log.error("settlement.refused", job=settlement.job, worker=worker, reason=str(error))
        (is_settled,) = await self._write([in_place_of(settlement, error, now=self._wall())], worker)
        return Move.FAIL if is_settled is True else None

    async def _write(self, settlements: Sequence[Settlement], worker: str) -> Sequence[bool | Unstorable]:
        def settle(some: Sequence[Settlement]) -> list[bool]:
            return self._jobs.settle(some, worker=worker)

        return await self._commits.write_each(settle, settlements)
