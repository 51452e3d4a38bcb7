"""OpenAI's webhooks: thin events, signed as Standard Webhooks has it.

Where they go is a setting of the account, no part of a request for a video.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from receiver.sandbox.callbacks import Message
from receiver.sandbox.jobs import JobStatus, VideoJob
from receiver.sandbox.mischief import Luck
from receiver.sandbox.options import check_endpoint
from receiver.signing import Signer

_FORGERS = f"whsec_{b64encode(b'nobody should believe this').decode()}"


@dataclass(slots=True)
class Endpoint:
    """Where events are sent, and what they are signed with, until it is changed."""

    url: str | None = None
    secrets: Sequence[str] = field(default=(), repr=False)

    def change(self, url: str | None, secrets: Sequence[str]) -> None:
        """Send the events of the videos that are asked for from now on elsewhere. Raise UsageError.

        Without secrets the former ones stay: videos that were asked for before may still need them.
        """
        check_endpoint(url, secrets)
        self.url, self.secrets = url, tuple(secrets) or self.secrets


def thin_events(
    job: VideoJob, *, endpoint: Endpoint, luck: Luck, new_id: Callable[[], str], now: datetime
) -> list[Message]:
    """Write the events of a job that has ended; none when it was asked for without an endpoint."""
    url = job.order.webhook_url
    if url is None:
        return []
    ending = "completed" if job.status is JobStatus.COMPLETED else "failed"
    types = ["video.archived"] if luck.strikes("unknown_status", job) else []
    return [_message(url, kind, job, endpoint, new_id, now) for kind in (*types, f"video.{ending}")]


def _message(
    url: str, kind: str, job: VideoJob, endpoint: Endpoint, new_id: Callable[[], str], now: datetime
) -> Message:
    event = {
        "id": f"evt_{new_id()}",
        "object": "event",
        "created_at": int(now.timestamp()),
        "type": kind,
        "data": {"id": job.id},
    }
    body, message_id = json.dumps(event).encode(), f"wh_{new_id()}"
    true, forged = Signer(endpoint.secrets), Signer([_FORGERS])
    return Message(
        url,
        {"Content-Type": "application/json"},
        body,
        credentials=lambda at: true.headers(message_id, at=at, body=body),
        forged=lambda at: forged.headers(message_id, at=at, body=body),
    )
