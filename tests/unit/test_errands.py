"""The receiver's own jobs, on a real store, with an API that gives the answers that were prepared."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from receiver import dispatch
from receiver.attempts import Attempts
from receiver.bodies import PASSING, Bodies
from receiver.body import read_body
from receiver.errands import Errands
from receiver.outcome import Cancel, Done, Fail, Outcome, Retry
from receiver.recording import Plans, arrival_of
from receiver.router import HandlerCard
from receiver.settings import parse
from receiver.sources import configured
from receiver.sources.base import CONFIRM, RETRIEVE, Admission
from receiver.store.service import Service
from receiver.store.values import EventFilter, Row
from receiver.testing.canned import Canned, CannedFetcher
from receiver.watching import Patience
from tests.contract.stand import failing, settlement

pytestmark = pytest.mark.anyio
NOW = 1_762_500_000_000
VIDEO = "video_1"
LINK = "https://videofs-opennote-us-east-1.s3.us-east-1.amazonaws.com/v.mp4"
CARDS = [
    HandlerCard("save", ("video.completed",), None, 20, 600, None, None, ""),
    HandlerCard("lament", ("video.failed",), None, 20, 600, None, None, ""),
]
TABLES: dict[str, Any] = {
    "openai": {"kind": "openai", "webhook_secrets": ["whsec_c2VjcmV0"], "api_key": "sk-canary-1"},
    "opennote": {
        "kind": "opennote",
        "organization_id": "org",
        "api_keys": ["sk-canary-2"],
        "confirm": True,
    },
}
URLS = {
    "openai": f"https://api.openai.com/v1/videos/{VIDEO}",
    "opennote": f"https://api.opennote.com/v1/video/status/{VIDEO}",
}
OBJECT = {
    "id": VIDEO,
    "object": "video",
    "status": "completed",
    "model": "sora-2",
    "created_at": 1762499410,
    "expires_at": 4_000_000_000,
}


@dataclass
class Attempt:
    """One attempt at a job, and what it came to."""

    outcome: Outcome
    row: Row


class Stand:
    """A store, a worker's means, and an API."""

    def __init__(self, folder: Path) -> None:
        self.config = parse({"sources": TABLES}, folder=folder)
        self.sources = configured(self.config)
        self.store = Service(self.config.database, run="r", lease_seconds=60)
        self.fetcher = CannedFetcher()
        self.bodies = Bodies(self.config.bodies_folder, reserve=0)
        self.log = CapturingLogger()
        self.threads = ThreadPoolExecutor(1)
        self.plans = Plans(CARDS)
        self.errands = Errands(
            self.sources,
            store=self.store,
            fetcher=self.fetcher,
            bodies=self.bodies,
            patience=Patience(first_ms=1000, deadline_ms=10_000),
            log=self.log,
            wall=lambda: NOW,
        )
        self._numbers = iter(range(10**6))

    async def receive(self, source: str, payload: Mapping[str, Any], *, message: str | None = None) -> str:
        """Record a believed callback, and give the event's id."""
        body = json.dumps(payload).encode()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        admission = Admission(message)
        received = await read_body(
            receive, admission=admission, limit=2**30, bodies=self.bodies, declared=len(body)
        )
        arrival = arrival_of(
            self.sources[source],
            admission,
            received,
            via="callback",
            method="POST",
            path=f"/webhooks/{source}",
            headers="[]",
            plans=self.plans,
            now=NOW - 1000,
            random=lambda count: next(self._numbers).to_bytes(count, "big"),
        )
        return (await self.store.record(arrival)).event_id

    def answer(self, source: str, status: int, content: Any = None, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        self.fetcher.give("GET", URLS[source], Canned(status, fields, body))

    async def attempt(self, job: str, *, number: int = 1, settles: bool = True) -> Attempt:
        """Do the job that is due as a worker does."""
        (row,) = await self.store.claim("w", {job: 1}, count=1, wait_ms=0)
        row = {**row, "attempts": number - 1}
        attempts = Attempts(self.config, {}, fetcher=self.fetcher)
        handler = next(handler for handler in self.errands.handlers if handler.name == job)
        event = attempts.event(row)
        context = attempts.context(handler, event, row, log=self.log)
        ran = await dispatch.run(
            handler, event, context, timeout_seconds=20, threads=self.threads, log=self.log
        )
        if settles:
            move = {Done: "finish", Cancel: "cancel", Fail: "fail", Retry: "retry"}[type(ran.outcome)]
            reason = getattr(ran.outcome, "reason", None)
            run_at = NOW - 500 if move == "retry" else None
            await self.store.settle([settlement(row, move, error=reason, run_at=run_at)], worker="w")
        return Attempt(ran.outcome, row)

    async def events(self) -> list[Row]:
        """All events with all that is known of them, oldest first."""
        rows = await self.store.events(EventFilter(), limit=100, before=None)
        return [await self.store.event(row["id"]) for row in reversed(rows)]

    def kept(self) -> list[str]:
        """The body files that there are."""
        return [path.name for path in self.bodies.directory.rglob("*") if path.is_file()]


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    made = Stand(tmp_path)
    await made.store.publish([asdict(card) for card in CARDS])
    yield made
    made.threads.shutdown()
    made.bodies.close()
    await made.store.close()


def thin(kind: str = "video.completed") -> dict[str, Any]:
    return {"object": "event", "type": kind, "data": {"id": VIDEO}}


def status_object(status: str = "completed", **response: Any) -> dict[str, Any]:
    payload: dict[str, Any] = {"video_id": VIDEO, "status": status}
    return payload | ({"response": response} if status == "completed" else {"error": "refused"})


def reason_of(attempt: Attempt) -> str:
    assert isinstance(attempt.outcome, (Retry, Fail, Cancel)), attempt.outcome
    return attempt.outcome.reason


def said_by(attempt: Attempt) -> tuple[type, str]:
    return type(attempt.outcome), reason_of(attempt)


def states(event: Row) -> dict[str, str]:
    return {job["handler"]: job["state"] for job in event["jobs"]}


# Looking a video up.


async def test_the_video_of_a_thin_event_is_looked_up_and_kept_with_it(stand: Stand) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.answer("openai", 200, OBJECT)

    attempt = await stand.attempt(RETRIEVE)

    assert attempt.outcome == Done({"status": "completed"})
    (event,) = await stand.events()
    assert event["object"] == OBJECT
    assert json.loads(event["body"]) == thin(), "the body is what came"
    assert states(event) == {RETRIEVE: "done", "save": "ready"}
    (asked,) = stand.fetcher.asked
    assert asked.headers == {"Authorization": "Bearer sk-canary-1"}


async def test_a_handler_sees_the_video_as_it_was_looked_up_and_the_event_as_it_came(stand: Stand) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.answer("openai", 200, OBJECT)
    await stand.attempt(RETRIEVE)

    (row,) = await stand.store.claim("w", {"save": 1}, count=1, wait_ms=0)
    attempts = Attempts(stand.config, {}, fetcher=stand.fetcher)
    event = attempts.event(row)

    assert (event.video.model, event.video.status, event.video.id) == ("sora-2", "completed", VIDEO)
    assert event.video.expires_at is not None
    assert event.payload == thin()
    assert row["expires_at"] == 4_000_000_000_000
    handler = stand.errands.handlers[0]
    assert attempts.context(handler, event, row, log=stand.log).results == {}, "it is no handler's result"


async def test_why_a_video_failed_is_looked_up_too(stand: Stand) -> None:
    await stand.receive("openai", thin("video.failed"), message="wh_1")
    error = {"code": "moderation_blocked", "message": "No."}
    stand.answer("openai", 200, {**OBJECT, "status": "failed", "expires_at": None, "error": error})

    await stand.attempt(RETRIEVE)

    (event,) = await stand.events()
    assert event["object"]["error"] == error
    assert states(event) == {RETRIEVE: "done", "lament": "ready"}


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (401, Retry, "401 Unauthorized: the api_key of [sources.openai] is wrong"),
        (403, Retry, "403 Forbidden: the api_key of [sources.openai] may not see this video"),
        (
            404,
            Fail,
            "404 Not Found: the provider knows no such video; it was deleted, or is another account's",
        ),
        (410, Fail, "410 Gone: the provider knows no such video; it was deleted, or is another account's"),
        (429, Retry, "429 Too Many Requests from the provider's API"),
        (500, Retry, "500 Internal Server Error from the provider's API"),
        (503, Retry, "503 Service Unavailable from the provider's API"),
        (302, Fail, "302 Found from the provider's API"),
        (400, Fail, "400 Bad Request from the provider's API"),
    ],
)
async def test_each_refusal_of_the_api_is_worded_for_an_operator(
    stand: Stand, status: int, kind: type, reason: str
) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.answer("openai", status, {"error": {"message": "canary of the other side"}})

    attempt = await stand.attempt(RETRIEVE)

    assert type(attempt.outcome) is kind
    assert reason_of(attempt) == reason
    (event,) = await stand.events()
    assert event["object"] is None
    assert states(event)["save"] == ("waiting" if kind is Retry else "cancelled")


async def test_what_the_api_asks_to_wait_is_waited(stand: Stand) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.answer("openai", 429, retry_after="77")

    outcome = (await stand.attempt(RETRIEVE)).outcome

    assert isinstance(outcome, Retry)
    assert outcome.after is not None
    assert outcome.after.total_seconds() == 77


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        ({**OBJECT, "status": "in_progress"}, Retry, "the provider still says in_progress"),
        ({**OBJECT, "id": "video_2"}, Retry, "the provider's answer is about another video"),
        ({**OBJECT, "status": "x" * 300}, Fail, "the provider's answer can't be understood"),
        ([], Fail, "the provider's answer is no JSON object"),
        (b"<html>", Fail, "the provider's answer is no JSON object"),
    ],
)
async def test_an_odd_answer_is_not_learned(stand: Stand, content: Any, kind: type, reason: str) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.answer("openai", 200, content)

    attempt = await stand.attempt(RETRIEVE)

    assert type(attempt.outcome) is kind
    assert reason_of(attempt).startswith(reason)
    assert (await stand.events())[0]["object"] is None


async def test_an_unknown_status_is_no_reason_to_wait(stand: Stand) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.answer("openai", 200, {**OBJECT, "status": "archived"})

    assert (await stand.attempt(RETRIEVE)).outcome == Done({"status": "archived"})


async def test_a_prompt_of_any_length_leaves_no_file_behind(stand: Stand) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.answer("openai", 200, {**OBJECT, "prompt": "x" * 200_000})

    assert isinstance((await stand.attempt(RETRIEVE)).outcome, Done)

    assert (await stand.events())[0]["object"]["prompt"] == {"$long_string": {"bytes": 200_000}}
    assert stand.kept() == []


async def test_an_answer_over_the_limit_is_refused(stand: Stand) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.answer("openai", 200, {**OBJECT, "prompt": "x" * 2**20})

    assert "too large" in reason_of(await stand.attempt(RETRIEVE))
    assert stand.kept() == []


async def test_a_source_that_is_gone_is_named(stand: Stand) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.errands.use({})

    attempt = await stand.attempt(RETRIEVE)

    assert said_by(attempt) == (Fail, "the source openai is not configured any more")


async def test_another_key_is_used_from_the_next_job_on(stand: Stand) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.answer("openai", 401)
    stand.answer("openai", 200, OBJECT)
    await stand.attempt(RETRIEVE)
    tables = {"openai": {**TABLES["openai"], "api_key": "sk-canary-new"}}
    stand.errands.use(configured(parse({"sources": tables}, folder=Path("/"))))

    assert isinstance((await stand.attempt(RETRIEVE, number=2)).outcome, Done)

    assert stand.fetcher.asked[-1].headers["Authorization"] == "Bearer sk-canary-new"


@pytest.mark.fault("O1")
async def test_no_key_is_logged_or_stored(stand: Stand) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    for status in (500, 401, 404):
        stand.answer("openai", status)
    for number in (1, 2, 3):
        await stand.attempt(RETRIEVE, number=number)

    assert "canary" not in repr(stand.log.calls)
    assert "canary" not in repr(await stand.events())


@pytest.mark.fault("D8")
async def test_a_crash_after_learning_only_repeats_it(stand: Stand) -> None:
    await stand.receive("openai", thin(), message="wh_1")
    stand.answer("openai", 200, OBJECT)
    await stand.attempt(RETRIEVE, settles=False)
    await stand.store.release("w")

    assert isinstance((await stand.attempt(RETRIEVE)).outcome, Done)
    (event,) = await stand.events()
    assert event["object"] == OBJECT


# Confirming a callback.


async def confirmed(
    stand: Stand, said: dict[str, Any], answered: dict[str, Any], *, number: int = 1
) -> Attempt:
    """A callback says something, and its provider another thing, or the same."""
    await stand.receive("opennote", said)
    stand.answer("opennote", 200, answered)
    return await stand.attempt(CONFIRM, number=number)


def b64(text: str, *, times: int = 1) -> str:
    return base64.b64encode(text.encode() * times).decode()


BIG = 40_000
AGREEING: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (status_object(s3_url=f"{LINK}?X-Amz-Date=1"), status_object(s3_url=f"{LINK}?X-Amz-Date=2")),
    (status_object(b64_video=b64("a video")), status_object(b64_video=b64("a video"))),
    (status_object(b64_video=b64("video", times=BIG)), status_object(b64_video=b64("video", times=BIG))),
    (
        status_object(b64_video=b64("a video")),
        status_object(b64_video=f"data:video/mp4;base64,{b64('a video')}"),
    ),
    (status_object(s3_url=LINK), status_object()),
    (status_object(), status_object(s3_url=LINK)),
    (status_object(s3_url=LINK), status_object(s3_url=LINK, b64_video=b64("a video"))),
    (status_object("failed"), {**status_object("failed"), "error": "another word for it"}),
    (status_object(s3_url=LINK), status_object(s3_url=LINK, title="Another title")),
]
DENIED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        status_object(s3_url=LINK),
        status_object("failed"),
        "the provider says failed, the callback said completed",
    ),
    (
        status_object("failed"),
        status_object(s3_url=LINK),
        "the provider says completed, the callback said failed",
    ),
    (status_object(s3_url=f"{LINK}x"), status_object(s3_url=LINK), "the provider names another link"),
    (
        status_object(b64_video=b64("forged")),
        status_object(b64_video=b64("a video")),
        "the provider has another inline video",
    ),
    (
        status_object(b64_video=b64("forged", times=BIG)),
        status_object(b64_video=b64("genuin", times=BIG)),
        "the provider has another inline video",
    ),
    (
        status_object(b64_video="not base64!"),
        status_object(b64_video=b64("a video")),
        "the provider has another inline video",
    ),
    (
        status_object(s3_url=LINK, b64_video=b64("forged")),
        status_object(s3_url=LINK),
        "the provider has the video elsewhere",
    ),
    (
        status_object(s3_url=f"{LINK}x"),
        status_object(s3_url=LINK, b64_video=b64("a video")),
        "the provider names another link",
    ),
    (
        status_object(s3_url=f"{LINK}x"),
        status_object(b64_video=b64("a video")),
        "the provider has the video elsewhere",
    ),
]


@pytest.mark.fault("A4")
@pytest.mark.parametrize(("said", "answered"), AGREEING)
async def test_a_callback_that_its_provider_confirms_goes_to_its_handlers(
    stand: Stand, said: dict[str, Any], answered: dict[str, Any]
) -> None:
    attempt = await confirmed(stand, said, answered)

    assert attempt.outcome == Done({"status": said["status"]})
    (event,) = await stand.events()
    assert event["warnings"] == []
    waiting = "save" if said["status"] == "completed" else "lament"
    assert states(event) == {CONFIRM: "done", waiting: "ready"}
    assert not list((stand.bodies.directory / PASSING).glob("*"))
    assert len(stand.kept()) == (1 if len(json.dumps(said)) > 65536 else 0), "only the callback's own"


@pytest.mark.fault("A4")
@pytest.mark.parametrize(("said", "answered", "reason"), DENIED)
async def test_a_callback_that_its_provider_denies_is_refuted_and_the_truth_recorded(
    stand: Stand, said: dict[str, Any], answered: dict[str, Any], reason: str
) -> None:
    attempt = await confirmed(stand, said, answered)

    assert said_by(attempt) == (Cancel, reason)
    forged, true = await stand.events()
    assert forged["warnings"] == ["refuted"]
    assert set(states(forged).values()) == {"cancelled"}
    assert (true["what"], true["warnings"]) == (answered["status"], [])
    assert [delivery["via"] for delivery in true["deliveries"]] == ["poll"]
    assert states(true) == {"save" if answered["status"] == "completed" else "lament": "ready"}
    assert len(stand.kept()) == sum(len(json.dumps(part)) > 65536 for part in (said, answered))
    (rejection,) = await stand.store.rejections(limit=10)
    assert rejection["reason"] == f"refuted {forged['id']}: {reason}"
    assert (rejection["source"], rejection["status"]) == ("opennote", 200)


async def test_the_truth_can_be_handled_whole(stand: Stand) -> None:
    genuine = b64("genuin", times=BIG)
    await confirmed(
        stand, status_object(b64_video=b64("forged", times=BIG)), status_object(b64_video=genuine)
    )

    (row,) = await stand.store.claim("w", {"save": 1}, count=1, wait_ms=0)
    attempts = Attempts(stand.config, {}, fetcher=stand.fetcher)
    event = attempts.event(row)
    context = attempts.context(stand.errands.handlers[0], event, row, log=stand.log)

    assert b"".join([chunk async for chunk in context.open_video()]) == b"genuin" * BIG


@pytest.mark.parametrize("status", ["pending", "status_error"])
async def test_a_provider_that_does_not_know_yet_is_asked_again(stand: Stand, status: str) -> None:
    attempt = await confirmed(stand, status_object(s3_url=LINK), status_object(status))

    assert isinstance(attempt.outcome, Retry)
    assert reason_of(attempt) == f"the provider says {status}, the callback said completed"
    (event,) = await stand.events()
    assert (event["warnings"], states(event)["save"]) == ([], "waiting")


async def test_what_was_not_confirmed_by_the_last_attempt_is_refuted_and_watched(stand: Stand) -> None:
    attempt = await confirmed(stand, status_object(s3_url=LINK), status_object("pending"), number=20)

    assert said_by(attempt) == (Cancel, "the provider says pending, the callback said completed")
    (event,) = await stand.events()
    assert event["warnings"] == ["refuted"]
    (watch,) = await stand.store.watches.page(source=None, ended=False, limit=10)
    assert (watch.source, watch.video_id, watch.identity) == ("opennote", VIDEO, f"{VIDEO}@org")


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_video_that_its_provider_does_not_know_is_refuted_at_the_third_time(
    stand: Stand, number: int
) -> None:
    await stand.receive("opennote", status_object(s3_url=LINK))
    stand.answer("opennote", 404)

    attempt = await stand.attempt(CONFIRM, number=number)

    if number < 3:
        assert isinstance(attempt.outcome, Retry)
    else:
        assert said_by(attempt) == (Cancel, "the provider knows no such video (404 Not Found)")
    assert (await stand.events())[0]["warnings"] == (["refuted"] if number == 3 else [])
    assert await stand.store.watches.page(source=None, ended=False, limit=10) == []


@pytest.mark.parametrize("status", [401, 429, 500])
@pytest.mark.parametrize("number", [1, 20])
async def test_nothing_is_refuted_by_a_provider_that_can_not_be_asked(
    stand: Stand, status: int, number: int
) -> None:
    await stand.receive("opennote", status_object(s3_url=LINK))
    stand.answer("opennote", status)

    assert isinstance((await stand.attempt(CONFIRM, number=number)).outcome, Retry)
    assert (await stand.events())[0]["warnings"] == []


async def test_a_true_callback_that_came_meanwhile_is_not_lost(stand: Stand) -> None:
    true = status_object(s3_url=LINK)
    await stand.receive("opennote", status_object(s3_url=f"{LINK}x"))
    await stand.receive("opennote", true)
    stand.answer("opennote", 200, true)

    await stand.attempt(CONFIRM)

    forged, recorded = await stand.events()
    assert (forged["conflict"], forged["warnings"]) == (1, ["refuted"])
    assert json.loads(recorded["body"]) == true
    assert states(recorded) == {"save": "ready"}


async def test_a_true_callback_that_comes_later_is_a_duplicate_of_what_was_asked(stand: Stand) -> None:
    true = status_object(s3_url=LINK)
    await confirmed(stand, status_object("failed"), true)

    event = await stand.receive("opennote", true)

    assert event == (await stand.events())[1]["id"]


@pytest.mark.fault("D8")
async def test_a_crash_after_the_refutation_only_repeats_it(stand: Stand) -> None:
    await stand.receive("opennote", status_object("failed"))
    stand.answer("opennote", 200, status_object(s3_url=LINK))
    await stand.attempt(CONFIRM, settles=False)
    await stand.store.release("w")

    attempt = await stand.attempt(CONFIRM)

    assert isinstance(attempt.outcome, Cancel)
    forged, true = await stand.events()
    assert (forged["warnings"], true["duplicates"]) == (["refuted"], 1)
    assert len(await stand.store.rejections(limit=10)) == 1


@pytest.mark.fault("D8")
async def test_what_was_refuted_stays_refuted_whatever_the_provider_says_next(stand: Stand) -> None:
    said = status_object("failed")
    await stand.receive("opennote", said)
    stand.answer("opennote", 200, status_object(s3_url=LINK))
    stand.answer("opennote", 200, said)
    await stand.attempt(CONFIRM, settles=False)
    await stand.store.release("w")

    assert said_by(await stand.attempt(CONFIRM)) == (Cancel, "it was refuted before")
    assert states((await stand.events())[0])["lament"] == "cancelled"


async def test_a_callback_whose_body_file_is_gone_is_not_refuted_for_that(stand: Stand) -> None:
    said = status_object(b64_video=b64("video", times=BIG))
    await stand.receive("opennote", said)
    for name in stand.kept():
        stand.bodies.path(name).unlink()
    stand.answer("opennote", 200, said)

    assert reason_of(await stand.attempt(CONFIRM)) == "the body file that carries the video is gone"
    assert (await stand.events())[0]["warnings"] == []


async def test_a_callback_without_any_id_can_not_be_confirmed(stand: Stand) -> None:
    await stand.receive("opennote", {"status": "failed"})

    assert reason_of(await stand.attempt(CONFIRM)) == "nobody can be asked: the callback names no video"


async def test_a_store_that_can_not_write_is_tried_again(stand: Stand) -> None:
    await stand.receive("opennote", status_object("failed"))
    stand.answer("opennote", 200, status_object(s3_url=LINK))
    with failing(stand.config.database, "INSERT ON rejections"):
        attempt = await stand.attempt(CONFIRM, settles=False)

    assert isinstance(attempt.outcome, Retry)
    assert [event["warnings"] for event in await stand.events()] == [[]]


# As handlers.


def test_both_are_handlers_of_a_router_that_nobody_else_may_have(stand_handlers: Callable[[], Any]) -> None:
    by_name = {handler.name: handler for handler in stand_handlers()}

    assert by_name.keys() == {RETRIEVE, CONFIRM}
    assert all(name.startswith("receiver.") and handler.summary for name, handler in by_name.items())


@pytest.fixture
def stand_handlers(tmp_path: Path) -> Callable[[], Any]:
    def handlers() -> Any:
        return Errands(
            {},
            store=None,  # type: ignore[arg-type]
            fetcher=CannedFetcher(),
            bodies=Bodies(tmp_path),
            patience=Patience(1, 2),
            log=None,
        ).handlers

    return handlers
