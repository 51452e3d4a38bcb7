"""The figures: counted cheaply, shown completely, and there even when the store is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from receiver import __version__
from receiver.errors import StoreDown
from receiver.life import JobState
from receiver.metrics import ACKNOWLEDGED, BOUNDS, OTHER, OUTCOMES, POLLS, VERDICTS, Figures, Meter, Metrics
from receiver.store.watches import Outcome

FIGURES: Figures = {
    "jobs": {"ready": 3, "done": 999_990},
    "attempts": {"done": 7, "lost": 1},
    "oldest_ready_seconds": 12.5,
    "workers": 2,
    "lease_check_seconds": 0.5,
    "wal_bytes": 4096,
    "watches": 5,
    "polls": {"progress": 40, "unanswered": 2},
}
Samples = dict[str, dict[tuple[str, ...], float]]


class Store:
    """Says its figures, or that it is not there; it knows how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_down = False

    async def figures(self) -> Figures:
        self.asked += 1
        if self.is_down:
            raise StoreDown("no store is running")
        return FIGURES


def metrics(
    meter: Meter | None = None,
    figures: Callable[[], Awaitable[Figures]] | None = None,
    folders: Mapping[str, Path] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Metrics:
    return Metrics(meter or Meter(), figures=figures or Store().figures, folders=folders or {}, clock=clock)


async def samples(page: Metrics) -> Samples:
    """Name → values of labels → value, as Prometheus would read them."""
    found: Samples = {}
    for family in text_string_to_metric_families((await page.text()).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


# Counting.


def test_what_was_received_is_what_was_acknowledged_rejected_refused_or_abandoned() -> None:
    meter = Meter()
    for number, verdict in enumerate(VERDICTS, 1):
        for _ in range(number):
            meter.receive("one")
            meter.count("one", verdict, 0.002, 100)
    meter.receive("one")  # still under way

    row = meter.rows["one"]
    assert [row[verdict] for verdict in VERDICTS] == [1, 2, 3, 4, 5, 6]
    assert row["received"] == sum(row[verdict] for verdict in VERDICTS) + 1
    assert row["bytes"] == 2100


def test_acknowledgement_times_fall_into_buckets_with_their_upper_bounds_and_others_do_not_count() -> None:
    meter = Meter()
    for seconds in (0.0001, 0.001, 0.0011, 5.0, 5.1):
        meter.count("one", "accepted", seconds, 1)
    meter.count("one", "rejected", 0.3, 1)

    buckets = dict(meter.buckets)
    assert [buckets[name] for name in ("0.001", "0.0025", "2.5", "5.0", "+Inf")] == [2, 3, 3, 4, 5]
    assert meter.seconds == pytest.approx(10.1022)
    assert (BOUNDS[0], BOUNDS[-1]) == (0.001, 5.0)


async def _page_of_many(count: int) -> bytes:
    meter = Meter()
    for number in range(count):
        meter.count(f"s{number}", "accepted", 0.1, 1)
    return await metrics(meter).text()


@pytest.mark.anyio
async def test_however_many_names_are_counted_the_page_is_bounded() -> None:
    most, more = await _page_of_many(1001), await _page_of_many(5000)

    assert f'source="{OTHER}"'.encode() in most
    assert most.count(b"\n") == more.count(b"\n")


def test_counting_a_callback_is_cheap() -> None:
    meter = Meter()
    rounds, best = 20_000, float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(rounds):
            meter.receive("one")
            meter.count("one", "accepted", 0.0042, 1200)
        best = min(best, (time.process_time() - began) / rounds)

    assert best < 5e-6  # measured: 0.5; ten times as much would be a mistake, not a slow machine


# The page.


@pytest.mark.anyio
async def test_the_page_shows_every_figure(tmp_path: Path) -> None:
    meter = Meter()
    meter.receive("one")
    meter.count("one", "duplicate", 0.02, 1200)
    page = await samples(metrics(meter, folders={"store": tmp_path, "bodies": tmp_path / "not" / "yet"}))

    assert page["receiver_deliveries_received_total"] == {("one",): 1}
    assert page["receiver_deliveries_total"] == {
        ("one", verdict): float(verdict == "duplicate") for verdict in VERDICTS
    }
    assert page["receiver_body_bytes_total"] == {("one",): 1200}
    assert page["receiver_acknowledgement_seconds_count"] == {(): 1}
    assert page["receiver_acknowledgement_seconds_sum"] == {(): 0.02}
    assert page["receiver_acknowledgement_seconds_bucket"]["0.01",] == 0
    assert page["receiver_acknowledgement_seconds_bucket"]["0.025",] == 1
    assert page["receiver_store_up"] == {(): 1}
    assert page["receiver_jobs"] == {(state.value,): FIGURES["jobs"].get(state, 0) for state in JobState}
    assert page["receiver_attempts_total"] == {(name,): FIGURES["attempts"].get(name, 0) for name in OUTCOMES}
    assert page["receiver_oldest_ready_job_age_seconds"] == {(): 12.5}
    assert page["receiver_workers_alive"] == {(): 2}
    assert page["receiver_lease_check_age_seconds"] == {(): 0.5}
    assert page["receiver_wal_bytes"] == {(): 4096}
    assert page["receiver_watches_open"] == {(): 5}
    assert page["receiver_polls_total"] == {(name,): FIGURES["polls"].get(name, 0) for name in POLLS}
    assert page["receiver_disk_free_bytes"].keys() == {("store",), ("bodies",)}
    assert min(page["receiver_disk_free_bytes"].values()) > 0
    assert page["receiver_build_info"] == {(__version__,): 1}
    started = page["receiver_process_start_time_seconds"][()]
    assert 0 <= time.time() - started < 86_400


def test_every_outcome_of_a_question_is_shown() -> None:
    assert set(POLLS) == set(Outcome)


@pytest.mark.anyio
async def test_without_a_store_the_page_says_so_and_shows_the_rest() -> None:
    meter, store, clock = Meter(), Store(), [0.0]
    meter.count("one", "refused", 0.1, 0)
    page = metrics(meter, store.figures, clock=lambda: clock[0])
    store.is_down = True
    down = await samples(page)
    store.is_down = False
    clock[0] = 1.0
    again = await samples(page)

    assert down["receiver_store_up"] == {(): 0}
    assert down["receiver_deliveries_total"]["one", "refused"] == 1
    assert "receiver_jobs" not in down
    assert again["receiver_store_up"] == {(): 1}
    assert "receiver_jobs" in again


@pytest.mark.anyio
async def test_the_store_is_asked_once_a_second_and_ingress_every_time() -> None:
    meter, store, clock = Meter(), Store(), [0.0]
    page = metrics(meter, store.figures, clock=lambda: clock[0])
    await asyncio.gather(*(page.text() for _ in range(5)))
    meter.receive("one")
    clock[0] = 0.99
    assert (await samples(page))["receiver_deliveries_received_total"] == {("one",): 1}
    assert store.asked == 1
    clock[0] = 1.0
    await page.text()
    assert store.asked == 2


@pytest.mark.anyio
async def test_two_pages_of_one_process_know_nothing_of_each_other() -> None:
    first, second = Meter(), Meter()
    first.receive("one")

    assert "receiver_deliveries_received_total" in await samples(metrics(first))
    assert "receiver_deliveries_received_total" not in await samples(metrics(second))


def test_every_acknowledged_verdict_is_a_verdict() -> None:
    assert set(ACKNOWLEDGED) < set(VERDICTS)
