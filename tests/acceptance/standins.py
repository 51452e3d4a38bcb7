"""A receiver and the sandbox that calls it: each knows the other's address before either has started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx

from receiver import sockets
from receiver.model import utc
from receiver.signing import Signer
from tests.acceptance.conftest import NO_TLS, ORGANIZATION, Receiver, until

API_KEY = "sk-canary-acceptance-1"
SECRET = "whsec_dGhlIHNlY3JldCBvZiBhY2NlcHRhbmNlIHRlc3Rz"
PROMPT = '[worker]\npriority = "normal"\n'
"""Workers that get their share of a machine that other tests keep busy."""
ORDER = {"model": "sora-2", "prompt": "Rain.", "size": "720x1280", "seconds": "4"}


@dataclass
class Sandbox:
    """A sandbox in a process of its own."""

    url: str

    def create(self, **more: Any) -> str:
        """Order a video of OpenAI; give its id."""
        answer = self._post("/v1/videos", {**ORDER, **more})
        return cast(str, answer["id"])

    def create_opennote(self, webhook_url: str, **more: Any) -> str:
        """Order a video of Opennote; give its id."""
        order = {"messages": [{"role": "user", "content": "Rain."}], "webhook_url": webhook_url, **more}
        return cast(str, self._post("/v1/video/create", order)["video_id"])

    def show(self, video_id: str) -> dict[str, Any]:
        """What the API says of a video of OpenAI."""
        return self._get(f"/v1/videos/{video_id}")

    def status(self, video_id: str) -> dict[str, Any]:
        """What the API says of a video of Opennote."""
        return self._get(f"/v1/video/status/{video_id}")

    def completed(self, video_id: str) -> dict[str, Any]:
        """Wait until a video of Opennote is completed."""

        def look() -> dict[str, Any]:
            said = self.status(video_id)
            return said if said["status"] == "completed" else {}

        return until(look, what=f"{video_id} is completed")

    def content(self, video_id: str, **query: str) -> bytes:
        answer = httpx.get(
            f"{self.url}/v1/videos/{video_id}/content",
            params=query,
            headers=self._headers,
            verify=NO_TLS,
            trust_env=False,
        )
        answer.raise_for_status()
        return answer.content

    def misbehave(self, **mischief: float) -> None:
        self._post("/_sandbox/misbehave", mischief)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {API_KEY}"}

    def _get(self, path: str) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}{path}", headers=self._headers, verify=NO_TLS, trust_env=False)
        answer.raise_for_status()
        return cast(dict[str, Any], answer.json())

    def _post(self, path: str, order: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"{self.url}{path}", json=order, headers=self._headers, verify=NO_TLS, trust_env=False
        )
        answer.raise_for_status()
        return cast(dict[str, Any], answer.json())


@contextmanager
def sandbox(*options: str, webhook_url: str | None = None) -> Iterator[Sandbox]:
    """Run a sandbox; `options` as on its command line."""
    command = [sys.executable, "-m", "receiver", "sandbox", "--port", "0", "--json", "--api-key", API_KEY]
    command += ["--organization-id", ORGANIZATION, "--webhook-secret", SECRET, *options]
    command += [] if webhook_url is None else ["--webhook-url", webhook_url]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")},
    ) as process:
        assert process.stdout is not None
        try:
            yield Sandbox(json.loads(process.stdout.readline())["base_url"])
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def called_receiver(
    receivers: Callable[..., Receiver],
    *options: str,
    more: str = "",
    api_key: str = API_KEY,
    top: str = PROMPT,
) -> Iterator[tuple[Receiver, Sandbox]]:
    """A receiver, not yet started, with sources of all kinds, and the sandbox that they are of.

    `more` are keys of `[sources.openai]` and tables that come after it.
    """
    listener = sockets.bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with sandbox(*options, webhook_url=f"{url}/webhooks/openai") as stand_in:
        tables = f"""
            [sources.ope]
            kind = "openai-compatible"
            api_key = "{api_key}"
            api_url = "{stand_in.url}/compatible/v1"
            [sources.openai]
            kind = "openai"
            webhook_secrets = ["{SECRET}"]
            api_key = "{api_key}"
            api_url = "{stand_in.url}/v1"
            {more}
        """
        receiver = receivers(tables, top=top)
        receiver.listener = listener
        receiver.url = url
        try:
            yield receiver, stand_in
        finally:
            listener.close()


def signed(body: bytes, *, message: str = "wh_1", secret: str = SECRET, at: float) -> dict[str, str]:
    """The headers of a signed callback; `at` is in unix seconds."""
    headers = Signer([secret]).headers(message, at=utc(int(at * 1000)), body=body)
    return {"Content-Type": "application/json", **headers}
