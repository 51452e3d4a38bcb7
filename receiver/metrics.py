"""Figures for Prometheus: what ingress counts as it goes, what the store says when asked, and disks.

The page is made only when it is asked for. The library is imported then, too: it takes as long as
starting all the rest of a small process.
"""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver import __version__
from receiver.errors import StoreError, Unavailable
from receiver.life import JobState

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
ACKNOWLEDGED = ("accepted", "duplicate", "conflict")
VERDICTS = (*ACKNOWLEDGED, "rejected", "refused", "abandoned")
"""What may become of a delivery; `abandoned`: the sender went away before its body was complete."""
OUTCOMES = ("done", "retry", "fail", "cancel", "lost")
POLLS = ("progress", "unknown", "completed", "failed", "refused", "unanswered")
"""What asking a provider may bring; `unknown`: a status that is no end."""
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the buckets of the acknowledgement time, in seconds."""
OTHER = "other"

_MOST_SOURCES = 1000
"""Sources that are told apart: whatever calls, the page stays small."""
_FRESH_SECONDS = 1.0
_PATIENCE_SECONDS = 2.0

Figures = Mapping[str, Any]
"""What the store says of itself: see `Reads.figures`."""


class Meter:
    """Counts deliveries, in plain numbers: it belongs to one loop and costs less than half a microsecond."""

    __slots__ = ("_ladder", "_rows", "seconds")

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, int]] = {}
        self._ladder = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        """The sum of all acknowledgement times."""

    def receive(self, source: str) -> None:
        """Count a delivery that has come to a source; `count` says later what became of it."""
        row = self._rows.get(source) or self._row(source)
        row["received"] += 1

    def count(self, source: str, verdict: str, seconds: float, size: int) -> None:
        """Count what became of a delivery, after so many seconds, with a body of so many bytes."""
        row = self._rows.get(source) or self._row(source)
        row[verdict] += 1
        row["bytes"] += size
        if verdict in ACKNOWLEDGED:
            self.seconds += seconds
            self._ladder[bisect_left(BOUNDS, seconds)] += 1

    def _row(self, source: str) -> dict[str, int]:
        name = source if len(self._rows) < _MOST_SOURCES else OTHER
        return self._rows.setdefault(name, dict.fromkeys((*VERDICTS, "received", "bytes"), 0))

    @property
    def rows(self) -> dict[str, dict[str, int]]:
        """Source → verdict (or `received`, or `bytes`) → how many."""
        return dict(self._rows)

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """The acknowledgement times as cumulative buckets."""
        names = [*map(str, BOUNDS), "+Inf"]
        return list(zip(names, map(float, accumulate(self._ladder)), strict=True))


class Metrics:
    """The page. What the store says is kept for a second, so that many readers cost it no more than one."""

    def __init__(
        self,
        meter: Meter,
        *,
        figures: Callable[[], Awaitable[Figures]],
        folders: Mapping[str, Path],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folders` names the disks whose free space is shown."""
        self._meter = meter
        self._ask = figures
        self._folders = folders
        self._clock = clock
        self._asked_at = float("-inf")
        self._figures: Figures | None = None
        self._asking = asyncio.Lock()
        self._page: Callable[[Figures | None], bytes] | None = None

    async def text(self) -> bytes:
        """The page in Prometheus' text format; without a store, what ingress itself knows."""
        async with self._asking:
            if self._clock() - self._asked_at >= _FRESH_SECONDS:
                self._figures = await self._of_store()
                self._asked_at = self._clock()
            return await asyncio.to_thread(self._render, self._figures)

    async def _of_store(self) -> Figures | None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._ask()
        except (Unavailable, StoreError, TimeoutError):
            return None

    def _render(self, figures: Figures | None) -> bytes:
        if self._page is None:
            self._page = _page(self._meter, self._folders)
        return self._page(figures)


def _page(meter: Meter, folders: Mapping[str, Path]) -> Callable[[Figures | None], bytes]:
    """What renders the page, with a registry of its own."""
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.exposition import generate_latest

    collector = _Collector(meter, folders)
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(namespace="receiver", registry=registry)

    def page(figures: Figures | None) -> bytes:
        collector.figures = figures
        return generate_latest(registry)

    return page


class _Collector:
    """Says all figures, each with its name and its meaning."""

    def __init__(self, meter: Meter, folders: Mapping[str, Path]) -> None:
        self._meter = meter
        self._folders = folders
        self.figures: Figures | None = None

    def collect(self) -> Iterator[Metric]:
        """Everything, as the library wants it."""
        yield from self._of_ingress()
        yield from self._of_disks()
        yield from self._of_store()

    def _of_ingress(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, InfoMetricFamily

        received = CounterMetricFamily(
            "receiver_deliveries_received", "Deliveries that came to a source.", labels=["source"]
        )
        ended = CounterMetricFamily(
            "receiver_deliveries", "What became of deliveries.", labels=["source", "verdict"]
        )
        size = CounterMetricFamily("receiver_body_bytes", "Bytes of their bodies.", labels=["source"])
        for source, row in self._meter.rows.items():
            received.add_metric([source], row["received"])
            size.add_metric([source], row["bytes"])
            for verdict in VERDICTS:
                ended.add_metric([source, verdict], row[verdict])
        yield from (received, ended, size)
        yield HistogramMetricFamily(
            "receiver_acknowledgement_seconds",
            "From a request's head to its answer, where that was 200.",
            buckets=self._meter.buckets,
            sum_value=self._meter.seconds,
        )
        yield InfoMetricFamily("receiver_build", "This program.", value={"version": __version__})

    def _of_disks(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        free = GaugeMetricFamily(
            "receiver_disk_free_bytes", "Free space where things are kept.", labels=["of"]
        )
        for name, folder in self._folders.items():
            bytes_free = _free_bytes(folder)
            if bytes_free is not None:
                free.add_metric([name], bytes_free)
        yield free

    def _of_store(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        figures = self.figures
        yield GaugeMetricFamily(
            "receiver_store_up", "Whether the store answers.", value=float(figures is not None)
        )
        if figures is None:
            return
        jobs = GaugeMetricFamily("receiver_jobs", "Jobs in each state.", labels=["state"])
        for state in JobState:
            jobs.add_metric([state], figures["jobs"].get(state, 0))
        attempts = CounterMetricFamily(
            "receiver_attempts", "Attempts that ended, since the store started.", labels=["outcome"]
        )
        for outcome in OUTCOMES:
            attempts.add_metric([outcome], figures["attempts"].get(outcome, 0))
        polls = CounterMetricFamily(
            "receiver_polls", "Questions about videos, since the store started.", labels=["outcome"]
        )
        for outcome in POLLS:
            polls.add_metric([outcome], figures["polls"].get(outcome, 0))
        yield from (jobs, attempts, polls)
        for name, meaning, key in (
            (
                "receiver_oldest_ready_job_age_seconds",
                "How long a due job has waited.",
                "oldest_ready_seconds",
            ),
            ("receiver_workers_alive", "Workers whose lease runs.", "workers"),
            (
                "receiver_lease_check_age_seconds",
                "How long ago jobs of silent workers were last given back.",
                "lease_check_seconds",
            ),
            ("receiver_wal_bytes", "Size of the write-ahead log.", "wal_bytes"),
            ("receiver_watches_open", "Videos whose end is waited for.", "watches"),
        ):
            yield GaugeMetricFamily(name, meaning, value=figures[key])


def _free_bytes(folder: Path) -> int | None:
    """What may still be written to a folder's disk; the folder may come later."""
    for place in (folder, *folder.parents):
        try:
            status = os.statvfs(place)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return status.f_bavail * status.f_frsize
    return None
