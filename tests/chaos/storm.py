"""Many videos from a sandbox that misbehaves, while the receiver's processes are killed every few seconds."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event

from receiver.sandbox.mischief import Mischief
from tests.acceptance.conftest import Receiver, until
from tests.chaos.report import Report
from tests.chaos.verdict import judge
from tests.chaos.weather import MISCHIEF, Weather, brewing
from tests.torture.stand import unfinished

SOONEST, LATEST = 1.5, 4.0
"""Seconds between two kills."""
VICTIMS = {"serve": "", "store": "receiver.store.process", "worker": "receiver.worker"}
OPTIONS = ("--handlers", "save_video", "--handlers", "log")
_QUIET_SECONDS = 120.0


def chaos(
    folder: Path,
    *,
    videos: int,
    seconds: float,
    seed: int,
    chance: random.Random,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Ask for so many videos in so many seconds, kill meanwhile, wait until all is quiet, and judge.

    `seed` decides what goes wrong with which video, `chance` when which process is killed.
    """
    report = Report()
    with (
        standing(folder, replace(MISCHIEF, seed=seed)) as (receiver, weather),
        ThreadPoolExecutor(1) as thread,
    ):
        over = Event()
        asking = thread.submit(_ask, weather, hook_of(receiver), videos, seconds, over)
        try:
            _kill_until(asking, receiver, report, chance, tell)
        finally:
            over.set()
        asking.result()
        settle(receiver, weather)
        judge(receiver, weather, report)
    return report


@contextmanager
def standing(
    folder: Path, mischief: Mischief, *, options: Sequence[str] = OPTIONS
) -> Iterator[tuple[Receiver, Weather]]:
    """A sandbox, and a receiver that is ready for it."""
    # It keeps its address, and callbacks wait in the socket while nobody serves it.
    with (
        brewing(mischief) as weather,
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
        Receiver(folder, listener=listener) as receiver,
    ):
        receiver.configure('[bodies]\nreserve = "1MiB"\n', s3_base_url=f"{weather.url}/videofs")
        receiver.start(*options).ready()
        yield receiver, weather


def hook_of(receiver: Receiver) -> str:
    """Where the sandbox calls back."""
    return f"{receiver.url}/webhooks/opennote"


def settle(receiver: Receiver, weather: Weather) -> None:
    """Wait for the end of every callback and every job, and stop the receiver."""
    until(
        lambda: all(job["is_over"] for job in weather.jobs()),
        seconds=_QUIET_SECONDS,
        what="the end of every callback",
    )
    database = receiver.folder / "data" / "receiver.db"
    until(lambda: unfinished(database) == 0, seconds=_QUIET_SECONDS, what="the end of every job")
    assert receiver.stop(signal.SIGTERM) == 0


def _ask(weather: Weather, hook: str, videos: int, seconds: float, over: Event) -> None:
    """Ask for one video after the other, evenly, until all is over."""
    for number in range(videos):
        weather.ask(number, hook)
        if over.wait(seconds / videos):
            return


def _kill_until(
    done: Future[None],
    receiver: Receiver,
    report: Report,
    chance: random.Random,
    tell: Callable[[str], None],
) -> None:
    order: list[str] = []
    while not done.done() or report.kills.keys() != VICTIMS.keys():
        time.sleep(chance.uniform(SOONEST, LATEST))
        order = order or chance.sample(list(VICTIMS), len(VICTIMS))
        victim = order.pop()
        _strike(receiver, victim)
        report.kills[victim] += 1
        tell(f"{sum(report.kills.values())} kills, the last one of {victim}")


def _strike(receiver: Receiver, victim: str) -> None:
    if VICTIMS[victim]:
        with suppress(ProcessLookupError):
            os.kill(receiver.child(VICTIMS[victim]), signal.SIGKILL)
        return
    os.kill(receiver.pid, signal.SIGKILL)
    receiver.wait()
    receiver.start(*OPTIONS)
