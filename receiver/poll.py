"""The process that asks providers for videos of whose end nobody has told; `serve` starts it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from typing import Any

from receiver import logs, settings, sources
from receiver.asking import Told, ask
from receiver.bodies import Bodies
from receiver.errors import ReceiverError, StoreDown, UsageError
from receiver.fetch import Fetcher
from receiver.intervals import Intervals
from receiver.lifeline import end_with_parent
from receiver.poller import Poller
from receiver.priority import step_back
from receiver.question import Inquirer
from receiver.recording import Plans
from receiver.router import HandlerCard
from receiver.settings import Settings
from receiver.sources.base import ApiRequest
from receiver.store.remote import Remote

_LONGEST_ANSWER_SECONDS = 900.0
"""An answer may carry a whole video; silences end it sooner."""
_STORE_AWAY_SECONDS = 0.2


class _Asking:
    """What the process keeps: connections, and what it was configured with."""

    def __init__(self, config: Settings, store: Remote, cards: list[HandlerCard], *, log: Any) -> None:
        self._store = store
        self._plans = Plans(cards)
        self._log = log
        self._bodies = Bodies(config.bodies_folder, reserve=config.bodies.reserve)
        self._fetcher = Fetcher(max_bytes=config.worker.max_video)
        self.poller = Poller(store.watches, log=log)
        self.use(config)

    def use(self, config: Settings) -> None:
        """Ask with these credentials and intervals from now on."""
        intervals = Intervals.of(config.watch)
        inquirer = Inquirer(
            self._put,
            self._store,
            self._store.watches,
            self._plans,
            self._bodies,
            intervals,
            _wall_ms,
            self._log,
        )
        asked = sources.configured(config)
        per_second, most = config.watch.requests_per_second, config.watch.concurrency
        self.poller.use(asked, inquirer, requests_per_second=per_second, concurrency=most)
        self._log.info("poller.started", sources=sorted(asked), requests_per_second=per_second)

    async def _put(self, request: ApiRequest, limit: int, bodies: Bodies) -> Told:
        return await ask(
            self._fetcher,
            request,
            bodies=bodies,
            limit=limit,
            timeout_seconds=_LONGEST_ANSWER_SECONDS,
        )

    async def close(self) -> None:
        """Close connections, and wait for what is being written."""
        await self._fetcher.aclose()
        await asyncio.to_thread(self._bodies.close)


async def poll(config: Settings, *, run: str) -> None:
    """Ask until SIGTERM or SIGINT, and tell the store of the `serve` that is called `run`.

    SIGHUP reads credentials and intervals afresh; a bad file changes nothing.
    """
    log = logs.get()
    store = Remote(config.database, run=run)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    cards = await _cards(store)
    asking = _Asking(config, store, cards, log=log)

    def reload() -> None:
        try:
            asking.use(settings.load(str(config.file) if config.file else None))
        except UsageError as error:
            log.error("settings.refused", reason=str(error))

    loop.add_signal_handler(signal.SIGHUP, reload)
    try:
        await asking.poller.run(until=stop)
    finally:
        await asking.close()
        await store.close()
    log.info("poller.stopped")


async def _cards(store: Remote) -> list[HandlerCard]:
    """What new events get jobs for: the handlers that the server has named to the store."""
    while True:
        try:
            return [HandlerCard.from_json(card) for card in await store.published()]
        except StoreDown:  # it is being started again; our parent ends us if that is for good
            await asyncio.sleep(_STORE_AWAY_SECONDS)


def _wall_ms() -> int:
    """Now, in unix milliseconds."""
    return time.time_ns() // 1_000_000


def main() -> None:
    """`python -m receiver.poll`, started by `serve`; not for people."""
    import uvloop

    parser = argparse.ArgumentParser(prog="receiver.poll")
    parser.add_argument("--config")
    parser.add_argument("--run", required=True)
    options = parser.parse_args()
    os.umask(0o077)
    end_with_parent()
    try:
        config = settings.load(options.config)
        step_back(config.worker.priority)
        logs.configure(style=config.log.format, level=config.log.level, waits=False)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(poll(config, run=options.run))
    except ReceiverError as error:
        sys.stderr.write(f"receiver: {error}\n")
        logs.finish()
        sys.exit(1)


if __name__ == "__main__":
    main()
