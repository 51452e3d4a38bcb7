"""Callbacks that are lost for good and repeated, at three kinds of providers: every video is on disk once."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from receiver import settings, sources
from receiver.store.remote import Remote
from receiver.watching import Patience, new_watch
from tests.acceptance.conftest import KEY, NO_TLS, Receiver, sha256, until
from tests.acceptance.standins import SECRET, sandbox
from tests.invariant import Ledger, assert_balanced

COUNT = 60 if os.environ.get("CI") == "true" else 300
"""Videos of all three."""
CONFIGURATION = f"""\
api_url = "{{base}}"

[sources.openai]
kind = "openai"
webhook_secrets = ["{SECRET}"]
api_key = "{KEY}"
api_url = "{{base}}/v1"

[sources.ope]
kind = "openai-compatible"
api_key = "{KEY}"
api_url = "{{base}}/compatible/v1"

[watch]
missed_after = "3s"
first_interval = "500ms"
longest_interval = "3s"
requests_per_second = 60

[worker]
priority = "normal"
"""
ORDERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "opennote": ("/v1/video/create", {"script": "Rain.", "upload_to_s3": True}, "video_id"),
    "openai": ("/v1/videos", {"model": "sora-2", "prompt": "Rain."}, "id"),
    "ope": (
        "/compatible/v1/videos",
        {"model": "sora-2", "prompt": "Rain.", "size": "720x1280", "seconds": "4"},
        "id",
    ),
}
"""Source → where a video is asked for, how, and where the answer has its id."""


async def ordered(receiver: Receiver, base: str, count: int, *names: str) -> dict[str, str]:
    """Ask for videos at some providers in turn, and have each watched as `submit` does; video → source."""
    config = settings.load(str(receiver.config))
    configured = sources.configured(config)
    store = await Remote(config.database).connect()
    headers = {"Authorization": f"Bearer {KEY}"}
    limit = asyncio.Semaphore(16)
    async with httpx.AsyncClient(
        base_url=base, headers=headers, verify=NO_TLS, trust_env=False, timeout=60
    ) as client:

        async def order(source: str) -> tuple[str, str]:
            path, body, name = ORDERS[source]
            hook = {"webhook_url": f"{receiver.url}/webhooks/opennote"} if source == "opennote" else {}
            async with limit:
                answer = (await client.post(path, json=body | hook)).raise_for_status().json()
            wait = config.watch.missed_after if source != "ope" else config.watch.first_interval
            patience = Patience.of(wait=wait, deadline=timedelta(minutes=10))
            now = time.time_ns() // 1_000_000
            await store.watches.add([new_watch(configured[source], answer[name], patience, now=now)])
            return str(answer[name]), source

        turns = names or tuple(ORDERS)
        pairs = await asyncio.gather(*(order(turns[number % len(turns)]) for number in range(count)))
    await store.close()
    await asyncio.sleep(0)
    return dict(pairs)


def nothing_is_watched(receiver: Receiver) -> bool:
    time.sleep(1)  # looking costs a process each time
    return not receiver.look("watch")


def answered(url: str) -> Any:
    return httpx.get(url, verify=NO_TLS, trust_env=False, timeout=60).json()


@pytest.mark.timeout(900)
@pytest.mark.fault("C1", "D1")
def test_with_a_third_lost_and_a_third_repeated_every_video_is_on_disk_exactly_once(
    receivers: Callable[..., Receiver],
) -> None:
    mishaps = ("--drop", "0.3", "--duplicate", "0.3")
    with sandbox("--api-key", KEY, "--delay", "1s", *mishaps) as stand_in:
        base = stand_in.url
        receiver = receivers(CONFIGURATION.format(base=base), s3_base_url=f"{base}/videofs").start()
        hook = {"url": f"{receiver.url}/webhooks/openai"}
        httpx.post(f"{base}/_sandbox/webhook", json=hook, verify=NO_TLS, trust_env=False).raise_for_status()

        videos = asyncio.run(ordered(receiver, base, COUNT))
        until(lambda: nothing_is_watched(receiver), seconds=300)
        # What is repeated may still be on its way when nothing is watched any more.
        until(lambda: all(job["is_over"] for job in answered(f"{base}/_sandbox/jobs")), seconds=60)
        until(lambda: len(receiver.files()) == COUNT, seconds=120, what="every file")
        events = receiver.settled(count=COUNT, seconds=120)

        counts = answered(f"{base}/_sandbox/counts")
        assert counts["drop"] >= COUNT / 20
        assert counts["duplicate"] >= COUNT / 20
        jobs = answered(f"{base}/_sandbox/jobs")
    made = {job["video_id"]: job["sha256"] for job in jobs}
    completed = [event for event in events if event["type"] == "video.completed"]
    assert Counter(event["video_id"] for event in completed) == dict.fromkeys(videos, 1)
    assert {event["video_id"]: event["source"] for event in completed} == videos
    assert {event["type"] for event in events} <= {"video.completed", "video.progress"}
    assert {job["state"] for event in completed for job in event["jobs"]} == {"done"}
    saved = {Path(name).stem[-36:]: sha256(content) for name, content in receiver.files().items()}
    assert len(saved) == COUNT
    assert sorted(saved.values()) == sorted(made[video] for video in videos)
    assert receiver.log("watch.expired") == receiver.log("process.died") == []
    ledger = Ledger()
    for call in (call for job in jobs for call in job["callbacks"]):
        ledger.told(call["status"], call["answer"].encode())
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)
