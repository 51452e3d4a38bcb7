"""The webhooks of the stand-in for OpenAI: tried again, told where to go, and named on the command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import httpx
import pytest
from standardwebhooks import Webhook

from tests.acceptance.gateways import COMPATIBLE, OPENAI, ORDER, SECRET, error_of, gateways
from tests.acceptance.hooks import signed_hook

pytestmark = pytest.mark.anyio

OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


async def test_a_callback_is_repeated_under_one_id_with_the_time_of_each_try() -> None:
    async with signed_hook(500, 302, 200) as hook, gateways(hook) as sandbox:
        video_id = await sandbox.create()
        calls = await hook.heard(3)
        job = await sandbox.until(video_id, lambda job: job["is_over"])
    assert len({headers["webhook-id"] for headers, _ in calls}) == 1
    assert [one["status"] for one in job["callbacks"]] == [500, 302, 200]
    for headers, body in calls:
        assert headers["content-type"] == "application/json"
        event = Webhook(SECRET).verify(body, headers)
        assert (event["type"], event["data"]) == ("video.completed", {"id": video_id})


async def test_a_gateway_calls_nobody() -> None:
    async with signed_hook() as hook, gateways(hook) as sandbox:
        silent = await sandbox.completed(COMPATIBLE)
        heard = await sandbox.completed()
        [(_, body)] = await hook.heard(1)
        assert json.loads(body)["data"]["id"] == heard
        job = await sandbox.until(silent, lambda job: job["is_over"])
        assert (job["webhook_url"], job["callbacks"]) == (None, [])


async def test_a_running_sandbox_can_be_told_where_events_go() -> None:
    control = "/_sandbox/webhook"
    async with signed_hook() as hook, gateways() as sandbox:
        assert (await sandbox.client.get(control)).json() == {"url": None, "secrets": 1}
        unheard = await sandbox.completed()
        told = await sandbox.client.post(control, json={"url": hook.url})
        assert told.json() == {"url": hook.url, "secrets": 1}
        await sandbox.create()
        await hook.heard(1)
        await sandbox.client.post(control, json={"url": hook.url, "secrets": [OTHER]})
        await sandbox.create()
        calls = await hook.heard(2)
        for (headers, event), secret in zip(calls, (SECRET, OTHER), strict=True):
            assert Webhook(secret).verify(event, headers)["data"]["id"] != unheard
        refused: list[object] = [
            {"url": "https://example.com/"},
            {"url": hook.url, "secrets": []},
            {"secrets": [OTHER]},
            [],
        ]
        for body in refused:
            answer = await sandbox.client.post(control, json=body)
            assert (answer.status_code, OTHER in answer.text) == (422, False)
        assert (await sandbox.client.post(control, json={"url": None})).json()["url"] is None


async def test_the_command_takes_it_all_as_options() -> None:
    async with signed_hook() as hook:
        command = (
            *("sandbox", "--json", "--port", "0", "--delay", "0s", "--webhook-url", hook.url),
            *("--webhook-secret", OTHER, "--webhook-secret", SECRET),
            *("--expires-after", "0s", "--poll-after-ms", "5", "--unknown-status", "1"),
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "receiver", *command),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            greeting = json.loads(await process.stdout.readline())
            headers = {"Authorization": "Bearer any"}
            async with httpx.AsyncClient(
                base_url=greeting["base_url"], headers=headers, trust_env=False
            ) as client:
                video_id = (await client.post(OPENAI, json=ORDER)).json()["id"]
                calls = await hook.heard(2)
                polled = await client.get(f"{OPENAI}/{video_id}")
                content = await client.get(f"{OPENAI}/{video_id}/content")
        finally:
            process.terminate()
            await process.wait()
    for secret in (OTHER, SECRET):
        events = [Webhook(secret).verify(body, headers) for headers, body in calls]
        assert [event["type"] for event in events] == ["video.archived", "video.completed"]
    assert polled.headers["openai-poll-after-ms"] == "5"
    assert error_of(content)["code"] == "video_expired"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--webhook-url", "http://127.0.0.1:9/"), "needs a webhook secret"),
        (("--webhook-url", "https://example.com/", "--webhook-secret", SECRET), "loopback"),
        (("--webhook-secret", "c2VjcmV0!"), "is base64"),
        (("--poll-after-ms", "-1"), "--poll-after-ms"),
        (("--expires-after", "soon"), "--expires-after"),
        (("--stuck", "2"), "--stuck"),
    ],
)
def test_options_that_can_not_be_end_with_status_2(arguments: tuple[str, ...], said: str) -> None:
    command = [sys.executable, "-m", "receiver", "sandbox", "--port", "0", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr
    assert "c2VjcmV0" not in ended.stderr
