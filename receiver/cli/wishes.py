"""What a demo asks for, and from whom: a few videos of each provider that the sandbox stands in for."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver.errors import CommandFailed

if TYPE_CHECKING:
    import httpx

_OPENNOTE: tuple[dict[str, Any], ...] = (
    {"title": "Photosynthesis in plants", "upload_to_s3": True},
    {"title": "A short history of the telescope", "upload_to_s3": False},
)
_PROMPT = "Rain on a tin roof at night"
_SUBMITTED = {"openai": "signed callback", "gateway": "no callback: it is asked"}
"""The sources whose videos are asked for by `receiver submit`, and how the news of them comes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A video that was asked for."""

    video_id: str
    title: str
    source: str
    form: str
    """How news and video come, in words."""


async def wishes(
    client: httpx.AsyncClient, *, url: str, api_key: str, webhook_secret: str, config: Path
) -> AsyncIterator[Wish]:
    """Ask for the videos, one by one; `client` speaks to the sandbox, `url` is the receiver's."""
    for video in _OPENNOTE:
        order = {**video, "script": f"About: {video['title']}.", "webhook_url": f"{url}/webhooks/opennote"}
        headers = {"Authorization": f"Bearer {api_key}"}
        answer = await client.post("/v1/video/create", json=order, headers=headers)
        answer.raise_for_status()
        form = "as a link" if video["upload_to_s3"] else "inline"
        yield Wish(answer.json()["video_id"], video["title"], "opennote", f"callback, {form}")
    endpoint = {"url": f"{url}/webhooks/openai", "secrets": [webhook_secret]}
    (await client.post("/_sandbox/webhook", json=endpoint)).raise_for_status()
    for source, form in _SUBMITTED.items():
        yield Wish(await _submit(source, config), _PROMPT, source, form)


async def _submit(source: str, config: Path) -> str:
    """Have `receiver submit` ask; a demo that is run again wants new videos."""
    order = ("--model", "sora-2", "--prompt", _PROMPT, "--size", "1280x720", "--seconds", "4", "--again")
    command = (sys.executable, "-P", "-m", "receiver", "--config", str(config), "--json", "submit", source)
    process = await asyncio.create_subprocess_exec(
        *command,
        *order,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await process.communicate()
    if process.returncode != 0:
        raise CommandFailed(f"receiver submit {source}: {complaint.decode('utf-8', 'replace').strip()}")
    return str(json.loads(said)["video_id"])
