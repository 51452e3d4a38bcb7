"""A pool of threads knows whether something runs in it, whoever has stopped waiting for it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from receiver.threads import Threads


@pytest.mark.anyio
async def test_what_nobody_waits_for_any_more_still_runs() -> None:
    gate, has_begun = threading.Event(), threading.Event()

    def work() -> None:
        has_begun.set()
        gate.wait(20)

    with Threads(1, name="test") as threads:
        assert not threads.are_busy
        loop = asyncio.get_running_loop()
        waiter = loop.run_in_executor(threads, work)
        queued = loop.run_in_executor(threads, work)
        has_begun.wait(20)
        waiter.cancel()
        queued.cancel()
        await asyncio.wait([waiter, queued])
        assert threads.are_busy
        gate.set()
        threads.submit(int).result(20)
    assert not threads.are_busy


def test_a_function_that_fails_has_ended_too() -> None:
    with Threads(1, name="test") as threads:
        failed = threads.submit(int, "x")
        assert isinstance(failed.exception(20), ValueError)
    assert not threads.are_busy
