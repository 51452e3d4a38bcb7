"""What senders meet, put together: the endpoint, its server, and what they keep on this side of the store.

Imported when the children have been started, so that all of them get ready at the same time.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from receiver import sources
from receiver.bodies import Bodies
from receiver.endpoint import Api, Application
from receiver.errors import StoreError, Unavailable
from receiver.gate import Gate
from receiver.ingress import Ingress
from receiver.metrics import Meter, Metrics
from receiver.peers import BadCredentials, TrustedProxies
from receiver.permits import Permits
from receiver.rejections import Rejections
from receiver.router import HandlerCard
from receiver.server import create
from receiver.settings import Settings
from receiver.sources.base import Source
from receiver.store.remote import Remote
from receiver.watching import Patience, can_ask

_UPLOAD_STOP_SECONDS = 5


class Front:
    """Between the senders and a store that answers."""

    def __init__(
        self,
        config: Settings,
        *,
        store: Remote,
        cards: list[HandlerCard],
        started_at: float,
        needs_worker: bool,
        log: Any,
    ) -> None:
        """`started_at` is when the receiver started, in Unix seconds: an earlier one left what is older."""
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._store = store
        self._started_at = started_at
        permits = Permits(most=config.server.max_uploads, most_bytes=config.server.max_upload_bytes)
        self._bodies = Bodies(config.bodies_folder, reserve=config.bodies.reserve, permits=permits)
        self._rejections = Rejections(store, wall=_wall_ms, log=log)
        meter = Meter()
        trusted_proxies = TrustedProxies(config.server.trusted_proxies)
        believed = self._believed(config)
        self._ingress = Ingress(
            believed,
            cards=cards,
            intake=store,
            bodies=self._bodies,
            rejections=self._rejections,
            bad_credentials=BadCredentials(clock=time.monotonic),
            wall=_wall_ms,
            random=os.urandom,
            log=log,
            trusted_proxies=trusted_proxies,
            patience=Patience.with_caller(config.watch),
            meter=meter,
        )
        self._gate = Gate(
            config.admin,
            bad_tokens=BadCredentials(clock=time.monotonic),
            rejections=self._rejections,
            trusted_proxies=trusted_proxies,
        )
        folders = {"store": config.database.parent, "bodies": config.bodies_folder}
        self._application = Application(
            self._ingress,
            store=store,
            needs_worker=needs_worker,
            metrics=Metrics(meter, figures=store.figures, folders=folders),
            admin=config.admin,
            gate=self._gate,
            make_api=self._api,
        )
        self._server = create(self._application, stop_seconds=_UPLOAD_STOP_SECONDS)
        self._serving: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    def _api(self) -> Api:
        from receiver.api.app import Api  # no callback waits for it, at the start or later
        from receiver.replay import firsts_of

        return Api(
            store=self._store,
            bodies=self._bodies,
            loop=self._loop,
            peer=self._gate.peer,
            firsts=lambda: firsts_of(self._sources),
            log=self._log,
        )

    async def open(self, listener: socket.socket) -> None:
        """Answer from now on; and look for what an earlier run left."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        await self._server.ready.wait()
        self._sweeping = asyncio.create_task(self._sweep())

    def use(self, config: Settings) -> None:
        """Judge by these sources, and by this admin token, from the next request on."""
        self._application.admit(config.admin)
        self._ingress.use(self._believed(config), patience=Patience.with_caller(config.watch))

    def _believed(self, config: Settings) -> Mapping[str, Source]:
        configured = sources.configured(config, redactor_key=self._store.redactor_key)
        self.can_ask = can_ask(configured)
        self._sources = configured
        return configured

    async def drain(self) -> None:
        """Accept no more, finish what is under way."""
        self._application.close()
        self._server.stop()
        if self._serving is not None:
            await self._serving

    async def close(self) -> None:
        """Write what waits; to be called when nothing is under way any more."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._application.finish()
        await self._rejections.close()
        await asyncio.to_thread(self._bodies.close)

    async def _sweep(self) -> None:
        """Remove body files that an earlier run left without a row; report rows without a file."""
        try:
            report = await self._bodies.sweep(known=self._store.bodies_in_use, before=self._started_at)
            missing = await asyncio.to_thread(self._bodies.missing, await self._store.all_bodies())
        except (Unavailable, StoreError, OSError):
            return  # the next start sweeps again
        if report.temporary or report.orphans:
            self._log.info(
                "bodies.swept", temporary=report.temporary, orphans=report.orphans, bytes=report.freed
            )
        if missing:
            self._log.error("bodies.missed", digests=missing[:10], count=len(missing))


def _wall_ms() -> int:
    """Now, in unix milliseconds."""
    return time.time_ns() // 1_000_000
