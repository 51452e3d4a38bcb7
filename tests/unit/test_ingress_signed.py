"""The endpoint with a signed source: believed bodies only, both the quick way and the long one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import CapturingLogger

from receiver.answers import Answer
from receiver.bodies import Bodies
from receiver.ingress import Ingress
from receiver.model import utc
from receiver.peers import BadCredentials
from receiver.rejections import Rejections
from receiver.router import HandlerCard
from receiver.signing import Signer
from receiver.sources.openai import Openai
from receiver.store.service import Service
from receiver.store.values import EventFilter, Row
from tests.samples.reading import OLD_SECRET, SECRET, SIGNED_AT, gateway, openai, opennote, sample

pytestmark = pytest.mark.anyio
CARDS = [
    HandlerCard("save_video", ("video.completed",), None, 20, 600, None, None, ""),
    HandlerCard("tell", ("video.completed",), None, 20, 600, None, "save_video", ""),
]
COMPLETED = sample("openai", "completed")
LIMIT = 2**20
Headers = list[tuple[bytes, bytes]]


class Stand:
    """An endpoint with a source of each kind."""

    def __init__(self, folder: Path) -> None:
        self.now = float(SIGNED_AT)
        self.log = CapturingLogger()
        self.store = Service(folder / "receiver.db", run="r", lease_seconds=60)
        self.bodies = Bodies(folder / "bodies", reserve=0)
        self.rejections = Rejections(self.store, wall=lambda: 0, log=self.log)
        self._ids = iter(range(10**6))
        self.ingress = Ingress(
            {"openai": self.source(SECRET), "gateway": gateway(), "opennote": opennote()},
            cards=CARDS,
            intake=self.store,
            bodies=self.bodies,
            rejections=self.rejections,
            bad_credentials=BadCredentials(clock=lambda: 0.0),
            wall=lambda: SIGNED_AT * 1000,
            random=lambda count: next(self._ids).to_bytes(count, "big"),
            log=self.log,
        )

    def source(self, *secrets: str) -> Openai:
        return openai(clock=lambda: self.now, webhook_secrets=list(secrets))

    async def post(
        self, headers: Headers, body: bytes, *, path: str = "/webhooks/openai", pieces: int = 1
    ) -> tuple[int, dict[str, Any]]:
        """The long way: through the ASGI interface."""
        size = -(-len(body) // pieces) or 1
        chunks = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
        asked = iter(
            {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
            for number, chunk in enumerate(chunks, start=1)
        )
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return next(asked)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": headers,
            "client": ("192.0.2.1", 5),
        }
        await self.ingress(scope, receive, send)
        return sent[0]["status"], orjson.loads(sent[1]["body"])

    async def take(self, headers: Headers, body: bytes) -> Answer | None:
        """The quick way; None when it was left to the long one."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        if not self.ingress.take(b"/webhooks/openai", headers, body, answered.set_result):
            return None
        return await answered

    async def events(self) -> list[Row]:
        return await self.store.events(EventFilter(), limit=100, before=None)


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    made = Stand(tmp_path)
    yield made
    await made.rejections.close()
    await made.store.close()
    made.bodies.close()


def signed(body: bytes, *, message_id: str = "wh_1", secret: str = SECRET, at: int = SIGNED_AT) -> Headers:
    lines = Signer([secret]).headers(message_id, at=utc(at * 1000), body=body)
    pairs = [(name.encode(), value.encode()) for name, value in lines.items()]
    return [*pairs, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]


async def test_a_thin_event_is_recorded_with_jobs_that_wait_for_the_video_to_be_looked_up(
    stand: Stand,
) -> None:
    status, said = await stand.post(COMPLETED.headers, COMPLETED.body)

    assert (status, said["status"]) == (200, "accepted")
    event = await stand.store.event(said["event"])
    assert (event["video_id"], event["type"], event["kind"]) == (
        "video_sample_1",
        "video.completed",
        "openai",
    )
    assert event["body"].encode() == COMPLETED.body
    assert [(job["handler"], job["state"], job["waits_for"]) for job in event["jobs"]] == [
        ("receiver.retrieve", "ready", None),
        ("save_video", "waiting", "receiver.retrieve"),
        ("tell", "waiting", "save_video"),
    ]


async def test_the_quick_way_records_the_same(stand: Stand) -> None:
    answer = await stand.take(COMPLETED.headers, COMPLETED.body)

    assert answer is not None
    assert answer.status == 200
    (event,) = await stand.events()
    assert [job["handler"] for job in event["jobs"]] == ["receiver.retrieve", "save_video", "tell"]


async def test_the_quick_way_leaves_what_is_wrong_to_the_long_one_which_denies_it(stand: Stand) -> None:
    wrong = COMPLETED.body.replace(b"video_sample_1", b"video_sample_2")

    assert await stand.take(COMPLETED.headers, wrong) is None
    status, said = await stand.post(COMPLETED.headers, wrong)

    assert (status, await stand.events()) == (401, [])
    assert said == (await stand.post([], b"{}"))[1], "one body for every reason"
    await stand.rejections.close()
    reasons = {row["reason"] for row in await stand.store.rejections(limit=10)}
    assert "webhook-signature is wrong" in reasons


@pytest.mark.fault("A5")
@pytest.mark.parametrize("pieces", [1, 3, 50])
async def test_a_body_is_verified_as_it_came_however_it_came(stand: Stand, pieces: int) -> None:
    request = sample("openai", "completed_oddly_spelled")

    status, said = await stand.post(request.headers, request.body, pieces=pieces)

    assert status == 200
    assert (await stand.store.event(said["event"]))["body"].encode() == request.body


@pytest.mark.fault("A6")
async def test_the_time_of_the_answer_is_what_a_signature_is_judged_by(stand: Stand) -> None:
    stand.now += 301
    assert (await stand.post(COMPLETED.headers, COMPLETED.body))[0] == 401
    assert await stand.take(COMPLETED.headers, COMPLETED.body) is None
    stand.now -= 1
    assert (await stand.post(COMPLETED.headers, COMPLETED.body))[0] == 200


@pytest.mark.fault("A7", "D1")
async def test_fifty_copies_at_once_are_one_event(stand: Stand) -> None:
    copies = [stand.post(COMPLETED.headers, COMPLETED.body) for _ in range(25)]
    quick = [stand.take(COMPLETED.headers, COMPLETED.body) for _ in range(25)]

    answers = await asyncio.gather(*copies)
    taken = await asyncio.gather(*quick)

    assert {status for status, _ in answers} == {200}
    assert all(answer is not None and answer.status == 200 for answer in taken)
    assert sorted(said["status"] for _, said in answers).count("accepted") <= 1
    (event,) = await stand.events()
    assert event["duplicates"] == 49


@pytest.mark.fault("D7")
async def test_the_same_message_days_later_is_a_duplicate(stand: Stand) -> None:
    body = COMPLETED.body
    first = await stand.post(signed(body), body)
    days = 73 * 3600
    stand.now += days

    again = await stand.post(signed(body, at=SIGNED_AT + days), body)

    assert (first[1]["status"], again[1]["status"]) == ("accepted", "duplicate")
    assert again[1]["event"] == first[1]["event"]


@pytest.mark.fault("A8")
async def test_secrets_are_rotated_without_a_denial_of_a_good_sender(stand: Stand) -> None:
    statuses: list[int] = []
    for secrets in ((SECRET,), (SECRET, OLD_SECRET), (OLD_SECRET,)):
        stand.ingress.use({"openai": stand.source(*secrets)})
        for secret in secrets:
            body = orjson.dumps({"type": "video.completed", "data": {"id": f"video_{len(statuses)}"}})
            statuses.append((await stand.post(signed(body, secret=secret), body))[0])

    assert statuses == [200] * 4
    body = b'{"type":"video.completed","data":{"id":"video_late"}}'
    assert (await stand.post(signed(body), body))[0] == 401


@pytest.mark.fault("A11")
async def test_credentials_of_one_source_are_not_believed_at_the_address_of_another(stand: Stand) -> None:
    theirs = sample("opennote", "completed_s3")
    requests = {"openai": COMPLETED, "opennote": theirs}

    statuses = {
        (path, sender): (await stand.post(request.headers, request.body, path=f"/webhooks/{path}"))[0]
        for path in requests
        for sender, request in requests.items()
    }

    assert statuses == {
        ("openai", "openai"): 200,
        ("openai", "opennote"): 401,
        ("opennote", "openai"): 401,
        ("opennote", "opennote"): 200,
    }


async def test_a_gateway_has_no_address(stand: Stand) -> None:
    assert (await stand.post(COMPLETED.headers, COMPLETED.body, path="/webhooks/gateway"))[0] == 404
    assert (await stand.post([], b"", path="/webhooks/gateway"))[0] == 404


@pytest.mark.fault("B4")
@pytest.mark.parametrize(("size", "expected"), [(LIMIT - 1, 200), (LIMIT, 200), (LIMIT + 1, 413)])
async def test_a_signed_body_has_a_limit_of_its_own(stand: Stand, size: int, expected: int) -> None:
    head = b'{"type":"video.completed","data":{"id":"video_1","x":"'
    body = head + b"x" * (size - len(head) - 3) + b'"}}'
    assert len(body) == size

    headers = signed(body)
    assert (await stand.post(headers, body, pieces=20))[0] == expected
    streamed = [line for line in headers if line[0] != b"content-length"]
    assert (await stand.post(streamed, body, pieces=20))[0] == expected


@pytest.mark.fault("B4")
async def test_a_large_body_that_is_not_believed_leaves_nothing_behind(stand: Stand) -> None:
    body = b'{"type":"video.completed","x":"' + b"x" * 500_000 + b'"}'

    status, _ = await stand.post(signed(body, secret=OLD_SECRET), body, pieces=9)

    assert status == 401
    assert [path for path in stand.bodies.directory.rglob("*") if path.is_file()] == []


@pytest.mark.fault("P5")
@pytest.mark.parametrize("case", ["response_completed", "failed"])
async def test_every_other_event_is_stored_and_acknowledged(stand: Stand, case: str) -> None:
    request = sample("openai", case)

    status, said = await stand.post(request.headers, request.body)

    assert (status, said["status"]) == (200, "accepted")
    assert (await stand.post(request.headers, request.body))[1]["status"] == "duplicate"


@pytest.mark.fault("D2")
async def test_who_is_not_believed_reserves_no_id(stand: Stand) -> None:
    body = COMPLETED.body
    for _ in range(20):
        assert (await stand.post(signed(body, secret=OLD_SECRET), body))[0] == 401

    assert (await stand.post(signed(body), body))[1]["status"] == "accepted"


@pytest.mark.fault("D3", "D5")
@pytest.mark.parametrize("first", ["video.completed", "video.failed"])
async def test_completed_is_never_undone_and_failed_may_be(stand: Stand, first: str) -> None:
    kinds = [first, "video.failed" if first == "video.completed" else "video.completed"]
    said = []
    for number, kind in enumerate(kinds):
        body = orjson.dumps({"type": kind, "data": {"id": "video_1"}})
        said.append((await stand.post(signed(body, message_id=f"wh_{number}"), body))[1]["status"])

    events = await stand.events()
    if first == "video.completed":
        assert said == ["accepted", "duplicate"]
        assert [(event["what"], event["conflict"]) for event in events] == [("completed", 1)]
    else:
        assert said == ["accepted", "accepted"]
        assert [(event["what"], event["warnings"]) for event in events] == [
            ("completed", ["after_failure"]),
            ("failed", []),
        ]
