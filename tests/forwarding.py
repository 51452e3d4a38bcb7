"""Attempts of the handler `forward`, from a configuration to an outcome, for tests that look at targets."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from receiver import Context, Event, Video, dispatch
from receiver.event import StoredBody
from receiver.fetch import Fetcher
from receiver.loading import Loaded, load
from receiver.outcome import Outcome
from receiver.router import Handler
from receiver.testing.recorded import Line, RecordingLog
from tests.sink import Received

SECRET = "whsec_" + base64.b64encode(b"the secret of the first target..").decode()
OTHER = "whsec_" + base64.b64encode(b"the secret of another target....").decode()
MARKER = "internal-words-of-the-target"
BODY = b' {"video_id":"vid", "b":1,"a" : [1.0, 1e3], "title":"\xc3\xbc\\u00fc"}\r\n'
EVENT_ID = "evt_aaaaaaaa11111111"
SENT = {
    *("host", "accept-encoding", "user-agent", "content-length", "content-type", "idempotency-key"),
    *("webhook-id", "webhook-timestamp", "webhook-signature"),
}
Lookup = Callable[[str, int], Any]


def an_event(**changes: Any) -> Event:
    fields: dict[str, Any] = {
        "id": EVENT_ID,
        "source": "opennote",
        "type": "video.completed",
        "key": "vid:completed",
        "received_at": datetime(2026, 1, 31, tzinfo=UTC),
        "warnings": (),
        "video": Video(id="vid"),
        "payload": {},
        "body": StoredBody(raw=BODY),
    }
    return Event(**fields | changes)


def a_target(url: str, *, name: str = "one", **more: Any) -> dict[str, Any]:
    return {"name": name, "url": url, "secret": SECRET} | more


def loaded(*targets: dict[str, Any], folder: Path) -> Loaded:
    return load(["handlers.forward"], folder=folder, tables={"forward": {"targets": list(targets)}})


def the_context(
    event: Event, handler: Handler, ready: Loaded, fetcher: Fetcher, lines: list[Line], **changes: Any
) -> Context:
    fields: dict[str, Any] = {
        "event": event,
        "place": None,
        "fetcher": fetcher,
        "folder": Path(),
        "log": RecordingLog(lines),
        "attempt": 1,
        "attempts": handler.attempts,
        "idempotency_key": f"{event.id}:{handler.name}",
        "replay": None,
        "settings": ready.settings["forward"],
        "results": {},
        "deadline": datetime.now(UTC) + handler.timeout,
    }
    return Context(**fields | changes)


@asynccontextmanager
async def a_fetcher(resolver: Lookup | None = None) -> AsyncIterator[Fetcher]:
    fetcher = Fetcher(max_bytes=1, resolver=resolver)
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


async def outcome(
    *targets: dict[str, Any],
    folder: Path,
    event: Event | None = None,
    resolver: Lookup | None = None,
    **changes: Any,
) -> Outcome:
    """What one attempt for the first of the targets decides; its words hold no secret of anybody's."""
    ready, lines = loaded(*targets, folder=folder), list[Line]()
    (handler, *_), event = ready.handlers, event or an_event()
    with ThreadPoolExecutor(1) as threads:
        async with a_fetcher(resolver) as fetcher:
            context = the_context(event, handler, ready, fetcher, lines, **changes)
            ran = await dispatch.run(
                handler, event, context, timeout_seconds=20, threads=threads, log=context.log
            )
    told = f"{ran} {getattr(ran.outcome, 'reason', '')} {lines}"
    assert not [word for word in (MARKER, SECRET[6:], OTHER[6:], "token=") if word in told]
    return ran.outcome


def believed(request: Received, *secrets: str, body: bytes = BODY) -> None:
    """Verify a request with the published package, under each of the secrets."""
    assert request.body == body
    for secret in secrets:
        Webhook(secret).verify(body.decode(), request.named, json_parse=False)
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body.decode() + " ", request.named, json_parse=False)
