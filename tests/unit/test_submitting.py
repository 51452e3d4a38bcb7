"""Handing in orders, with a real store and a provider on loopback that answers in every way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from receiver import orders, settings, sources, store
from receiver.asking import ask
from receiver.bodies import Bodies
from receiver.errors import CommandFailed, Hopeless, StoreDown, Unavailable
from receiver.fetch import Fetcher, Pace
from receiver.orders import Order
from receiver.sources.base import ApiRequest
from receiver.store.base import Store
from receiver.store.submissions import Submission
from receiver.store.watches import Watch
from receiver.submitting import Asked, Desk
from receiver.watching import Patience
from tests.contract.stand import failing
from tests.file_server import FileServer, serving_files

KEY = "sk-canary-4f1d9c0123456789"
ORDER = Order({"script": "Rain falls."})
PATH = "/v1/video/create"
ACCEPTED = json.dumps({"success": True, "message": "wait", "video_id": "v1"}).encode()
NOW = 1_790_000_000_000
PATIENCE = Patience(600_000, 86_400_000)


class Stand:
    """A desk for one source, the provider that it asks, and what the store says of it all."""

    def __init__(self, folder: Path, api: FileServer, fetcher: Fetcher, bodies: Bodies) -> None:
        self.api = api
        self.database = folder / "receiver.db"
        tables = {
            "opennote": {
                "kind": "opennote",
                "organization_id": "org",
                "api_keys": [KEY],
                "api_url": api.base,
            },
            "gateway": {"kind": "openai-compatible", "api_key": KEY, "api_url": f"{api.base}/v1"},
        }
        self.settings = settings.parse({"sources": tables}, folder=folder)
        self._numbers = count()
        self._send = partial(ask, fetcher, bodies=bodies, limit=2**20, timeout_seconds=5)

    def opened(self) -> AbstractAsyncContextManager[Store]:
        return store.opened(self.database, lease_seconds=60)

    def desk(
        self,
        name: str = "opennote",
        *,
        open_store: Callable[[], Any] | None = None,
        send: Callable[[ApiRequest], Any] | None = None,
    ) -> Desk:
        return Desk(
            sources.configured(self.settings)[name],
            KEY,
            PATIENCE,
            open_store or self.opened,
            send or self._send,
            lambda length: next(self._numbers).to_bytes(length, "big"),
            clock=lambda: NOW,
            pause_seconds=0,
        )

    def request(self, name: str = "opennote", *, order: Order = ORDER, base: str | None = None) -> ApiRequest:
        table = self.settings.sources[name]
        at = orders.Endpoint(base or table.api_url, KEY)
        return orders.request(table.kind, order, at=at, callback="https://hooks", boundary="b")

    async def hand_in(self, **options: Any) -> Asked:
        asked = await self.desk(**options).hand_in(ORDER, self.request())
        assert isinstance(asked, Asked)
        return asked

    async def submissions(self) -> list[Submission]:
        async with self.opened() as opened:
            return await opened.submissions.page()

    async def watches(self) -> list[Watch]:
        async with self.opened() as opened:
            return await opened.watches.page()


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    fetcher = Fetcher(max_bytes=2**20, pace=Pace(connect_seconds=2, idle_seconds=2))
    bodies = Bodies(tmp_path / "bodies", reserve=0)
    async with serving_files() as api:
        yield Stand(tmp_path, api, fetcher, bodies)
        await fetcher.aclose()
        bodies.close()


@pytest.mark.anyio
async def test_an_accepted_order_is_noted_and_its_video_is_watched(stand: Stand) -> None:
    stand.api.give(PATH, ACCEPTED)

    asked = await stand.hand_in()

    assert (asked.reply.state, asked.reply.video_id) == ("accepted", "v1")
    assert asked.payload["message"] == "wait"
    (kept,) = await stand.submissions()
    assert kept.id == asked.submission
    assert (kept.outcome, kept.video_id, kept.error) == ("accepted", "v1", None)
    assert (kept.source, kept.kind, kept.request) == ("opennote", "opennote", '{"script":"Rain falls."}')
    (watch,) = await stand.watches()
    assert (watch.source, watch.video_id, watch.identity) == ("opennote", "v1", "v1@org")
    assert (watch.next_at, watch.deadline_at) == (NOW + 600_000, NOW + 86_400_000)
    assert len(stand.api.requests) == 1


@pytest.mark.anyio
async def test_a_video_of_a_gateway_is_watched_under_its_own_id(stand: Stand) -> None:
    stand.api.give("/v1/videos", b'{"id": "video_1", "object": "video", "status": "queued"}')

    asked = await stand.desk("gateway").hand_in(ORDER, stand.request("gateway"))

    assert isinstance(asked, Asked)
    (watch,) = await stand.watches()
    assert (watch.source, watch.kind, watch.identity) == ("gateway", "openai-compatible", "video_1")


@pytest.mark.anyio
async def test_the_intent_is_on_disk_before_the_paid_request_arrives(stand: Stand) -> None:
    seen: list[Submission] = []

    async def look(_: str, writer: asyncio.StreamWriter) -> None:
        seen.extend(await stand.submissions())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(ACCEPTED), ACCEPTED))

    stand.api.answers[PATH] = look

    await stand.hand_in()

    (intent,) = seen
    assert (intent.outcome, intent.intended_at, intent.video_id) == (None, NOW, None)


@pytest.mark.anyio
async def test_nothing_is_sent_when_nothing_can_be_recorded(stand: Stand) -> None:
    await stand.submissions()
    with failing(stand.database, "INSERT ON submissions"), pytest.raises(Unavailable):
        await stand.hand_in()

    assert stand.api.connections == 0


@pytest.mark.anyio
@pytest.mark.parametrize("outcome", ["accepted", "unknown", None])
async def test_the_same_order_is_not_sent_twice(stand: Stand, outcome: str | None) -> None:
    stand.api.give(PATH, ACCEPTED if outcome == "accepted" else b"<html>")
    if outcome is not None:
        first = (await stand.hand_in()).submission
    else:
        with pytest.raises(asyncio.CancelledError):
            await stand.desk(send=never_answered, open_store=once(stand.opened)).hand_in(
                ORDER, stand.request()
            )
        first = (await stand.submissions())[0].id
    sent = len(stand.api.requests)

    earlier = await stand.desk().hand_in(ORDER, stand.request())

    assert isinstance(earlier, Submission)
    assert (earlier.id, earlier.outcome) == (first, outcome)
    assert len(stand.api.requests) == sent


async def never_answered(_: ApiRequest) -> Any:
    raise asyncio.CancelledError


def once(opened: Callable[[], Any]) -> Callable[[], Any]:
    """The first opening of a store works; before the second one the program has died."""
    tries = iter([opened])

    def open_store() -> Any:
        for first in tries:
            return first()
        raise asyncio.CancelledError

    return open_store


@pytest.mark.anyio
async def test_paying_twice_can_be_meant(stand: Stand) -> None:
    stand.api.give(PATH, ACCEPTED)
    await stand.hand_in()

    again = await stand.desk().hand_in(ORDER, stand.request(), again=True)

    assert isinstance(again, Asked)
    assert len(stand.api.requests) == 2
    assert len(await stand.submissions()) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "complaint", "outcome", "reason"),
    [
        ("401 X", b'{"error": "no", "message": "no"}', "refused", "401 Unauthorized: the provider does not"),
        ("402 X", b'{"error": "Insufficient credits"}', "refused", "402 Payment Required: Insufficient cred"),
        ("422 X", b'{"detail": [{"msg": "odd"}]}', "refused", "422 Unprocessable Entity: odd"),
        (
            "429 X\r\nRetry-After: 7",
            b"{}",
            "refused",
            "429 Too Many Requests: the provider is asked too often;",
        ),
        (
            "500 X",
            b'{"error": "Video generation failed"}',
            "refused",
            "500 Internal Server Error: Video gener",
        ),
        ("302 X\r\nLocation: /x", b"", "refused", "302 Found"),
        ("504 X", b"<html>", "unknown", "504 Gateway Timeout"),
        ("200 OK", b'{"success": true}', "unknown", "the provider's answer names no video"),
        ("200 OK", b"<html>", "unknown", "the provider's answer is no JSON object"),
        ("200 OK\r\nContent-Encoding: gzip", b"x", "unknown", "the provider's answer can't be read"),
        ("200 OK", b'{"success": false, "message": "sorry"}', "refused", "sorry"),
    ],
)
async def test_what_the_provider_answers_instead_is_noted_in_a_line(
    stand: Stand, status: str, complaint: bytes, outcome: str, reason: str
) -> None:
    stand.api.give(PATH, complaint, status=status)

    asked = await stand.hand_in()

    (kept,) = await stand.submissions()
    assert (kept.outcome, kept.error) == (outcome, asked.reply.reason)
    assert asked.reply.reason.startswith(reason)
    assert await stand.watches() == []


@pytest.mark.anyio
async def test_an_order_whose_answer_does_not_come_may_be_paid_for(stand: Stand) -> None:
    stand.api.answers[PATH] = b""

    asked = await stand.hand_in()

    (kept,) = await stand.submissions()
    assert (asked.reply.state, kept.outcome) == ("unknown", "unknown")
    assert len(stand.api.requests) == 1, "it is never sent again by itself"


@pytest.mark.anyio
async def test_an_order_that_reaches_nobody_is_not_paid_for(stand: Stand) -> None:
    async with serving_files() as gone:
        base = gone.base
    asked = await stand.desk().hand_in(ORDER, stand.request(base=base))

    assert isinstance(asked, Asked)
    assert asked.reply.state == "refused"
    assert "the connection failed" in asked.reply.reason
    assert [kept.outcome for kept in await stand.submissions()] == ["refused"]
    stand.api.give(PATH, ACCEPTED)
    retried = await stand.desk().hand_in(ORDER, stand.request())
    assert isinstance(retried, Asked), "nothing stands in its way"


@pytest.mark.anyio
async def test_a_request_that_can_not_be_sent_was_never_meant(stand: Stand) -> None:
    odd = ApiRequest("http://example.com/v1", "http://example.com", "POST")

    with pytest.raises(Hopeless, match="plain http"):
        await stand.desk().hand_in(ORDER, odd)

    assert await stand.submissions() == []


@pytest.mark.anyio
async def test_whoever_is_interrupted_while_waiting_leaves_it_to_be_seen(stand: Stand) -> None:
    arrived = asyncio.Event()

    async def stall(_: str, __: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    stand.api.answers[PATH] = stall
    task = asyncio.create_task(stand.hand_in())
    await arrived.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    (kept,) = await stand.submissions()
    assert (kept.outcome, kept.error) == ("unknown", "it was interrupted before the answer came")


@pytest.mark.anyio
async def test_a_store_that_is_away_for_a_while_loses_no_video(stand: Stand) -> None:
    stand.api.give(PATH, ACCEPTED)
    tries: list[int] = []

    @asynccontextmanager
    async def open_store() -> AsyncIterator[Store]:
        tries.append(1)
        if 1 < len(tries) < 8:
            raise StoreDown("no store is running")
        async with stand.opened() as opened:
            yield opened

    await stand.hand_in(open_store=open_store)

    assert [kept.video_id for kept in await stand.submissions()] == ["v1"]
    assert [watch.video_id for watch in await stand.watches()] == ["v1"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ACCEPTED, "video v1 was accepted, and that can't be recorded for sub_"),
        (b'{"success": false, "message": "sorry"}', "sorry; and that can't be recorded for sub_"),
    ],
)
async def test_a_video_that_nobody_can_note_is_at_least_told(stand: Stand, answer: bytes, said: str) -> None:
    stand.api.give(PATH, answer)
    await stand.submissions()

    with failing(stand.database, "UPDATE ON submissions"), pytest.raises(CommandFailed) as caught:
        await stand.hand_in()

    assert str(caught.value).startswith(said)
    assert ("receiver watch opennote v1" in str(caught.value)) == (answer == ACCEPTED)


@pytest.mark.anyio
async def test_a_crash_after_the_answer_leaves_the_video_watched_or_the_order_open(stand: Stand) -> None:
    stand.api.give(PATH, ACCEPTED)
    await stand.submissions()

    with failing(stand.database, "UPDATE ON submissions"), pytest.raises(CommandFailed):
        await stand.hand_in()

    assert [watch.video_id for watch in await stand.watches()] == ["v1"]
    assert [kept.outcome for kept in await stand.submissions()] == [None]


@pytest.mark.anyio
@pytest.mark.fault("O1")
async def test_no_credential_is_in_the_store_whatever_the_provider_says(stand: Stand) -> None:
    order = Order(
        {"script": f"my key is {KEY}", "api_key": "hunter2", "note": "https://me:hunter2@x/?k=hunter2"}
    )
    stand.api.give(
        PATH, json.dumps({"error": f"bad key {KEY}", "message": KEY[:12]}).encode(), status="422 X"
    )

    await stand.desk().hand_in(order, stand.request(order=order))

    async with stand.opened() as opened:
        await opened.publish([])
    kept = b"".join(
        path.read_bytes() for path in stand.database.parent.glob("receiver.db*") if path.is_file()
    )
    assert b"script" in kept
    for secret in (KEY, KEY[:12], "hunter2"):
        assert secret.encode() not in kept
