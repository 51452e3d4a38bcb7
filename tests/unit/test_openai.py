"""OpenAI: which callbacks are believed, by their headers before the body and by its raw bytes after it."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterable

import pytest

from receiver.sources.base import RETRIEVE, Admission, ApiRequest, Denied, LinkedVideo
from receiver.sources.openai import CHECKED, WINDOW_SECONDS
from tests.samples.reading import (
    OLD_SECRET,
    OPENAI_KEY,
    SECRET,
    SIGNED_AT,
    Sample,
    cases,
    gateway,
    openai,
    sample,
)

BODY = b'{"object":"event","type":"video.completed","data":{"id":"video_1"}}'
Headers = list[tuple[bytes, bytes]]


def mac(secret: str, message_id: bytes, timestamp: bytes, body: bytes) -> bytes:
    """A signature, written down from the specification."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return b"v1," + base64.b64encode(hmac.digest(key, message_id + b"." + timestamp + b"." + body, "sha256"))


def signed(
    body: bytes = BODY, *, message_id: bytes = b"wh_1", at: int | bytes = SIGNED_AT, secret: str = SECRET
) -> Headers:
    """The three headers of a callback, among others."""
    timestamp = at if isinstance(at, bytes) else str(at).encode()
    return [
        (b"host", b"hooks.example.com"),
        (b"webhook-id", message_id),
        (b"webhook-timestamp", timestamp),
        (b"webhook-signature", mac(secret, message_id, timestamp, body)),
        (b"content-type", b"application/json"),
    ]


def changed(name: bytes, *values: bytes, headers: Headers | None = None) -> Headers:
    """The headers with other values of one of them."""
    others = [(each, value) for each, value in headers or signed() if each != name]
    return [*others, *((name, value) for value in values)]


def verdict(
    headers: Iterable[tuple[bytes, bytes]],
    body: bytes = BODY,
    *,
    now: float = SIGNED_AT,
    secrets: tuple[str, ...] = (SECRET,),
    piece: int = 7,
) -> Admission | Denied:
    """What becomes of a callback whose body comes in pieces."""
    admission = openai(clock=lambda: now, webhook_secrets=secrets).admit(list(headers))
    if isinstance(admission, Denied):
        return admission
    for start in range(0, len(body), piece):
        admission.feed(body[start : start + piece])
    return admission.conclude() or admission


def is_believed(headers: Iterable[tuple[bytes, bytes]], body: bytes = BODY, **more: object) -> bool:
    return isinstance(verdict(headers, body, **more), Admission)  # type: ignore[arg-type]


def test_a_signed_callback_is_believed_and_has_the_id_of_its_message() -> None:
    admission = verdict(signed())

    assert isinstance(admission, Admission)
    assert admission.request_id == "wh_1"


@pytest.mark.parametrize("case", cases("openai"))
def test_every_sample_is_believed(case: str) -> None:
    request: Sample = sample("openai", case)

    assert is_believed(request.headers, request.body, secrets=(SECRET, OLD_SECRET))


@pytest.mark.fault("A5")
@pytest.mark.parametrize(
    "body",
    [
        b'{"b":1,"a":2}',
        b'{ "b" : 1 ,\r\n\t"a":2 }\n',
        b'{"a":"\\u00e4"}',
        '{"a":"ä"}'.encode(),
        b'{"a":"\\/"}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b"{}",
        b'{"a":"' + bytes(range(128, 256)) + b'"}',
    ],
)
def test_the_raw_bytes_count_and_nothing_that_means_the_same(body: bytes) -> None:
    headers = signed(body)
    others = {body + b" ", b" " + body, body.upper(), body.replace(b" ", b"")} - {body}
    others |= {json.dumps(json.loads(body)).encode()} - {body} if body.isascii() else set()

    assert is_believed(headers, body)
    assert [other for other in others if is_believed(headers, other)] == []


@pytest.mark.fault("A5")
def test_one_changed_byte_anywhere_is_denied() -> None:
    headers = signed()
    for at in range(len(BODY)):
        other = bytearray(BODY)
        other[at] ^= 1
        assert verdict(headers, bytes(other)) == Denied("webhook-signature is wrong")


@pytest.mark.parametrize("piece", [1, 2, 64, 10**6])
def test_it_does_not_matter_how_the_body_is_cut(piece: int) -> None:
    assert is_believed(signed(), piece=piece)


def test_a_conclusion_stays_what_it_is() -> None:
    right, wrong = openai().admit(signed()), openai().admit(signed(b"{}"))
    assert isinstance(right, Admission)
    assert isinstance(wrong, Admission)
    for admission in (right, wrong):
        admission.feed(BODY)

    assert [right.conclude(), right.conclude()] == [None, None]
    assert [wrong.conclude(), wrong.conclude()] == [Denied("webhook-signature is wrong")] * 2


@pytest.mark.fault("A6")
@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (-301, Denied("webhook-timestamp is too old")),
        (-300, None),
        (-1, None),
        (0, None),
        (300, None),
        (301, Denied("webhook-timestamp lies in the future")),
    ],
)
def test_a_signature_counts_for_five_minutes_before_and_after(offset: int, expected: Denied | None) -> None:
    found = verdict(signed(at=SIGNED_AT + offset))

    assert WINDOW_SECONDS == 300
    assert found == expected if expected else isinstance(found, Admission)


@pytest.mark.fault("A6")
@pytest.mark.parametrize("at", [b"0", b"1", b"999999999999"])
def test_a_time_far_away_is_denied_however_well_it_is_signed(at: bytes) -> None:
    assert isinstance(verdict(signed(at=at)), Denied)


@pytest.mark.fault("A6")
def test_a_part_of_a_second_does_not_make_a_callback_older() -> None:
    assert is_believed(signed(), now=SIGNED_AT + 300.9)
    assert not is_believed(signed(), now=SIGNED_AT + 301.0)


@pytest.mark.fault("A8")
@pytest.mark.parametrize("secrets", [(SECRET, OLD_SECRET), (OLD_SECRET, SECRET)])
@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_every_live_secret_is_believed_while_they_are_rotated(secret: str, secrets: tuple[str, ...]) -> None:
    assert is_believed(signed(secret=secret), secrets=secrets)
    assert not is_believed(signed(secret=secret), secrets=(SECRET if secret == OLD_SECRET else OLD_SECRET,))


@pytest.mark.fault("A8")
def test_one_of_several_signatures_is_enough() -> None:
    (ours,) = [value for name, value in signed() if name == b"webhook-signature"]
    (theirs,) = [value for name, value in signed(secret=OLD_SECRET) if name == b"webhook-signature"]

    for lists in ([ours, theirs], [theirs, ours], [b"v1,", b"v1a,x", b"v2,y", ours], [b"", ours, b""]):
        assert is_believed(changed(b"webhook-signature", b" ".join(lists)))


def test_a_secret_counts_with_and_without_its_prefix() -> None:
    plain = SECRET.removeprefix("whsec_")

    assert is_believed(signed(secret=SECRET), secrets=(plain,))
    assert is_believed(signed(secret=plain), secrets=(SECRET,))


def test_a_secret_without_its_prefix_counts_as_openais_own_package_reads_it_too() -> None:
    plain = SECRET.removeprefix("whsec_")
    raw = "whsec_" + base64.b64encode(plain.encode()).decode()  # the text itself as the key

    assert is_believed(signed(secret=raw), secrets=(plain,))
    assert not is_believed(signed(secret=raw), secrets=(SECRET,)), "with a prefix there is one reading"


@pytest.mark.fault("A9")
@pytest.mark.parametrize(
    ("sent", "check"),
    [
        (b"", "holds no signature of version 1"),
        (b"v1", "holds no signature of version 1"),
        (b"v2,abc v1a,abc", "holds no signature of version 1"),
        (b"V1,abc", "holds no signature of version 1"),
        (b"\xff\xfe", "holds no signature of version 1"),
        (b"v1,", "is wrong"),
        (b"v1,====", "is wrong"),
        (b"v1,\xff", "is wrong"),
        (b"v1,whsec_abc", "is wrong"),
        (b" ".join([b"v1,x"] * 17), "holds too many signatures"),
        (b" " * 16 + b"v1,x", "holds too many signatures"),
        (b"v1," + b"x" * 4094, "is too long"),
        (b"v1," + b"x" * 10**6, "is too long"),
    ],
)
def test_a_list_of_signatures_that_is_odd_or_huge_is_denied(sent: bytes, check: str) -> None:
    assert verdict(changed(b"webhook-signature", sent)) == Denied(f"webhook-signature {check}")


@pytest.mark.fault("A9")
def test_the_right_signature_counts_among_sixteen_and_not_among_seventeen() -> None:
    (ours,) = [value for name, value in signed() if name == b"webhook-signature"]

    assert is_believed(changed(b"webhook-signature", b" ".join([b"v1,x"] * 15 + [ours])))
    assert not is_believed(changed(b"webhook-signature", b" ".join([b"v1,x"] * 16 + [ours])))


@pytest.mark.fault("A9")
def test_a_signature_in_another_spelling_of_the_same_bytes_is_none() -> None:
    (ours,) = [value for name, value in signed() if name == b"webhook-signature"]
    spellings = {ours.rstrip(b"="), ours + b"=", ours.replace(b"v1,", b"v1, "), ours.replace(b",", b",,")}

    assert [one for one in spellings if is_believed(changed(b"webhook-signature", one))] == []


@pytest.mark.fault("A10")
@pytest.mark.parametrize(
    "timestamp",
    [
        *(b"", b"+1762500000", b"-1", b"1e9", b"1762500000.0", b" 1762500000", b"1762500000 ", b"0x10"),
        *(b"1_762_500_000", "١٧٦٢٥٠٠٠٠٠".encode(), b"1762500000\n", b"0001762500000", b"\xff", b"nan"),
    ],
)
def test_a_timestamp_is_one_to_twelve_ascii_digits(timestamp: bytes) -> None:
    assert verdict(signed(at=timestamp)) == Denied("webhook-timestamp is no time")


@pytest.mark.fault("A10")
@pytest.mark.parametrize(
    "message_id", [b"", b"a.b", b".", b"a b", b"a\t", b"\xc3\xa4", b"a\x00", b"a\x7f", b"x" * 257]
)
def test_an_id_holds_no_dot_and_nothing_that_can_not_be_shown(message_id: bytes) -> None:
    assert verdict(signed(message_id=message_id)) == Denied("webhook-id is no id")


@pytest.mark.parametrize("message_id", [b"msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", b"wh:1/2=3+4@5", b"x" * 256])
def test_an_id_may_be_whatever_else_senders_call_their_messages(message_id: bytes) -> None:
    assert is_believed(signed(message_id=message_id))


@pytest.mark.fault("A9", "A3")
@pytest.mark.parametrize("name", CHECKED)
def test_a_header_that_is_missing_or_repeated_is_denied(name: bytes) -> None:
    (value,) = [value for each, value in signed() if each == name]
    label = name.decode()

    assert verdict(changed(name)) == Denied(f"{label} is missing")
    for repeated in ([value, value], [value, b"x"], [b"x", value], [b"", value]):
        assert verdict(changed(name, *repeated)) == Denied(f"{label} is given more than once")


def test_a_denial_names_every_header_that_failed() -> None:
    assert verdict([]) == Denied(
        "webhook-id is missing, webhook-timestamp is missing, webhook-signature is missing"
    )


def test_no_secret_shows_in_what_is_admitted() -> None:
    admission = openai().admit(signed())

    assert isinstance(admission, Admission)
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    assert repr(admission) == "SignedAdmission(request_id='wh_1', warnings=())"
    assert key.decode() not in repr(admission.signature)  # type: ignore[attr-defined]


@pytest.mark.fault("A11")
def test_a_secret_of_one_source_is_not_believed_at_another() -> None:
    assert not is_believed(signed(secret=OLD_SECRET))
    assert openai().admit(sample("opennote", "completed_s3").headers) == Denied(
        "webhook-id is missing, webhook-timestamp is missing, webhook-signature is missing"
    )


def test_a_gateway_believes_nobody() -> None:
    assert gateway().admit(signed()) == Denied("this kind of source receives no callbacks")
    assert not gateway().receives_callbacks
    assert openai().receives_callbacks


# What it asks of the API.


def test_the_api_is_asked_with_the_key_for_a_video_by_its_id() -> None:
    request = openai().status_request("video_1")

    assert request == ApiRequest(
        "https://api.openai.com/v1/videos/video_1",
        "https://api.openai.com/v1",
        headers={"Authorization": f"Bearer {OPENAI_KEY}"},
    )
    assert OPENAI_KEY not in repr(request)


@pytest.mark.parametrize(
    ("video_id", "path"), [("a/b", "a%2Fb"), ("a?b#c", "a%3Fb%23c"), ("ä", "%C3%A4"), ("..", "..")]
)
def test_an_id_stays_one_part_of_the_path(video_id: str, path: str) -> None:
    assert gateway().status_request(video_id).url == f"https://gateway.example.com/v1/videos/{path}"


@pytest.mark.parametrize(
    ("variant", "query"),
    [("video", ""), ("thumbnail", "?variant=thumbnail"), ("spritesheet", "?variant=spritesheet")],
)
def test_each_variant_of_a_finished_video_is_behind_the_content_endpoint(variant: str, query: str) -> None:
    payload = sample("openai", "completed").payload
    place = openai().place(payload, variant=variant)

    assert place == LinkedVideo(
        f"https://api.openai.com/v1/videos/video_sample_1/content{query}",
        "https://api.openai.com/v1",
        {"Authorization": f"Bearer {OPENAI_KEY}"},
        allow_private=True,
    )
    assert OPENAI_KEY not in repr(place)


@pytest.mark.parametrize("case", ["failed", "response_completed"])
def test_what_is_no_finished_video_is_nowhere(case: str) -> None:
    assert openai().place(sample("openai", case).payload) is None


def test_there_is_no_other_variant() -> None:
    assert openai().place(sample("openai", "completed").payload, variant="audio") is None


@pytest.mark.parametrize(
    ("type_", "via", "job"),
    [
        ("video.completed", "callback", RETRIEVE),
        ("video.failed", "callback", RETRIEVE),
        ("video.completed", "poll", None),
        ("video.unknown", "callback", None),
        ("video.progress", "callback", None),
    ],
)
def test_the_video_of_a_thin_event_is_looked_up_first(type_: str, via: str, job: str | None) -> None:
    assert openai().first_job(type_, via) == job  # type: ignore[arg-type]
    assert gateway().first_job(type_, via) is None  # type: ignore[arg-type]


@pytest.mark.fault("O1")
def test_kept_headers_hold_neither_signature_nor_key() -> None:
    headers = [
        *signed(),
        (b"authorization", f"Bearer {OPENAI_KEY}".encode()),
        (b"x-odd", OPENAI_KEY.encode()),
    ]

    kept = openai().fingerprint(headers)

    assert OPENAI_KEY not in kept
    (signature,) = [value for name, value in signed() if name == b"webhook-signature"]
    assert signature.decode() not in kept
    assert openai().fingerprint(headers) == kept, "the same credential has the same fingerprint"
