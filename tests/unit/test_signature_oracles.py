"""Signatures beside the published packages: they believe what we sign, and we believe what they sign."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime

import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from standardwebhooks import Webhook, WebhookVerificationError

from receiver.signing import Signer
from receiver.sources.base import Admission, Denied
from tests.samples.reading import OLD_SECRET, SECRET, openai

BODIES = (
    '{"id":"evt_1","object":"event","created_at":1,"type":"video.completed","data":{"id":"video_1"}}',
    '{ "object" : "event",\n\t"type":"video.failed", "data":{"id":"vidéo_\\u00e9_日本"} }',
    "{}",
)
SECRETS = (SECRET, OLD_SECRET, base64.b64encode(bytes(range(64))).decode())


def is_believed(headers: dict[str, str], body: str, *secrets: str, now: float | None = None) -> bool:
    """Whether our source believes a callback, whose body comes in pieces."""
    source = openai(clock=lambda: time.time() if now is None else now, webhook_secrets=list(secrets))
    admission = source.admit([(name.lower().encode(), value.encode()) for name, value in headers.items()])
    if isinstance(admission, Denied):
        return False
    raw = body.encode()
    for start in range(0, len(raw), 5):
        admission.feed(raw[start : start + 5])
    return isinstance(admission, Admission) and admission.conclude() is None


def signed_by_standardwebhooks(
    body: str, secret: str, *, at: int, message_id: str = "msg_1"
) -> dict[str, str]:
    """The headers that the package's own signature makes."""
    # It takes a time without a zone for UTC.
    moment = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
    signature = Webhook(secret).sign(message_id, moment, body)
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}


@pytest.mark.fault("A5")
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("secret", SECRETS)
def test_we_believe_what_standardwebhooks_signs(body: str, secret: str) -> None:
    headers = signed_by_standardwebhooks(body, secret, at=int(time.time()))

    assert is_believed(headers, body, secret)
    assert is_believed(headers, body, "whsec_b3RoZXI=", secret)
    assert not is_believed(headers, body + " ", secret)
    assert not is_believed(headers, body, "whsec_b3RoZXI=")


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("secret", SECRETS)
def test_standardwebhooks_believes_what_we_sign(body: str, secret: str) -> None:
    headers = Signer([secret]).headers("msg_1", at=datetime.now(UTC), body=body.encode())

    Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + " ", headers)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_the_package_of_openai_believes_what_we_sign(body: str, secret: str) -> None:
    client = OpenAI(api_key="none", webhook_secret=secret)
    headers = Signer([secret]).headers("wh_1", at=datetime.now(UTC), body=body.encode())

    client.webhooks.verify_signature(body, headers)
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.verify_signature(body + " ", headers)


@pytest.mark.fault("A6")
@pytest.mark.parametrize("offset", [-310, -290, 0, 290, 310])
def test_the_package_of_openai_and_we_agree_on_what_is_too_old_and_too_new(offset: int) -> None:
    now = int(time.time())
    headers = Signer([SECRET]).headers("wh_1", at=datetime.fromtimestamp(now + offset, UTC), body=b"{}")

    def is_believed_by_openai() -> bool:
        try:
            OpenAI(api_key="none", webhook_secret=SECRET).webhooks.verify_signature("{}", headers)
        except InvalidWebhookSignatureError:
            return False
        return True

    assert is_believed(headers, "{}", SECRET, now=now) == is_believed_by_openai() == (abs(offset) < 300)


@pytest.mark.fault("A8")
def test_a_list_of_our_signatures_is_believed_under_each_of_its_secrets() -> None:
    headers = Signer([SECRET, OLD_SECRET]).headers("wh_1", at=datetime.now(UTC), body=b"{}")

    for secret in (SECRET, OLD_SECRET):
        Webhook(secret).verify("{}", headers)
        OpenAI(api_key="none", webhook_secret=secret).webhooks.verify_signature("{}", headers)
        assert is_believed(headers, "{}", secret)


def test_what_the_package_of_openai_reads_from_our_samples_is_what_we_read() -> None:
    event = OpenAI(api_key="none", webhook_secret=SECRET).webhooks.unwrap(
        BODIES[0], Signer([SECRET]).headers("wh_1", at=datetime.now(UTC), body=BODIES[0].encode())
    )

    assert (event.type, event.data.id) == ("video.completed", "video_1")  # type: ignore[union-attr]
