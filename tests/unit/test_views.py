"""What is shown: nothing that signs a link or calls itself a secret, and everything else as it is."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.api.replays import replay_view
from receiver.model import Payload, iso
from receiver.views import redacted

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def test_signed_links_and_named_secrets_are_redacted_at_any_depth() -> None:
    payload: Payload = {
        "s3_url": "https://b.example.com/v.mp4?X-Amz-Signature=canary&x=1",
        "deep": [{"text": 'see <a href="http://h/p?canary">', "Api-Key": "canary", "tokens": 12}],
        "fragment": "https://h/p#part",
        "password": None,
        "ratio": "what? no",
    }
    shown = redacted(payload)
    assert b"canary" not in orjson.dumps(shown)
    assert shown == {
        "s3_url": "https://b.example.com/v.mp4?redacted",
        "deep": [{"text": 'see <a href="http://h/p?redacted">', "Api-Key": "redacted", "tokens": 12}],
        "fragment": "https://h/p#part",
        "password": None,
        "ratio": "what? no",
    }


@given(st.dictionaries(st.text("abc", max_size=3), JSON, max_size=4))
def test_a_payload_without_links_and_secrets_is_shown_as_it_is(payload: dict[str, object]) -> None:
    text = orjson.dumps(payload).decode()
    if "?" not in text:
        assert redacted(payload) == payload or "token" in text  # type: ignore[arg-type]


def test_times_are_written_to_the_millisecond_in_utc() -> None:
    assert iso(1_700_000_000_007) == "2023-11-14T22:13:20.007+00:00"
    assert iso(None) is None


@pytest.mark.fault("W4")
def test_a_replay_is_shown_without_what_signs_the_url_that_it_posted_to() -> None:
    times = {"began_at": 0, "last_at": None, "ended_at": None}
    counts = {"selected": 1, "events": 1, "jobs": 1, "failed": 0}
    row = {"id": "rpl_1", "made_by": "ann", "wanted": '{"filter":{}}', "status": "open", **times, **counts}

    assert replay_view({**row, "target": "https://h/hook?token=canary"}).target == "https://h/hook?redacted"
    assert replay_view({**row, "target": None}).target is None
