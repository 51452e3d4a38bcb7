"""Threads that say whether they work: nothing else tells when what was started in one has ended."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """A pool that knows what is under way in it, cancelled by those who waited for it or not."""

    def __init__(self, most: int | None = None, *, name: str) -> None:
        super().__init__(most, name)
        self._under_way: set[Future[Any]] = set()

    @property
    def are_busy(self) -> bool:
        """Whether something runs, or waits for a thread; may be asked in any thread."""
        return bool(self._under_way)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See `concurrent.futures.Executor`."""
        future = super().submit(fn, *args, **kwargs)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future
