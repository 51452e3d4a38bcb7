"""The OpenAI-style stand-ins over HTTP: one with webhooks, one that calls nobody back."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from tests.acceptance.gateways import (
    BOTH,
    COMPATIBLE,
    KEY,
    OPENAI,
    ORDER,
    Gateways,
    error_of,
    gateways,
)

pytestmark = pytest.mark.anyio

OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
VARIANTS = ("video", "thumbnail", "spritesheet")


@pytest.fixture
async def sandbox() -> AsyncIterator[Gateways]:
    async with gateways() as sandbox:
        yield sandbox


@pytest.mark.parametrize("path", BOTH)
async def test_wrong_credentials_are_401_on_every_path(sandbox: Gateways, path: str) -> None:
    video_id = await sandbox.completed(path)
    answers = []
    for credentials in ("", "Bearer", f"Basic {KEY}", "Bearer other", f"Bearer {KEY}x"):
        sandbox.client.headers["Authorization"] = credentials
        answers += [
            await sandbox.client.post(path, json=ORDER),
            await sandbox.client.get(f"{path}/{video_id}"),
            await sandbox.content(video_id, path),
        ]
        if path == OPENAI:
            answers += [
                await sandbox.client.get(path),
                await sandbox.client.delete(f"{path}/{video_id}"),
                await sandbox.client.post(f"{path}/{video_id}/remix", json={"prompt": "x"}),
            ]
    assert {answer.status_code for answer in answers} == {401}
    assert {error_of(answer)["code"] for answer in answers} == {None, "invalid_api_key"}
    assert not any("other" in answer.text for answer in answers)
    assert (await sandbox.job(video_id))["is_deleted"] is False


@pytest.mark.parametrize("path", BOTH)
async def test_an_unknown_video_is_404_and_so_is_one_of_another_provider(
    sandbox: Gateways, path: str
) -> None:
    other = await sandbox.completed(COMPATIBLE if path == OPENAI else OPENAI)
    for video_id in ("video_none", other, "%3Cscript%3E"):
        for address in (f"{path}/{video_id}", f"{path}/{video_id}/content"):
            answer = await sandbox.client.get(address)
            assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


async def test_what_is_not_served_is_an_error_object_too(sandbox: Gateways) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("PUT", OPENAI, 405),
        ("GET", COMPATIBLE, 405),
        ("DELETE", f"{COMPATIBLE}/video_1", 405),
        ("POST", f"{COMPATIBLE}/video_1/remix", 404),
    ):
        answer = await sandbox.client.request(method, path)
        assert (answer.status_code, error_of(answer)["type"]) == (status, "invalid_request_error")


async def test_wrong_input_is_400_and_makes_no_job(sandbox: Gateways) -> None:
    for path in BOTH:
        for body in ("{", "[]", json.dumps({"prompt": ""}), json.dumps(ORDER | {"seconds": 4})):
            answer = await sandbox.client.post(path, content=body)
            assert (answer.status_code, error_of(answer)["type"]) == (400, "invalid_request_error")
    assert (await sandbox.client.get("/_sandbox/jobs")).json() == []


@pytest.mark.parametrize("path", BOTH)
async def test_a_reference_comes_as_a_form(sandbox: Gateways, path: str) -> None:
    picture = ("a.png", b"\x89PNG\r\n\x1a\n", "image/png")
    answer = await sandbox.client.post(path, data=ORDER, files={"input_reference": picture})
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    drawing = ("a.svg", b"<svg/>", "image/svg+xml")
    answer = await sandbox.client.post(path, data=ORDER, files={"input_reference": drawing})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "input_reference")


async def test_pages_follow_each_other_by_cursor(sandbox: Gateways) -> None:
    videos = [await sandbox.completed() for _ in range(5)]
    await sandbox.completed(COMPATIBLE)

    async def page(**query: str | int) -> tuple[list[str], bool]:
        listed = (await sandbox.client.get(OPENAI, params=query)).json()
        ids = [video["id"] for video in listed["data"]]
        assert listed["object"] == "list"
        assert (listed["first_id"], listed["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        return ids, listed["has_more"]

    assert await page() == (videos[::-1], False)
    assert await page(limit=2) == ([videos[4], videos[3]], True)
    assert await page(limit=2, after=videos[3]) == ([videos[2], videos[1]], True)
    assert await page(limit=2, order="asc", after=videos[2]) == ([videos[3], videos[4]], False)
    assert await page(after=videos[0]) == ([], False)
    await sandbox.client.delete(f"{OPENAI}/{videos[3]}")
    assert await page(limit=2, after=videos[3]) == ([videos[2], videos[1]], True), "the cursor outlives it"
    assert await page(limit=2) == ([videos[4], videos[2]], True)


async def test_a_page_that_can_not_be_is_refused(sandbox: Gateways) -> None:
    for query, status, param in (
        ({"limit": "0"}, 400, "limit"),
        ({"limit": "101"}, 400, "limit"),
        ({"limit": "ten"}, 400, "limit"),
        ({"limit": "²"}, 400, "limit"),
        ({"order": "down"}, 400, "order"),
        ({"after": "video_none"}, 404, "video_id"),
    ):
        answer = await sandbox.client.get(OPENAI, params=query)
        assert (answer.status_code, error_of(answer)["param"]) == (status, param)


@pytest.mark.parametrize("path", BOTH)
async def test_every_variant_is_a_file_that_the_sandbox_tells_the_hash_of(
    sandbox: Gateways, path: str
) -> None:
    video_id = await sandbox.completed(path)
    job = await sandbox.job(video_id)
    assert job["provider"] == ("openai" if path == OPENAI else "openai-compatible")
    assert datetime.fromisoformat(job["expires_at"]) > datetime.now(UTC)
    assert (job["sha256"], job["bytes"]) == (job["files"]["video"]["sha256"], job["files"]["video"]["bytes"])
    for variant in VARIANTS:
        answer = await sandbox.content(video_id, path, params={"variant": variant})
        made = job["files"][variant]
        assert hashlib.sha256(answer.content).hexdigest() == made["sha256"]
        assert (len(answer.content), answer.headers["Content-Type"]) == (made["bytes"], made["type"])
        compared = await sandbox.client.get(f"/_sandbox/videos/{video_id}", params={"variant": variant})
        assert compared.content == answer.content
    assert len({job["files"][variant]["sha256"] for variant in VARIANTS}) == 3
    whole = await sandbox.content(video_id, path)
    assert hashlib.sha256(whole.content).hexdigest() == job["sha256"]
    answer = await sandbox.content(video_id, path, params={"variant": "poster"})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "variant")
    assert (await sandbox.client.get("/videofs/" + video_id + ".mp4")).status_code == 404


async def test_content_comes_in_ranges_too(sandbox: Gateways) -> None:
    video_id = await sandbox.completed()
    whole = (await sandbox.content(video_id)).content
    part = await sandbox.content(video_id, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])
    beyond = await sandbox.content(video_id, headers={"Range": f"bytes={len(whole)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
    assert error_of(beyond)["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", BOTH)
async def test_content_is_refused_before_a_video_is_completed_and_when_it_failed(path: str) -> None:
    async with gateways(delay=60) as sandbox:
        answer = await sandbox.content(await sandbox.create(path), path)
        assert (answer.status_code, error_of(answer)["code"]) == (404, "video_not_ready")
    async with gateways(failed=1) as sandbox:
        video_id = await sandbox.create(path)
        await sandbox.until(video_id, lambda job: job["status"] == "failed")
        answer = await sandbox.content(video_id, path)
        assert (answer.status_code, error_of(answer)["code"]) == (404, "video_failed")
        shown = await sandbox.show(video_id, path)
        assert shown["error"] == {"code": "internal_error", "message": "The video could not be rendered."}


@pytest.mark.parametrize(("path", "status"), [(OPENAI, "completed"), (COMPATIBLE, "expired")])
async def test_content_is_refused_after_its_time(path: str, status: str) -> None:
    async with gateways(lifetime=0) as sandbox:
        video_id = await sandbox.completed(path)
        answer = await sandbox.content(video_id, path)
        assert (answer.status_code, error_of(answer)["code"]) == (404, "video_expired")
        assert (await sandbox.show(video_id, path))["status"] == status
        assert (await sandbox.counts())["expired"] == 0, "nothing went wrong on purpose"


async def test_a_video_that_is_being_made_can_be_neither_deleted_nor_remixed() -> None:
    async with gateways(delay=60) as sandbox:
        video_id = await sandbox.create()
        answers = [
            await sandbox.client.delete(f"{OPENAI}/{video_id}"),
            await sandbox.client.post(f"{OPENAI}/{video_id}/remix", json={"prompt": "x"}),
        ]
        assert [(one.status_code, error_of(one)["code"]) for one in answers] == [(400, "video_not_ready")] * 2
        assert (await sandbox.show(video_id))["status"] == "queued"


async def test_a_gateway_remixes_by_a_field_of_the_order(sandbox: Gateways) -> None:
    source = await sandbox.completed(COMPATIBLE)
    remixed = await sandbox.create(COMPATIBLE, remix_video_id=source)
    assert (await sandbox.job(remixed))["remixed_from"] == source
    answer = await sandbox.client.post(COMPATIBLE, json=ORDER | {"remix_video_id": "video_none"})
    assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", BOTH)
async def test_whoever_polls_is_asked_to_wait_when_an_option_says_so(path: str) -> None:
    async with gateways(poll_after_ms=250) as sandbox:
        answer = await sandbox.client.get(f"{path}/{await sandbox.create(path)}")
        assert answer.headers["openai-poll-after-ms"] == "250"
    async with gateways() as sandbox:
        answer = await sandbox.client.get(f"{path}/{await sandbox.create(path)}")
        assert "openai-poll-after-ms" not in answer.headers


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        (OPENAI, ["queued", "in_progress", "completed"]),
        (COMPATIBLE, ["queued", "NOT_START", "running", "processing", "completed"]),
    ],
)
async def test_a_status_changes_on_the_way(path: str, statuses: list[str]) -> None:
    async with gateways(delay=3) as sandbox:
        video_id, seen, percent = await sandbox.create(path), ["queued"], [0]
        while seen[-1] != "completed":
            shown = await sandbox.show(video_id, path)
            seen.append(shown["status"])
            percent.append(shown["progress"])
            await asyncio.sleep(0.02)
    assert list(dict.fromkeys(seen)) == statuses
    assert percent == sorted(percent)
    assert 0 < percent[len(percent) // 2] < 100 == percent[-1]
