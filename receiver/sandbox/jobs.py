"""The videos that were asked for, and how far each one is: state only, time and ids come from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from receiver.sandbox.mischief import Mischief
from receiver.sandbox.options import Behaviour
from receiver.sandbox.videos import MediaFile

Clock = Callable[[], datetime]
"""Gives the time, aware UTC."""


class Provider(StrEnum):
    """Whose API a video was asked for through."""

    OPENNOTE = "opennote"
    OPENAI = "openai"
    COMPATIBLE = "openai-compatible"


class JobStatus(StrEnum):
    """Where a video stands."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Order:
    """What a client asked for, whichever API it used."""

    title: str
    transcript: str
    """What is spoken, or the prompt."""
    model: str
    webhook_url: str | None = None
    """Where to call back; None for clients that poll."""
    inline: bool = False
    """Whether the answer itself carries the file, instead of a link."""
    source_count: int = 0
    """How many sources the answer names."""
    seconds: str = ""
    """The duration, where it is asked for in words such as "8"."""
    size: str = ""
    """Width and height, as in "1280x720", where it is asked for."""
    remixed_from: str | None = None
    """The video that this one is made from."""


@dataclass(frozen=True, slots=True)
class CallbackTry:
    """One callback that was sent: `status` when it was answered, else `error`."""

    at: datetime
    status: int | None = None
    error: str | None = None
    answer: str = ""
    """How the body of the answer begins."""

    @property
    def is_delivered(self) -> bool:
        """Whether the answer was a 2xx."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True)
class VideoJob:
    """One video on its way. Once finished it stays as it is, but for the callbacks."""

    id: str
    order: Order
    api_key: str = field(repr=False)
    """The key that created it."""
    behaviour: Behaviour
    created_at: datetime
    provider: Provider = Provider.OPENNOTE
    video: MediaFile | None = None
    """Set when it is completed."""
    pictures: Mapping[str, MediaFile] = field(default_factory=dict)
    """Set with it: what else there is of it, by its name as a variant."""
    error: str | None = None
    """Set when it failed."""
    finished_at: datetime | None = None
    callbacks: list[CallbackTry] = field(default_factory=list)
    number: int = 0
    """Which job it is since the start, from 0."""
    is_over: bool = False
    """Whether nothing more will be done about it: it has ended, and so have its callbacks."""
    downloads: int = 0
    """How often one of its files was asked for."""
    polls: int = 0
    """How often its status was asked for, where that matters."""
    is_deleted: bool = False
    """Whether its client has deleted it."""

    @property
    def mischief(self) -> Mischief:
        """What may go wrong with it on purpose."""
        return self.behaviour.mischief

    @property
    def status(self) -> JobStatus:
        """Where it stands."""
        if self.finished_at is None:
            return JobStatus.PENDING
        return JobStatus.COMPLETED if self.video else JobStatus.FAILED

    @property
    def files(self) -> dict[str, MediaFile]:
        """What there is of it once it is completed, by the name of the variant."""
        return {"video": self.video, **self.pictures} if self.video else {}

    @property
    def expires_at(self) -> datetime | None:
        """Until when its content can be had; None while there is none."""
        return self.finished_at + self.behaviour.lifetime if self.video and self.finished_at else None

    def progress(self, now: datetime) -> float:
        """Percent, 0 to 100; it stays below 100 until the video is completed."""
        if self.status is JobStatus.COMPLETED:
            return 100.0
        elapsed = (self.finished_at or now) - self.created_at
        share = elapsed / self.behaviour.delay if self.behaviour.delay else 1.0
        return round(min(max(100.0 * share, 0.0), 99.0), 1)

    def complete(
        self, video: MediaFile, *, at: datetime, pictures: Mapping[str, MediaFile] | None = None
    ) -> None:
        """End it well. Raise ValueError when it has ended already."""
        self._end(at)
        self.video, self.pictures = video, pictures or {}

    def fail(self, error: str, *, at: datetime) -> None:
        """End it badly. Raise ValueError when it has ended already."""
        self._end(at)
        self.error = error

    def _end(self, at: datetime) -> None:
        if self.finished_at is not None:
            raise ValueError(f"the job {self.id} has ended already")
        self.finished_at = at


class VideoJobs:
    """Every job since the start, oldest first.

    `behaviour` is what the next jobs get; assigning another one leaves those that exist alone.
    """

    def __init__(self, *, clock: Clock, new_id: Callable[[], str], behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._clock = clock
        self._new_id = new_id
        self._jobs: dict[str, VideoJob] = {}

    def __iter__(self) -> Iterator[VideoJob]:
        return iter(list(self._jobs.values()))

    def create(
        self,
        order: Order,
        *,
        api_key: str,
        provider: Provider = Provider.OPENNOTE,
        job_id: str | None = None,
    ) -> VideoJob:
        """Take an order; the job is pending. It gets an id of its own if it comes without one."""
        found_id = job_id or self._new_id()
        job = VideoJob(found_id, order, api_key, self.behaviour, created_at=self.now(), provider=provider)
        job.number = len(self._jobs)
        self._jobs[job.id] = job
        return job

    def find(self, job_id: str, *, provider: Provider | None = None) -> VideoJob | None:
        """Find a job by its id; `provider` finds its own jobs only, and none that was deleted."""
        job = self._jobs.get(job_id)
        if job is None or provider is None:
            return job
        return job if job.provider is provider and not job.is_deleted else None

    def now(self) -> datetime:
        """Read the clock that the jobs go by."""
        return self._clock()
