"""A receiver with a source of each kind, and the sandbox that they ask: what a user has who tries it all."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.conftest import KEY, NO_TLS, ORGANIZATION, PROGRAM, Receiver, _environment

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
GATEWAY = ("--model", "sora-2", "--size", "720x1280", "--seconds", "4")
_SOURCES = """\
api_url = "{url}"
[sources.openai]
kind = "openai"
webhook_secrets = ["{secret}"]
api_key = "{key}"
api_url = "{url}/v1"
[sources.ope]
kind = "openai-compatible"
api_key = "{key}"
api_url = "{url}/compatible/v1"
[watch]
first_interval = "200ms"
longest_interval = "1s"
requests_per_second = 50
[worker]
priority = "normal"
"""


@dataclass
class Sandbox:
    """A running sandbox."""

    url: str

    def jobs(self) -> list[dict[str, Any]]:
        """What was asked for so far."""
        return list(httpx.get(f"{self.url}/_sandbox/jobs", verify=NO_TLS, trust_env=False).json())

    def file(self, video_id: str) -> bytes:
        """A video as it was made."""
        return httpx.get(f"{self.url}/_sandbox/videos/{video_id}", verify=NO_TLS, trust_env=False).content

    @contextmanager
    def misbehaving(self, **mishaps: float) -> Iterator[None]:
        """Let things go wrong until the end of the block."""
        where = f"{self.url}/_sandbox/misbehave"
        httpx.put(where, json=mishaps, verify=NO_TLS, trust_env=False).raise_for_status()
        try:
            yield
        finally:
            httpx.put(where, json={}, verify=NO_TLS, trust_env=False).raise_for_status()

    def call(self, receiver: Receiver) -> None:
        """Have OpenAI's events sent to a receiver."""
        hook = {"url": f"{receiver.url}/webhooks/openai", "secrets": [SECRET]}
        httpx.post(
            f"{self.url}/_sandbox/webhook", json=hook, verify=NO_TLS, trust_env=False
        ).raise_for_status()


@contextmanager
def sandboxed(*options: str) -> Iterator[Sandbox]:
    """Serve a sandbox for the receiver's organisation and key until the end of the block."""
    command = [*PROGRAM, "sandbox", "--port", "0", "--json", "--organization-id", ORGANIZATION]
    with subprocess.Popen(
        [*command, "--api-key", KEY, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(None),
    ) as process:
        assert process.stdout is not None
        try:
            yield Sandbox(json.loads(process.stdout.readline())["base_url"])
        finally:
            process.terminate()
            process.wait(20)


def asking(folder: Path, url: str) -> Receiver:
    """A receiver whose sources ask what is at a URL; not started."""
    sources = _SOURCES.format(url=url, secret=SECRET, key=KEY)
    return Receiver(folder).configure(sources, s3_base_url=f"{url}/videofs")


def called_at(receiver: Receiver) -> None:
    """Say where a running receiver is reached, as its user would in the configuration."""
    receiver.environment = {"RECEIVER_SERVER__PUBLIC_URL": receiver.url}
