"""How far a video is, by a clock that the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from receiver.sandbox.jobs import CallbackTry, JobStatus, Order, VideoJob, VideoJobs
from receiver.sandbox.options import Behaviour
from receiver.sandbox.videos import MediaFile

ORDER = Order(title="Rain", transcript="It rains.", model="picasso")
VIDEO = MediaFile(Path("v.mp4"), bytes=3, sha256="aa", md5="bb")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(clock: Clock) -> VideoJobs:
    ids = iter(["first", "second"])
    behaviour = Behaviour(delay=timedelta(seconds=10))
    return VideoJobs(clock=clock, new_id=lambda: next(ids), behaviour=behaviour)


@pytest.fixture
def job(jobs: VideoJobs) -> VideoJob:
    return jobs.create(ORDER, api_key="k")


@pytest.mark.parametrize(
    ("seconds", "percent"), [(0, 0.0), (2.5, 25.0), (9.87, 98.7), (10, 99.0), (999, 99.0)]
)
def test_progress_grows_with_time_and_stays_short_of_the_end(
    jobs: VideoJobs, job: VideoJob, clock: Clock, seconds: float, percent: float
) -> None:
    clock.pass_seconds(seconds)
    assert job.status is JobStatus.PENDING
    assert job.progress(jobs.now()) == percent


def test_a_clock_set_back_gives_no_negative_progress(jobs: VideoJobs, job: VideoJob, clock: Clock) -> None:
    clock.pass_seconds(-60)
    assert job.progress(jobs.now()) == 0.0


def test_a_completed_job_is_at_100_percent_whatever_the_time(jobs: VideoJobs, job: VideoJob) -> None:
    job.complete(VIDEO, at=jobs.now())
    assert (job.status, job.progress(jobs.now()), job.video) == (JobStatus.COMPLETED, 100.0, VIDEO)


def test_a_failed_job_stays_where_it_was(jobs: VideoJobs, job: VideoJob, clock: Clock) -> None:
    clock.pass_seconds(4)
    job.fail("no disk", at=jobs.now())
    clock.pass_seconds(4)
    assert (job.status, job.progress(jobs.now()), job.error) == (JobStatus.FAILED, 40.0, "no disk")


def test_a_job_ends_once(jobs: VideoJobs, job: VideoJob) -> None:
    job.complete(VIDEO, at=jobs.now())
    with pytest.raises(ValueError, match="ended already"):
        job.fail("late", at=jobs.now())
    assert job.status is JobStatus.COMPLETED


def test_a_job_without_delay_has_a_progress(jobs: VideoJobs) -> None:
    jobs.behaviour = Behaviour(delay=timedelta(0))
    assert jobs.create(ORDER, api_key="k").progress(jobs.now()) == 99.0


def test_another_behaviour_holds_for_the_jobs_to_come_only(jobs: VideoJobs, job: VideoJob) -> None:
    jobs.behaviour = Behaviour(delay=timedelta(seconds=1))
    later = jobs.create(ORDER, api_key="k")
    assert (job.behaviour.delay.seconds, later.behaviour.delay.seconds) == (10, 1)


def test_jobs_are_found_by_id_and_listed_in_order(jobs: VideoJobs, job: VideoJob) -> None:
    later = jobs.create(ORDER, api_key="k")
    assert list(jobs) == [job, later]
    assert jobs.find("second") is later
    assert jobs.find("third") is None


@pytest.mark.parametrize(
    ("status", "is_delivered"),
    [(199, False), (200, True), (299, True), (300, False), (500, False), (None, False)],
)
def test_only_a_2xx_delivers_a_callback(clock: Clock, status: int | None, is_delivered: bool) -> None:
    assert CallbackTry(clock(), status=status).is_delivered is is_delivered
