"""What goes wrong on purpose with OpenAI-style videos, as their clients and whoever is called back see it."""

from __future__ import annotations

import asyncio
import hashlib
import json

import httpx
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from receiver.sandbox.mischief import MISHAPS
from tests.acceptance.gateways import BOTH, COMPATIBLE, OPENAI, SECRET, error_of, gateways
from tests.acceptance.hooks import Heard, signed_hook

pytestmark = pytest.mark.anyio

SEED = 0
"""With it the first try of the first video has a wrong signature and the second has none."""


def types(calls: list[Heard]) -> list[str]:
    return [json.loads(body)["type"] for _, body in calls]


def is_believed(headers: dict[str, str], body: bytes) -> bool:
    try:
        Webhook(SECRET).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


async def test_nothing_goes_wrong_unasked() -> None:
    async with signed_hook() as hook, gateways(hook) as sandbox:
        for path in BOTH:
            assert (await sandbox.content(await sandbox.completed(path), path)).status_code == 200
        assert types(await hook.heard(1)) == ["video.completed"]
        assert await sandbox.counts() == dict.fromkeys(MISHAPS, 0)


async def test_an_event_comes_twice_under_one_id() -> None:
    async with signed_hook() as hook, gateways(hook, duplicate=1) as sandbox:
        await sandbox.create()
        calls = await hook.heard(2)
        assert len({headers["webhook-id"] for headers, _ in calls}) == 1
        assert all(is_believed(*call) for call in calls)
        assert (await sandbox.counts())["duplicate"] == 1


async def test_an_event_is_never_sent() -> None:
    async with signed_hook() as hook, gateways(hook, drop=1) as sandbox:
        job = await sandbox.until(await sandbox.create(), lambda job: job["is_over"])
        assert (job["status"], job["callbacks"], job["webhook_url"]) == ("completed", [], hook.url)
        assert (await sandbox.counts())["drop"] == 1


async def test_an_event_is_late() -> None:
    async with signed_hook() as hook, gateways(hook, late=1, late_seconds=0.5) as sandbox:
        video_id = await sandbox.completed()
        assert (await sandbox.job(video_id))["callbacks"] == []
        assert types(await hook.heard(1)) == ["video.completed"]
        assert (await sandbox.counts())["late"] == 1


async def test_an_event_lets_one_of_a_later_video_go_first() -> None:
    async with signed_hook() as hook, gateways(hook, reorder=1, late_seconds=10) as sandbox:
        first = await sandbox.completed()
        await sandbox.misbehave(reorder=0)
        second = await sandbox.create()
        calls = await hook.heard(2)
        assert [json.loads(body)["data"]["id"] for _, body in calls] == [second, first]


async def test_a_wrong_signature_is_followed_by_a_right_one() -> None:
    async with signed_hook(401, 200) as hook, gateways(hook, wrong_credentials=0.5, seed=SEED) as sandbox:
        video_id = await sandbox.create()
        calls = await hook.heard(2)
        assert [is_believed(*call) for call in calls] == [False, True]
        assert len({headers["webhook-id"] for headers, _ in calls}) == 1
        await sandbox.until(video_id, lambda job: job["is_over"])
        assert (await sandbox.counts())["wrong_credentials"] == 1


async def test_a_video_fails_and_its_event_says_so() -> None:
    async with signed_hook() as hook, gateways(hook, failed=1) as sandbox:
        await sandbox.create()
        assert types(await hook.heard(1)) == ["video.failed"]
        assert (await sandbox.counts())["failed"] == 1


async def test_an_event_of_an_unknown_type_comes_before_the_real_one() -> None:
    async with signed_hook() as hook, gateways(hook, unknown_status=1) as sandbox:
        video_id = await sandbox.create()
        assert types(await hook.heard(2)) == ["video.archived", "video.completed"]
        assert (await sandbox.show(video_id))["status"] == "completed"
        assert (await sandbox.counts())["unknown_status"] == 1


@pytest.mark.parametrize("path", BOTH)
async def test_the_first_status_that_is_asked_for_is_unknown(path: str) -> None:
    async with gateways(unknown_status=1) as sandbox:
        video_id = await sandbox.completed(path)
        assert (await sandbox.show(video_id, path))["status"] == "pondering"
        assert (await sandbox.show(video_id, path))["status"] == "completed"
        assert (await sandbox.counts())["unknown_status"] == 1


@pytest.mark.parametrize("path", BOTH)
async def test_a_finish_is_never_reported(path: str) -> None:
    async with signed_hook() as hook, gateways(hook, stuck=1) as sandbox:
        video_id = await sandbox.create(path)
        await sandbox.until(video_id, lambda job: job["is_over"])
        shown = await sandbox.show(video_id, path)
        assert (shown["status"], shown["progress"]) == ("in_progress" if path == OPENAI else "processing", 99)
        assert (await sandbox.content(video_id, path)).status_code == 404
        job = await sandbox.job(video_id)
        assert (job["status"], job["callbacks"]) == ("pending", [])
        assert (await sandbox.counts())["stuck"] == 1


@pytest.mark.parametrize("path", BOTH)
async def test_a_completed_video_is_not_there(path: str) -> None:
    async with gateways(missing=1) as sandbox:
        video_id = await sandbox.completed(path)
        assert (await sandbox.show(video_id, path))["status"] == "completed"
        answer = await sandbox.content(video_id, path)
        assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")
        assert (await sandbox.counts())["missing"] == 1


@pytest.mark.parametrize(("path", "status"), [(OPENAI, "completed"), (COMPATIBLE, "expired")])
async def test_content_has_expired_before_its_time(path: str, status: str) -> None:
    async with gateways(expired=1) as sandbox:
        video_id = await sandbox.completed(path)
        assert (await sandbox.show(video_id, path))["status"] == status
        answer = await sandbox.content(video_id, path)
        assert (answer.status_code, error_of(answer)["code"]) == (404, "video_expired")
        assert (await sandbox.counts())["expired"] == 1


@pytest.mark.parametrize("variant", ["video", "thumbnail", "spritesheet"])
async def test_a_download_breaks_off(variant: str) -> None:
    async with gateways(truncated=1) as sandbox:
        for path in BOTH:
            video_id = await sandbox.completed(path)
            with pytest.raises(httpx.RemoteProtocolError):
                await sandbox.content(video_id, path, params={"variant": variant})
        assert (await sandbox.counts())["truncated"] == 2


async def test_a_slow_body_is_whole_in_the_end() -> None:
    async with signed_hook() as hook, gateways(hook, slow=1, slow_seconds=0.2) as sandbox:
        loop = asyncio.get_running_loop()
        video_id = await sandbox.completed()
        begun = loop.time()
        content = (await sandbox.content(video_id)).content
        assert loop.time() - begun > 0.15
        assert hashlib.sha256(content).hexdigest() == (await sandbox.job(video_id))["sha256"]
        [call] = await hook.heard(1)
        assert is_believed(*call)
        assert (await sandbox.counts())["slow"] == 2  # the event, and the download


@pytest.mark.parametrize("path", [*BOTH, "/v1/video/create"])
async def test_requests_are_turned_away_before_they_do_anything(path: str) -> None:
    async with gateways(throttled=1) as sandbox:
        answer = await sandbox.client.post(path, json={"prompt": "Rain."})
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        await sandbox.misbehave(throttled=0, broken=1)
        answer = await sandbox.client.post(path, json={"prompt": "Rain."})
        assert answer.status_code == 500
        assert (await sandbox.client.get("/_sandbox/jobs")).json() == []
        counts = await sandbox.counts()
        assert (counts["throttled"], counts["broken"]) == (1, 1)
        await sandbox.misbehave(broken=0)
        assert (await sandbox.client.post(path, json={})).status_code in (400, 422)


async def test_a_request_with_a_wrong_key_is_denied_whatever_else() -> None:
    async with gateways(throttled=1) as sandbox:
        for path in ("/v1/videos", "/v1/video/status/none"):
            answer = await sandbox.client.get(path, headers={"Authorization": "Bearer other"})
            assert answer.status_code == 401
