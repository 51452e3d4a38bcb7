"""The published `openai` packages, for Python and for Node, unchanged: the sandbox is what they expect."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from receiver.sandbox.options import Behaviour, Options
from receiver.sandbox.server import serving
from tests.acceptance.hooks import SignedHook, signed_hook

pytestmark = [
    pytest.mark.anyio,
    # The provider is about to give up its own videos, and says so with each call.
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
]

KEY = "sk-openai-test"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NODE = Path(__file__).parent / "node"
VARIANTS = {"video": "video/mp4", "thumbnail": "image/webp", "spritesheet": "image/jpeg"}
PNG = b"\x89PNG\r\n\x1a\n--no-boundary\r\n\x00\xff"
_UNREACHED = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "E404", "E403", "E503")


@asynccontextmanager
async def standing(hook: SignedHook | None = None, *, delay: float = 0.3) -> AsyncIterator[str]:
    """Serve a sandbox that calls the hook; without one it is named later."""
    options = Options(
        port=0,
        api_keys=(KEY,),
        behaviour=Behaviour(timedelta(seconds=delay), (0.05,) * 20),
        webhook_url=hook.url if hook else None,
        webhook_secrets=(SECRET,),
        poll_after_ms=20,
    )
    async with serving(options) as base_url:
        yield base_url


def sdk(base_url: str, **more: Any) -> openai.AsyncOpenAI:
    wanted = {"api_key": KEY, "webhook_secret": SECRET, "max_retries": 0, **more}
    return openai.AsyncOpenAI(base_url=f"{base_url}/v1", **wanted)


async def jobs(base_url: str) -> dict[str, dict[str, Any]]:
    async with httpx.AsyncClient(trust_env=False) as client:
        return {job["video_id"]: job for job in (await client.get(f"{base_url}/_sandbox/jobs")).json()}


async def test_the_python_package_gets_a_video_and_what_goes_with_it() -> None:
    async with standing() as base_url, sdk(base_url) as client:
        created = await client.videos.create(prompt="Rain.", model="sora-2-pro", seconds="8", size="1280x720")
        assert (created.object, created.status, created.progress) == ("video", "queued", 0)
        assert (created.model, created.seconds, created.size) == ("sora-2-pro", "8", "1280x720")
        assert (created.prompt, created.completed_at, created.expires_at) == ("Rain.", None, None)
        video = await client.videos.poll(created.id)
        assert (video.id, video.status, video.progress, video.error) == (created.id, "completed", 100, None)
        assert video.completed_at is not None
        assert video.expires_at == video.completed_at + 3600
        made = (await jobs(base_url))[video.id]["files"]
        for variant, media_type in VARIANTS.items():
            answer = await client.videos.download_content(video.id, variant=variant)  # type: ignore[arg-type]
            assert answer.response.headers["Content-Type"] == media_type
            assert hashlib.sha256(answer.content).hexdigest() == made[variant]["sha256"]
        whole = await client.videos.download_content(video.id)
        assert hashlib.sha256(whole.content).hexdigest() == made["video"]["sha256"]


async def test_the_python_package_waits_as_long_as_it_is_asked_to() -> None:
    async with standing() as base_url, sdk(base_url) as client:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        video = await client.videos.create_and_poll(
            prompt="Rain.", input_reference=("roof.png", PNG, "image/png")
        )
        assert video.status == "completed"
        assert loop.time() - begun < 0.9, "without openai-poll-after-ms it sleeps for a second"


async def test_the_python_package_sends_a_reference_by_its_address() -> None:
    async with standing() as base_url, sdk(base_url) as client:
        reference = {"image_url": "https://example.com/roof.png"}
        video = await client.videos.create(prompt="Rain.", extra_body={"input_reference": reference})
        assert video.status == "queued"
        both = {"input_reference": {**reference, "file_id": "file-1"}}
        with pytest.raises(openai.BadRequestError, match="Give one of"):
            await client.videos.create(prompt="Rain.", extra_body=both)


async def test_the_python_package_remixes_lists_and_deletes() -> None:
    async with standing(delay=0) as base_url, sdk(base_url) as client:
        source = await client.videos.create_and_poll(prompt="Rain.", seconds="12", size="1792x1024")
        remixed = await client.videos.remix(source.id, prompt="Rain at night.")
        assert (remixed.remixed_from_video_id, remixed.prompt) == (source.id, "Rain at night.")
        assert (remixed.seconds, remixed.size, remixed.model) == ("12", "1792x1024", "sora-2")
        others = [(await client.videos.create_and_poll(prompt=f"Snow {n}.")).id for n in range(3)]
        newest_first = [*reversed(others), remixed.id, source.id]
        assert [video.id async for video in client.videos.list(limit=2)] == newest_first
        oldest_first = [video.id async for video in client.videos.list(limit=3, order="asc")]
        assert oldest_first == newest_first[::-1]
        page = await client.videos.list(limit=2, after=others[1])
        assert ([video.id for video in page.data], page.has_more) == ([others[0], remixed.id], True)
        deleted = await client.videos.delete(others[1])
        assert (deleted.id, deleted.deleted, deleted.object) == (others[1], True, "video.deleted")
        with pytest.raises(openai.NotFoundError):
            await client.videos.retrieve(others[1])
        assert others[1] not in [video.id async for video in client.videos.list()]


async def test_the_python_package_knows_every_error_by_its_name() -> None:
    async with standing(delay=60) as base_url, sdk(base_url) as client:
        with pytest.raises(openai.BadRequestError) as refused:
            await client.videos.create(prompt="Rain.", seconds="5")  # type: ignore[arg-type]
        assert (refused.value.param, refused.value.code) == ("seconds", "invalid_value")
        assert refused.value.type == "invalid_request_error"
        assert (refused.value.request_id or "").startswith("req_")
        with pytest.raises(openai.NotFoundError):
            await client.videos.retrieve("video_none")
        video = await client.videos.create(prompt="Rain.")
        with pytest.raises(openai.NotFoundError, match="not ready"):
            await client.videos.download_content(video.id)
        async with sdk(base_url, api_key="sk-wrong") as stranger:
            with pytest.raises(openai.AuthenticationError) as denied:
                await stranger.videos.list()
        assert denied.value.code == "invalid_api_key"
        assert "sk-wrong" not in str(denied.value)


async def test_the_python_package_gets_past_requests_that_are_turned_away() -> None:
    async with standing(delay=0) as base_url, sdk(base_url, max_retries=10) as client:
        async with httpx.AsyncClient(base_url=base_url, trust_env=False) as plain:
            await plain.post("/_sandbox/misbehave", json={"broken": 0.3, "seed": 1})
            assert (await client.videos.create_and_poll(prompt="Rain.")).status == "completed"
            await plain.post("/_sandbox/misbehave", json={"broken": 0, "throttled": 1})
            with pytest.raises(openai.RateLimitError) as refused:
                await client.with_options(max_retries=0).videos.list()
            counts = (await plain.get("/_sandbox/counts")).json()
        assert refused.value.response.headers["Retry-After"] == "1"
        assert counts["broken"] > 0
        assert counts["throttled"] == 1


async def test_the_python_package_gets_a_video_of_a_gateway_without_callbacks() -> None:
    async with standing(delay=0.5) as base_url, sdk(f"{base_url}/compatible") as client:
        video = await client.videos.create(prompt="Rain.", model="seedance", size="720x1280", seconds="4")
        seen: set[str] = set()
        while video.status not in ("completed", "failed"):
            seen.add(video.status)
            await asyncio.sleep(0.02)
            video = await client.videos.retrieve(video.id)
        assert seen == {"queued", "NOT_START", "running", "processing"}
        content = (await client.videos.download_content(video.id)).content
        assert hashlib.sha256(content).hexdigest() == (await jobs(base_url))[video.id]["sha256"]


async def test_the_python_package_believes_what_the_sandbox_sends_and_nothing_else() -> None:
    async with signed_hook(500, 200) as hook, standing(hook, delay=0) as base_url, sdk(base_url) as client:
        video = await client.videos.create(prompt="Rain.")
        tries = await hook.heard(2)
        events = [client.webhooks.unwrap(body, headers) for headers, body in tries]
        assert {(event.type, event.data.id) for event in events} == {("video.completed", video.id)}  # type: ignore[union-attr]
        headers, body = tries[0]
        for spoilt in (headers | {"webhook-id": "wh_other"}, headers | {"webhook-timestamp": "1"}):
            with pytest.raises(openai.InvalidWebhookSignatureError):
                client.webhooks.unwrap(body, spoilt)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package for Node is installed, as its lock has it."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (Debian: {'nodejs' if program == 'node' else program})")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", ".npmrc", "videos.mjs"):
        shutil.copy(NODE / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("no registry of npm answers")
    if ended.returncode and any(code in ended.stderr for code in _UNREACHED):
        pytest.skip(f"no registry of npm has the package: {ended.stderr.splitlines()[0]}")
    assert ended.returncode == 0, ended.stderr
    return folder


async def test_the_package_for_node_does_all_of_it(node: Path) -> None:
    async with standing() as base_url:
        process = await asyncio.create_subprocess_exec(
            *("node", "videos.mjs", base_url, KEY, SECRET),
            cwd=node,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        saw, made = json.loads(output), await jobs(base_url)
    videos = [saw[name]["id"] for name in ("created", "referred", "remixed")]
    assert (saw["created"]["status"], saw["created"]["seconds"]) == ("queued", "8")
    assert (saw["done"]["status"], saw["done"]["progress"]) == ("completed", 100)
    files = made[saw["done"]["id"]]["files"]
    assert saw["files"] == {
        variant: {"sha256": files[variant]["sha256"], "type": media_type}
        for variant, media_type in VARIANTS.items()
    }
    assert saw["remixed"]["remixed_from_video_id"] == saw["created"]["id"]
    assert saw["listed"] == videos
    assert saw["deleted"] == {"id": videos[2], "object": "video.deleted", "deleted": True}
    assert saw["refusals"] == {
        "gone": {"name": "NotFoundError", "status": 404, "code": "not_found", "param": "video_id"},
        "long": {
            "name": "BadRequestError",
            "status": 400,
            "code": "string_above_max_length",
            "param": "prompt",
        },
        "seconds": {"name": "BadRequestError", "status": 400, "code": "invalid_value", "param": "seconds"},
    }
    assert {(event["type"], event["data"]["id"]) for event in saw["events"]} == {
        ("video.completed", video_id) for video_id in videos
    }
    assert saw["forged"]["name"] == "InvalidWebhookSignatureError"


def test_the_lock_of_the_package_for_node_names_hashes_and_no_registry() -> None:
    text = (NODE / "package-lock.json").read_text()
    assert '"resolved"' not in text
    packages = json.loads(text)["packages"]
    assert {name for name, one in packages.items() if "integrity" not in one} == {""}
