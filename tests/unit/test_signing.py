"""Signatures by Standard Webhooks, held against the published package and the specification's example."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from receiver.signing import Signature, Signer, read_secret

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"another key of 32 bytes, as it is").decode()
BODY = b'{"test": 2432232314}'


def signed(*secrets: str, body: bytes = BODY, message_id: str = "msg_1", timestamp: str = "1") -> Signature:
    signature = Signature(
        [read_secret(secret) for secret in secrets],
        message_id=message_id.encode(),
        timestamp=timestamp.encode(),
    )
    signature.update(body)
    return signature


def test_the_known_example_has_its_known_signature() -> None:
    signature = signed(SECRET, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp="1614265330")

    assert signature.header() == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@settings(max_examples=50)
@given(
    key=st.binary(min_size=1, max_size=80),
    body=st.text(st.characters(codec="utf-8"), max_size=300),
    has_prefix=st.booleans(),
)
def test_the_published_package_believes_what_is_signed(key: bytes, body: str, has_prefix: bool) -> None:
    secret = ("whsec_" if has_prefix else "") + base64.b64encode(key).decode()
    headers = Signer([secret]).headers("evt_1", at=datetime.now(UTC), body=body.encode())

    Webhook(secret).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(f"{body} ", headers, json_parse=False)


@settings(max_examples=50)
@given(key=st.binary(min_size=1, max_size=80), body=st.text(st.characters(codec="utf-8"), max_size=300))
def test_what_the_published_package_signs_is_believed(key: bytes, body: str) -> None:
    secret = base64.b64encode(key).decode()
    header = Webhook(secret).sign("msg_1", datetime.fromtimestamp(1, UTC), body).encode()

    assert signed(secret, body=body.encode()).matches(header)
    assert not signed(secret, body=body.encode() + b" ").matches(header)


def test_a_body_in_pieces_and_a_file_are_signed_like_the_whole() -> None:
    body, at = bytes(range(256)) * 5000, datetime.now(UTC)
    whole = Signer([SECRET]).headers("evt_1", at=at, body=body)
    file = io.BytesIO(b"before" + body)
    file.seek(6)

    assert Signer([SECRET]).headers("evt_1", at=at, body=file) == whole
    assert file.tell() == 6
    signature = signed(SECRET, body=b"", message_id="evt_1", timestamp=whole["webhook-timestamp"])
    for start in range(0, len(body), 999):
        signature.update(body[start : start + 999])
    assert signature.header() == whole["webhook-signature"]


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_each_of_several_secrets_is_enough_to_believe(secret: str) -> None:
    headers = Signer([SECRET, OTHER]).headers("evt_1", at=datetime.now(UTC), body=BODY)

    assert headers["webhook-signature"].count("v1,") == 2
    Webhook(secret).verify(BODY.decode(), headers)
    assert signed(SECRET, OTHER).matches(signed(secret).header().encode())


def test_the_timestamp_is_in_whole_seconds_of_any_time_zone() -> None:
    at = datetime.fromtimestamp(1_614_265_330.9, timezone(timedelta(hours=9)))

    assert Signer([SECRET]).headers("evt_1", at=at, body=b"")["webhook-timestamp"] == "1614265330"


@pytest.mark.parametrize(
    "secret",
    [
        *("", "whsec_", "whsec_====", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "whsec_MfKQ 9r8G", "whsec_é"),
        *(
            "whsec_MfKQ9r8G\n",
            "MfKQ9r8-",
            "whsec_whsec_MfKQ9r8G",
            "whsec_TWE=TWE=",
            "whsec_TWF=",
            "WHSEC_TWE=",
        ),
    ],
)
def test_a_secret_that_is_not_plain_base64_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="a secret is base64") as caught:
        Signer([secret])
    assert len(secret) < 7 or secret not in str(caught.value)


def test_no_secret_signs_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Signer([])


def test_a_signature_among_unknown_ones_counts() -> None:
    ours = signed(SECRET).header()

    assert signed(SECRET).matches(f"v1a,AAAA v2,x v1,!! {ours}  v1, nonsense".encode())


@pytest.mark.fault("A9")
@pytest.mark.parametrize(
    "header",
    [
        "",
        "v1,",
        "v1",
        "{signature}",
        "v2,{signature}",
        "v1a,{signature}",
        "V1,{signature}",
        "v1,{signature}=",
        "v1,{signature},",
        "v1,{signature}\x00",
        "v1, {signature}",
        "v1,{signature}\tv1,AAAA",
        "v1,é{signature}",
        "v1,AAAA " * 16 + "v1,{signature}",
        "v1,{signature} " + "v1," + "A" * 4096,
    ],
)
def test_a_header_that_is_none_or_too_much_does_not_match(header: str) -> None:
    text = signed(SECRET).header().removeprefix("v1,")

    assert signed(SECRET).matches(f"v1,{text}".encode())
    assert not signed(SECRET).matches(header.format(signature=text).encode())


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_no_other_bytes_match(header: bytes) -> None:
    assert not signed(SECRET).matches(header)
