"""The provider's published package against the sandbox, with the receiver as its webhook."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import KEY, NO_TLS, ORGANIZATION, Receiver, decode, until

with warnings.catch_warnings():
    # The published package writes its models in a way that pydantic is about to drop.
    warnings.simplefilter("ignore", DeprecationWarning)
    import opennote


@pytest.fixture
def sandbox_url() -> Iterator[str]:
    """A sandbox of the receiver's organisation, for its key only."""
    command = [sys.executable, "-m", "receiver", "sandbox", "--port", "0", "--json", "--delay", "0.3s"]
    with subprocess.Popen(
        [*command, "--organization-id", ORGANIZATION, "--api-key", KEY],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")},
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["base_url"]
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.parametrize("upload_to_s3", [True, False], ids=["by link", "inline"])
def test_a_video_asked_for_with_the_sdk_is_recorded_and_saved(
    receivers: Callable[..., Receiver], sandbox_url: str, upload_to_s3: bool
) -> None:
    receiver = receivers(s3_base_url=f"{sandbox_url}/videofs").start()
    client = opennote.OpennoteClient(api_key=KEY, base_url=sandbox_url)
    created = client.video.create(
        messages=[{"role": "user", "content": "Explain rain."}],
        title="Rain",
        include_sources=True,
        source_count=2,
        upload_to_s3=upload_to_s3,
        webhook_url=f"{receiver.url}/webhooks/opennote",
    )
    assert created.success
    [event] = receiver.settled(count=1)
    assert (event["video_id"], event["type"], event["title"]) == (created.video_id, "video.completed", "Rain")
    assert [(job["handler"], job["state"]) for job in event["jobs"]] == [("save_video", "done")]
    assert (event["warnings"], event["duplicates"]) == ([], 0)

    status: Any = client.video.status(created.video_id)
    received = json.loads(receiver.run("show", event["id"], "--raw").stdout)
    assert (
        received
        == httpx.get(
            f"{sandbox_url}/v1/video/status/{created.video_id}",
            headers={"Authorization": f"Bearer {KEY}"},
            verify=NO_TLS,
            trust_env=False,
        ).json()
    )
    assert status.status == received["status"] == event["status"] == "completed"
    assert status.response.title == received["response"]["title"]
    assert status.response.transcript == received["response"]["transcript"]
    assert [source.url for source in status.response.sources] == [
        source["url"] for source in received["response"]["sources"]
    ]

    made = httpx.get(
        f"{sandbox_url}/_sandbox/videos/{created.video_id}", verify=NO_TLS, trust_env=False
    ).content
    if upload_to_s3:
        assert status.response.b64_video is None
        assert status.response.s3_url == received["response"]["s3_url"]
    else:
        assert base64.b64decode(status.response.b64_video) == made
    [(name, content)] = receiver.files().items()
    assert content == made
    decode(receiver.videos / name)
    described = json.loads((receiver.videos / name).with_suffix(".json").read_text())
    assert described["sha256"] == hashlib.sha256(made).hexdigest()
    assert (described["title"], described["transcript"]) == ("Rain", status.response.transcript)
    assert len(described["sources"]) == 2
    jobs = httpx.get(f"{sandbox_url}/_sandbox/jobs", verify=NO_TLS, trust_env=False).json()
    assert [(job["sha256"], [one["status"] for one in job["callbacks"]]) for job in jobs] == [
        (described["sha256"], [200])
    ]


def test_a_receiver_that_starts_late_gets_the_callback_with_the_next_try(
    receivers: Callable[..., Receiver], sandbox_url: str
) -> None:
    receiver = receivers(s3_base_url=f"{sandbox_url}/videofs").start()
    port = httpx.URL(receiver.url).port
    receiver.stop()
    client = opennote.OpennoteClient(api_key=KEY, base_url=sandbox_url)
    created = client.video.create(script="Rain.", webhook_url=f"{receiver.url}/webhooks/opennote")

    def tried() -> bool:
        jobs = httpx.get(f"{sandbox_url}/_sandbox/jobs", verify=NO_TLS, trust_env=False).json()
        return bool(jobs[0]["callbacks"])

    until(tried, what="a first try at the closed port")
    receiver.start("--port", str(port))
    [event] = receiver.settled(count=1)
    assert (event["video_id"], event["jobs"][0]["state"]) == (created.video_id, "done")
