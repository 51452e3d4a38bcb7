"""The events that the stand-in for OpenAI sends, and who believes them."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from receiver.errors import UsageError
from receiver.sandbox.callbacks import Message
from receiver.sandbox.hooks import Endpoint, thin_events
from receiver.sandbox.jobs import Order, Provider, VideoJob
from receiver.sandbox.mischief import Luck, Mischief
from receiver.sandbox.options import Behaviour, Options
from receiver.sandbox.videos import MediaFile

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
URL = "http://127.0.0.1:8000/webhooks/openai"


def events(job: VideoJob, *secrets: str, at: datetime) -> list[Message]:
    numbers = itertools.count(1)
    endpoint = Endpoint(URL, secrets)
    return thin_events(job, endpoint=endpoint, luck=Luck(), new_id=lambda: str(next(numbers)), now=at)


def ended(*, url: str | None = URL, error: str | None = None, **mischief: float) -> VideoJob:
    order, now = Order("Rain", "Rain.", "sora-2", webhook_url=url), datetime.now(UTC)
    behaviour = Behaviour(mischief=Mischief(**mischief))  # type: ignore[arg-type]
    job = VideoJob("video_1", order, "k", behaviour, now, provider=Provider.OPENAI)
    if error:
        job.fail(error, at=now)
    else:
        job.complete(MediaFile(Path("v.mp4"), bytes=3, sha256="aa", md5="bb"), at=now)
    return job


def verified(message: Message, secret: str, *, at: datetime) -> Any:
    return Webhook(secret).verify(message.body, message.credentials(at))


@pytest.mark.parametrize(("error", "kind"), [(None, "video.completed"), ("no light", "video.failed")])
def test_an_event_says_what_happened_to_which_video_and_no_more(error: str | None, kind: str) -> None:
    now = datetime.now(UTC)
    [message] = events(ended(error=error), SECRET, at=now)
    assert message.url == URL
    assert verified(message, SECRET, at=now) == {
        "id": "evt_1",
        "object": "event",
        "created_at": int(now.timestamp()),
        "type": kind,
        "data": {"id": "video_1"},
    }


def test_each_try_has_a_time_of_its_own_and_the_same_id() -> None:
    now = datetime.now(UTC)
    [message] = events(ended(), SECRET, at=now)
    first, second = message.credentials(now), message.credentials(now + timedelta(seconds=60))
    assert first["webhook-id"] == second["webhook-id"] == "wh_2"
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
    assert first["webhook-signature"] != second["webhook-signature"]
    verified(message, SECRET, at=now + timedelta(seconds=60))


def test_an_event_is_signed_with_every_secret() -> None:
    now = datetime.now(UTC)
    [message] = events(ended(), SECRET, OTHER, at=now)
    verified(message, SECRET, at=now)
    verified(message, OTHER, at=now)


def test_a_forged_event_is_believed_by_nobody() -> None:
    now = datetime.now(UTC)
    [message] = events(ended(), SECRET, at=now)
    assert message.forged is not None
    forged = message.forged(now)
    assert forged.keys() == message.credentials(now).keys()
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(message.body, forged)


def test_an_unknown_type_comes_before_the_known_one_under_an_id_of_its_own() -> None:
    now = datetime.now(UTC)
    messages = events(ended(unknown_status=1), SECRET, at=now)
    assert [json.loads(one.body)["type"] for one in messages] == ["video.archived", "video.completed"]
    assert len({one.credentials(now)["webhook-id"] for one in messages}) == 2


def test_nothing_is_sent_where_nobody_is_named() -> None:
    assert events(ended(url=None), SECRET, at=datetime.now(UTC)) == []


@pytest.mark.parametrize(
    ("url", "secrets", "said"),
    [
        ("https://hooks.example.com/", [SECRET], "does not lead to a loopback address"),
        (URL, [], "needs a webhook secret"),
        (URL, ["whsec_not base64"], "the webhook secret can't be used"),
        (None, ["whsec_"], "the webhook secret can't be used"),
    ],
)
def test_an_endpoint_that_can_not_be_is_a_usage_error(url: str | None, secrets: list[str], said: str) -> None:
    endpoint = Endpoint(URL, [OTHER])
    with pytest.raises(UsageError, match=said):
        endpoint.change(url, secrets)
    assert (endpoint.url, endpoint.secrets) == (URL, [OTHER])
    with pytest.raises(UsageError, match=said) as refused:
        Options(webhook_url=url, webhook_secrets=tuple(secrets))
    assert "not base64" not in str(refused.value)


def test_secrets_outlive_the_endpoint_for_videos_that_were_asked_for_before() -> None:
    endpoint = Endpoint(URL, [SECRET])
    endpoint.change(None, [])
    assert (endpoint.url, endpoint.secrets) == (None, [SECRET])


def test_secrets_do_not_show_in_the_representation() -> None:
    assert SECRET not in repr(Options(webhook_url=URL, webhook_secrets=(SECRET,)))
    assert SECRET not in repr(Endpoint(URL, [SECRET]))
