"""Every way in which the sandbox misbehaves, as its clients and whoever is called back see it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import httpx
import pytest

from receiver.sandbox.mischief import MISHAPS, Mischief
from receiver.sandbox.options import Behaviour, Options
from receiver.sandbox.server import serving
from tests.acceptance.conftest import NO_TLS, ORGANIZATION

pytestmark = pytest.mark.anyio

KEY = "sk_opennote_test"
BEHAVIOUR = Behaviour(timedelta(0), (0.01,) * 20, timeout_seconds=5.0)


class Hook:
    """Whoever is called back: believes the right key only."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        """Video and status of every callback that was believed."""
        self.disbelieved = 0
        self.url = ""
        self.news = asyncio.Condition()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
                body = json.loads(await reader.readexactly(int(fields["content-length"])))
                is_believed = fields["x-api-key"] == KEY
                if is_believed:
                    async with self.news:
                        self.heard.append((body["video_id"], body["status"]))
                        self.news.notify_all()
                self.disbelieved += not is_believed
                status = b"200 OK" if is_believed else b"401 Unauthorized"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\nsaid")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class Sandbox:
    """A running sandbox, its client, and whoever it calls back."""

    def __init__(self, client: httpx.AsyncClient, hook: Hook) -> None:
        self.client = client
        self.hook = hook

    async def create(self, **fields: object) -> str:
        order = {"script": "Rain.", "upload_to_s3": True, "webhook_url": self.hook.url, **fields}
        return cast(str, (await self.client.post("/v1/video/create", json=order)).json()["video_id"])

    async def job(self, video_id: str) -> dict[str, Any]:
        jobs = (await self.client.get("/_sandbox/jobs")).json()
        return cast(dict[str, Any], next(job for job in jobs if job["video_id"] == video_id))

    async def until(self, video_id: str, seen: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until this is seen of a job, and give it."""
        deadline = asyncio.get_running_loop().time() + 10
        while not seen(job := await self.job(video_id)):
            assert asyncio.get_running_loop().time() < deadline, job
            await asyncio.sleep(0.01)
        return job

    async def counted(self, **wanted: int) -> None:
        """Wait until so much has gone wrong."""
        deadline = asyncio.get_running_loop().time() + 10
        while not wanted.items() <= (counts := await self.counts()).items():
            assert asyncio.get_running_loop().time() < deadline, counts
            await asyncio.sleep(0.01)

    async def counts(self) -> dict[str, int]:
        return cast(dict[str, int], (await self.client.get("/_sandbox/counts")).json())

    async def heard(self, count: int) -> list[str]:
        """Wait for so many callbacks that are believed, and give what they said."""
        async with asyncio.timeout(10), self.hook.news:
            await self.hook.news.wait_for(lambda: len(self.hook.heard) >= count)
        return [status for _, status in self.hook.heard]

    async def link(self) -> str:
        """Have a video made; give its link."""
        video_id = await self.create()
        await self.heard(1)
        return cast(str, (await self.job(video_id))["s3_url"])


@asynccontextmanager
async def misbehaving(**mischief: Any) -> AsyncIterator[Sandbox]:
    behaviour = replace(BEHAVIOUR, mischief=Mischief(**mischief))
    options = Options(port=0, organization_id=ORGANIZATION, behaviour=behaviour)
    hook = Hook()
    server = await asyncio.start_server(hook.answer, "127.0.0.1", 0)
    hook.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        server,
        serving(options, find=lambda: None) as base_url,
        httpx.AsyncClient(
            base_url=base_url, headers=headers, verify=NO_TLS, trust_env=False, timeout=10
        ) as client,
    ):
        yield Sandbox(client, hook)


async def test_a_well_behaved_sandbox_calls_back_once_and_counts_nothing() -> None:
    async with misbehaving() as sandbox:
        link = await sandbox.link()
        assert (await sandbox.client.get(link)).status_code == 200
        assert sandbox.hook.heard[0][1] == "completed"
        assert await sandbox.counts() == dict.fromkeys(MISHAPS, 0)


async def test_a_callback_comes_twice() -> None:
    async with misbehaving(duplicate=1) as sandbox:
        video_id = await sandbox.create()
        assert await sandbox.heard(2) == ["completed"] * 2
        job = await sandbox.until(video_id, lambda job: job["is_over"])
        assert (await sandbox.counts())["duplicate"] == 1
        assert [(one["status"], one["answer"]) for one in job["callbacks"]] == [(200, "said")] * 2


async def test_a_callback_is_never_sent() -> None:
    async with misbehaving(drop=1) as sandbox:
        video_id = await sandbox.create()
        job = await sandbox.until(video_id, lambda job: job["is_over"])
        assert (await sandbox.counts())["drop"] == 1
        assert (job["status"], job["callbacks"], sandbox.hook.heard) == ("completed", [], [])


async def test_a_callback_is_late() -> None:
    async with misbehaving(late=1, late_seconds=0.4) as sandbox:
        video_id = await sandbox.create()
        await sandbox.counted(late=1)
        assert await sandbox.heard(1) == ["completed"]
        job = await sandbox.until(video_id, lambda job: job["is_over"])
        times = [datetime.fromisoformat(at) for at in (job["created_at"], job["callbacks"][0]["at"])]
        assert times[1] - times[0] > timedelta(seconds=0.1)


async def test_a_callback_lets_one_of_a_later_video_go_first() -> None:
    async with misbehaving(reorder=1, late_seconds=10) as sandbox:
        first = await sandbox.create()
        await sandbox.until(first, lambda job: job["status"] == "completed")
        await sandbox.client.post("/_sandbox/misbehave", json={"reorder": 0})
        second = await sandbox.create()
        await sandbox.heard(2)
        assert [video for video, _ in sandbox.hook.heard] == [second, first]
        assert (await sandbox.counts())["reorder"] == 1


async def test_a_callback_that_nobody_comes_after_is_sent_all_the_same() -> None:
    async with misbehaving(reorder=1, late_seconds=0.05) as sandbox:
        await sandbox.create()
        assert await sandbox.heard(1) == ["completed"]
        assert (await sandbox.counts())["reorder"] == 0


async def test_wrong_credentials_are_followed_by_right_ones() -> None:
    async with misbehaving(wrong_credentials=0.7, seed=3) as sandbox:
        await asyncio.gather(*(sandbox.create() for _ in range(4)))
        assert await sandbox.heard(4) == ["completed"] * 4
        assert sandbox.hook.disbelieved == (await sandbox.counts())["wrong_credentials"] > 0


async def test_a_video_fails() -> None:
    async with misbehaving(failed=1) as sandbox:
        video_id = await sandbox.create()
        assert await sandbox.heard(1) == ["failed"]
        status = (await sandbox.client.get(f"/v1/video/status/{video_id}")).json()
        assert (status["status"], status["error"]) == ("failed", "The video could not be rendered.")
        assert (await sandbox.counts())["failed"] == 1


async def test_an_unknown_status_comes_before_the_real_one() -> None:
    async with misbehaving(unknown_status=1) as sandbox:
        await sandbox.create()
        assert await sandbox.heard(2) == ["archived", "completed"]


async def test_a_link_has_expired_as_s3_says_it() -> None:
    async with misbehaving(expired=1) as sandbox:
        answer = await sandbox.client.get(await sandbox.link())
        assert answer.status_code == 403
        assert answer.headers["Content-Type"] == "application/xml"
        assert "<Code>AccessDenied</Code><Message>Request has expired</Message>" in answer.text
        assert (await sandbox.counts())["expired"] == 1


async def test_a_download_ends_half_way_and_so_does_the_rest_of_it(caplog: pytest.LogCaptureFixture) -> None:
    async with misbehaving(truncated=1) as sandbox:
        link = await sandbox.link()
        whole = (await sandbox.client.get(f"/_sandbox/videos/{sandbox.hook.heard[0][0]}")).content
        received = await first_part(sandbox.client, link)
        assert received == whole[: len(whole) // 2]
        received += await first_part(sandbox.client, link, Range=f"bytes={len(received)}-")
        assert received == whole[: len(whole) - -(-len(whole) // 4)]
        await sandbox.counted(truncated=2)
        assert caplog.records == []


async def first_part(client: httpx.AsyncClient, url: str, **headers: str) -> bytes:
    """Download what there is of something that is cut off."""
    received = b""
    async with client.stream("GET", url, headers=headers) as answer:
        try:
            async for chunk in answer.aiter_raw():
                received += chunk
        except httpx.RemoteProtocolError:
            return received
    pytest.fail("all of it came")


async def test_a_slow_body_is_whole_in_the_end() -> None:
    async with misbehaving(slow=1, slow_seconds=0.2) as sandbox:
        loop = asyncio.get_running_loop()
        link = await sandbox.link()
        begun = loop.time()
        content = (await sandbox.client.get(link)).content
        assert loop.time() - begun > 0.15
        job = await sandbox.job(sandbox.hook.heard[0][0])
        assert hashlib.sha256(content).hexdigest() == job["sha256"]
        assert (await sandbox.counts())["slow"] == 2  # the callback, and the download


async def test_a_running_sandbox_can_be_told_to_misbehave_and_to_stop() -> None:
    async with misbehaving(failed=0.5) as sandbox:
        control = "/_sandbox/misbehave"
        told = (await sandbox.client.post(control, json={"failed": 1, "seed": 4})).json()
        assert (told["failed"], told["seed"], told["drop"]) == (1, 4, 0)
        assert (await sandbox.client.get(control)).json() == told
        await sandbox.create()
        assert await sandbox.heard(1) == ["failed"]
        told = (await sandbox.client.put(control, json={"seed": 5})).json()
        assert (told["failed"], told["seed"]) == (0, 5)
        await sandbox.create()
        assert await sandbox.heard(2) == ["failed", "completed"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"faild": 1}', "with some of the names duplicate, late, drop"),
        (b'{"failed": 2}', "failed is a number from 0 to 1"),
        (b"[]", "as a JSON object"),
        (b"{", "Expecting"),
    ],
)
async def test_what_it_cannot_be_told_is_422_and_changes_nothing(body: bytes, said: str) -> None:
    async with misbehaving(drop=0.5) as sandbox:
        answer = await sandbox.client.post("/_sandbox/misbehave", content=body)
        assert (answer.status_code, said in answer.json()["error"]) == (422, True)
        assert (await sandbox.client.get("/_sandbox/misbehave")).json()["drop"] == 0.5
