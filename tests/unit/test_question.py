"""One question: what each answer leaves in a real store, and when a video is given up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from pydantic import SecretStr
from structlog.testing import capture_logs

from receiver import settings, sources
from receiver.asking import Told
from receiver.bodies import Bodies
from receiver.body import read_body, read_small
from receiver.errors import Hopeless, Unavailable, Unfinished
from receiver.intervals import MOST_UNANSWERED, Intervals
from receiver.question import Inquirer
from receiver.record import Arrival
from receiver.recording import Plans, arrival_of
from receiver.router import HandlerCard
from receiver.settings import OpennoteSettings
from receiver.sources.base import Admission, ApiRequest, Source
from receiver.sources.opennote import Opennote
from receiver.store.service import Service
from receiver.store.values import EventFilter, Row
from receiver.store.watches import Ending, Opened, Watch
from receiver.watching import Patience, new_watch

NOW = 1_800_000_000_000
HOUR = 3_600_000
DEADLINE = NOW + 24 * HOUR
CARD = HandlerCard("save_video", ("video.completed",), None, 3, 60, 1, None, "")


def organization(name: str, folder: Path) -> Source:
    """A configured organisation."""
    table = {"kind": "opennote", "organization_id": name, "api_keys": ["key"]}
    return sources.configured(settings.parse({"sources": {"opennote": table}}, folder=folder))["opennote"]


class Keyless(Opennote):
    """One that can't be asked."""

    def status_request(self, video_id: str) -> None:  # type: ignore[override]
        """There is no key for that."""
        return


def said(payload: Mapping[str, Any], *, poll_after_seconds: float | None = None) -> Told:
    """A 200 with this object."""
    body = read_small(orjson.dumps(payload), Admission())
    return Told(200, body, poll_after_seconds=poll_after_seconds)


def pending(progress: float = 10.0, *, video: str = "v1", status: str = "pending") -> dict[str, Any]:
    return {"success": True, "status": status, "video_id": video, "completion_percentage": progress}


def completed(video: str = "v1") -> dict[str, Any]:
    response = {"success": True, "s3_url": f"https://files.example.com/{video}.mp4", "title": "A title"}
    return {"success": True, "status": "completed", "video_id": video, "response": response}


FAILED = {"success": False, "status": "failed", "video_id": "v1", "error": "no_luck"}


class Large:
    """A 200 that is too large for a row."""

    def __init__(self, payload: Mapping[str, Any]) -> None:
        self.raw = orjson.dumps({**payload, "transcript": "la " * 50_000})

    async def told(self, bodies: Bodies) -> Told:
        """Have it arrive."""
        messages = [{"type": "http.request", "body": self.raw}]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        limit = len(self.raw)
        admission = Admission()
        body = await read_body(receive, admission=admission, limit=limit, bodies=bodies, declared=limit)
        return Told(200, body)


class Desk:
    """A store with one watch, a clock that is moved by hand, and a provider that answers as it is told."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.store = Service(
            folder / "receiver.db",
            run="run1",
            lease_seconds=60,
            wall=lambda: self.now,
            monotonic=lambda: self.now / 1000,
        )
        self.source: Source = organization("org", folder)
        self.bodies = Bodies(folder / "bodies")
        self.answers: list[Told | Large | Exception] = []
        self.requests: list[ApiRequest] = []
        self.inquirer = Inquirer(
            self._ask,
            self.store,
            self.store.watches,
            Plans([CARD]),
            self.bodies,
            Intervals(10_000, 300_000),
            lambda: self.now,
            structlog.get_logger(),
            luck=lambda: 0.5,
        )

    async def _ask(self, request: ApiRequest, limit: int, bodies: Bodies) -> Told:
        assert limit == self.source.max_body
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return await answer.told(bodies) if isinstance(answer, Large) else answer

    async def watch(self, *, seconds: float = 24 * 3600) -> Watch:
        """Open the watch."""
        new = new_watch(self.source, "v1", Patience(0, round(seconds * 1000)), now=self.now)
        assert await self.store.watches.add([new]) == [Opened.NEW]
        return await self.seen()

    async def ask(self, *answers: Told | Large | Exception) -> float | None:
        """Ask once for each answer; give what the last one wants of peace."""
        peace = None
        for answer in answers:
            self.answers.append(answer)
            peace = await self.inquirer.inquire(self.source, await self.seen())
        return peace

    async def seen(self) -> Watch:
        """The watch as it is stored."""
        watch = await self.store.watches.of("opennote", "v1")
        assert watch is not None
        return watch

    async def events(self) -> list[Row]:
        """The events, the first one first."""
        rows = await self.store.events(EventFilter(), limit=100, before=None)
        return [await self.store.event(row["id"]) for row in reversed(rows)]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.watch()
    yield desk
    await desk.store.close()


# What is asked, and what is recorded.


@pytest.mark.anyio
async def test_the_source_says_how_its_provider_is_asked(desk: Desk) -> None:
    await desk.ask(said(pending()))

    assert desk.requests == [desk.source.status_request("v1")]


@pytest.mark.anyio
async def test_a_completed_video_is_recorded_like_a_callback(desk: Desk) -> None:
    with capture_logs() as logs:
        await desk.ask(said(completed()))

    (event,) = await desk.events()
    assert (event["type"], event["identity"], event["title"]) == ("video.completed", "v1@org", "A title")
    assert [(job["handler"], job["state"]) for job in event["jobs"]] == [("save_video", "ready")]
    (delivery,) = event["deliveries"]
    assert (delivery["via"], delivery["method"], delivery["path"]) == ("poll", "GET", "/v1/video/status/v1")
    assert (delivery["received_at"], delivery["headers"], orjson.loads(event["body"])) == (
        NOW,
        [],
        completed(),
    )
    watch = await desk.seen()
    assert (watch.ending, watch.ended_at, watch.status) == (Ending.COMPLETED, NOW, "completed")
    assert {log["event"] for log in logs} == {"event.recorded", "watch.ended"}


@pytest.mark.anyio
async def test_a_failed_video_is_recorded_with_what_the_provider_says(desk: Desk) -> None:
    await desk.ask(said(FAILED))

    (event,) = await desk.events()
    assert (event["type"], (await desk.seen()).ending) == ("video.failed", Ending.FAILED)
    assert sources.video_of("opennote", orjson.loads(event["body"])).error.code == "no_luck"


@pytest.mark.anyio
async def test_an_answer_without_an_id_is_about_the_video_that_was_asked_for(desk: Desk) -> None:
    answer = completed()
    del answer["video_id"]
    await desk.ask(said(answer))

    (event,) = await desk.events()
    assert (event["identity"], event["warnings"]) == ("v1@org", [])


@pytest.mark.anyio
async def test_a_large_answer_is_recorded_with_its_body_file(desk: Desk) -> None:
    await desk.ask(Large(completed()))

    (event,) = await desk.events()
    assert event["body"] is None
    assert desk.bodies.path(event["body_sha256"]).read_bytes() == Large(completed()).raw
    assert [path.name for path in desk.bodies.directory.rglob("*") if path.is_file()] == [
        event["body_sha256"]
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("payload", [pending(), pending(video="v2"), pending(status="odd")])
async def test_of_a_large_answer_that_is_not_recorded_nothing_stays_on_disk(
    desk: Desk, payload: dict[str, Any]
) -> None:
    await desk.ask(said(pending()), Large(payload))

    assert [path for path in desk.bodies.directory.rglob("*") if path.is_file()] == []


@pytest.mark.anyio
async def test_progress_is_an_event_once_and_later_only_what_was_seen_last(desk: Desk) -> None:
    await desk.ask(said(pending(10.0)), said(pending(55.5, status="processing")), said(pending(70.0)))

    (event,) = await desk.events()
    assert (event["type"], event["status"], event["progress"]) == ("video.progress", "pending", 70.0)
    assert len(event["deliveries"]) == 1
    watch = await desk.seen()
    assert (watch.status, watch.progress, watch.asked, watch.ending) == ("pending", 70.0, 3, None)


@pytest.mark.anyio
async def test_an_unknown_status_is_kept_with_the_watch_and_is_no_end(desk: Desk) -> None:
    await desk.ask(*(said(pending(status=status)) for status in ("NOT_START", "resting")))

    assert await desk.events() == []
    watch = await desk.seen()
    assert (watch.status, watch.ending, watch.last_error) == ("resting", None, None)
    assert desk.store.watches.polls == {"unknown": 2}


@pytest.mark.anyio
async def test_whoever_comes_second_is_a_duplicate(desk: Desk) -> None:
    watch = await desk.seen()
    desk.answers = [said(completed()), said(completed())]
    await desk.inquirer.inquire(desk.source, watch)
    await desk.inquirer.inquire(desk.source, watch)  # as if the first had been a callback meanwhile

    (event,) = await desk.events()
    assert [delivery["verdict"] for delivery in event["deliveries"]] == ["accepted", "duplicate"]
    assert (event["conflict"], len(event["jobs"])) == (0, 1)


# What is no answer.


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "error", "outcome"),
    [
        (Told(401, None), "401 Unauthorized", "refused"),
        (Told(404, None), "404 Not Found: the provider knows no such video", "refused"),
        (Told(402, None), "402 Payment Required from the provider's API", "refused"),
        (Told(302, None), "302 Found", "refused"),
        (Told(599, None), "599 from", "unanswered"),
        (Told(503, None), "503 Service Unavailable", "unanswered"),
        (Told(429, None), "429 Too Many Requests", "unanswered"),
        (Hopeless("the answer is no JSON object"), "the answer is no JSON object", "refused"),
        (Unfinished("the connection failed"), "the connection failed", "unanswered"),
        (Unavailable("the disk is full"), "the disk is full", "unanswered"),
        (said(pending(video="v2")), "the answer is about another video", "refused"),
        (said({"video_id": "v1", "status": "x" * 999}), "the answer can't be understood: status", "refused"),
    ],
)
async def test_an_error_is_kept_until_the_next_answer_and_asking_goes_on(
    desk: Desk, answer: Told | Exception, error: str, outcome: str
) -> None:
    with capture_logs() as logs:
        await desk.ask(answer, answer)

    watch = await desk.seen()
    assert (watch.last_error or "").startswith(error)
    assert (watch.ending, await desk.events()) == (None, [])
    assert watch.unanswered == (2 if outcome == "unanswered" else 0)
    assert desk.store.watches.polls == {outcome: 2}
    assert watch.next_at == NOW + 15_000
    assert [log["event"] for log in logs] == ["watch.refused"]  # said once
    await desk.ask(said(pending()))
    assert ((await desk.seen()).last_error, (await desk.seen()).unanswered) == (None, 0)


@pytest.mark.anyio
async def test_a_source_that_has_no_key_for_asking_says_so(desk: Desk) -> None:
    keyless = OpennoteSettings(kind="opennote", organization_id="org", api_keys=(SecretStr("key"),))
    desk.source = Keyless("opennote", keyless, redactor_key=b"", max_body=1000)
    await desk.inquirer.inquire(desk.source, await desk.seen())

    assert (await desk.seen()).last_error == "no key is configured for asking"


@pytest.mark.anyio
async def test_a_provider_says_when_it_wants_to_be_asked_and_for_how_long_not(desk: Desk) -> None:
    assert await desk.ask(said(pending(), poll_after_seconds=2.0)) is None
    assert (await desk.seen()).next_at == NOW + 2100
    assert await desk.ask(Told(429, None, retry_after_seconds=60.0)) == 60.0
    assert (await desk.seen()).next_at == NOW + 60_000
    assert await desk.ask(Told(429, None)) == 5.0
    assert await desk.ask(Told(503, None, retry_after_seconds=90.0)) == 90.0
    assert await desk.ask(Told(503, None)) is None


# The deadline.


@pytest.mark.anyio
async def test_at_its_deadline_a_video_is_recorded_as_failed(desk: Desk) -> None:
    await desk.ask(said(pending(42.0)))
    desk.now = DEADLINE - 1
    await desk.ask(said(pending(43.0)))
    assert (await desk.seen()).next_at == DEADLINE
    desk.now = DEADLINE
    with capture_logs() as logs:
        await desk.ask(said(pending(44.0, status="processing")))

    _, event = await desk.events()
    assert (event["type"], event["status"], event["what"]) == ("video.failed", "watch_expired", "failed")
    video = sources.video_of("opennote", orjson.loads(event["body"]))
    assert (video.id, video.error.code) == ("v1", "watch_expired")
    assert video.error.message == "no end of the video was heard of within 1d; it was last seen as processing"
    assert [delivery["via"] for delivery in event["deliveries"]] == ["poll"]
    assert ((await desk.seen()).ending, (await desk.seen()).ended_at) == (Ending.EXPIRED, DEADLINE)
    assert {log["event"] for log in logs} == {"event.recorded", "watch.expired"}


@pytest.mark.anyio
async def test_an_end_that_is_found_at_the_deadline_counts(desk: Desk) -> None:
    desk.now = DEADLINE + HOUR
    await desk.ask(said(completed()))

    assert [event["type"] for event in await desk.events()] == ["video.completed"]


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [Told(401, None), Told(404, None), said(pending(status="odd"))])
async def test_an_answer_without_an_end_is_the_end_at_the_deadline(desk: Desk, answer: Told) -> None:
    desk.now = DEADLINE
    await desk.ask(answer)

    assert (await desk.seen()).ending == Ending.EXPIRED


@pytest.mark.anyio
async def test_who_was_away_at_the_deadline_asks_some_times_before_a_video_is_given_up(desk: Desk) -> None:
    desk.now = DEADLINE + 100 * HOUR
    await desk.ask(*[Unfinished("no network")] * (MOST_UNANSWERED - 1))
    assert (await desk.seen()).ending is None
    await desk.ask(Unfinished("no network"))

    (event,) = await desk.events()
    assert (event["status"], (await desk.seen()).ending) == ("watch_expired", Ending.EXPIRED)
    assert (await desk.seen()).last_error == "no network"


@pytest.mark.anyio
async def test_a_callback_after_the_end_of_patience_still_counts(desk: Desk) -> None:
    desk.now = DEADLINE
    await desk.ask(said(pending()))
    callback = await desk.store.record(_arrival(desk, completed()))

    assert callback.verdict == "accepted"
    assert (await desk.store.event(callback.event_id))["warnings"] == ["after_failure"]


@pytest.mark.anyio
async def test_a_callback_at_the_moment_of_giving_up_makes_no_conflict(desk: Desk) -> None:
    watch = await desk.seen()
    desk.now = DEADLINE
    await desk.store.record(_arrival(desk, completed()))
    desk.answers = [Told(404, None)]
    await desk.inquirer.inquire(desk.source, watch)

    (event,) = await desk.events()
    assert (event["type"], event["conflict"], event["duplicates"]) == ("video.completed", 0, 0)


@pytest.mark.anyio
async def test_a_source_that_is_another_organisation_by_now_gives_up_its_former_video(
    desk: Desk, tmp_path: Path
) -> None:
    desk.source = organization("other", tmp_path)
    desk.now = DEADLINE
    await desk.ask(said(completed()))

    assert [event["identity"] for event in await desk.events()] == ["v1@org"]
    assert (await desk.seen()).ending == Ending.EXPIRED


@pytest.mark.anyio
async def test_a_watch_that_was_given_up_may_be_taken_up_again(desk: Desk) -> None:
    desk.now = DEADLINE
    await desk.ask(said(pending()))
    await desk.watch()
    await desk.ask(said(pending(50.0)), said(pending(60.0)))
    watch = await desk.seen()
    assert (watch.progress, watch.asked) == (60.0, 2)
    await desk.ask(said(completed()))

    events = await desk.events()
    assert [event["type"] for event in events] == ["video.progress", "video.failed", "video.completed"]
    assert [len(event["deliveries"]) for event in events] == [2, 1, 1]  # progress was said once more
    assert (events[0]["progress"], events[1]["status"]) == (60.0, "watch_expired")


def _arrival(desk: Desk, payload: dict[str, Any]) -> Arrival:
    """The same as a callback."""
    return arrival_of(
        desk.source,
        Admission("v1"),
        read_small(orjson.dumps(payload), Admission("v1")),
        via="callback",
        method="POST",
        path="/webhooks/opennote",
        headers="[]",
        plans=Plans([CARD]),
        now=desk.now,
        random=lambda length: bytes(length),
    )
