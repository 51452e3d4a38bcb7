"""Orders by themselves: fields from the command line, what is kept of an order, when two are the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.orders import Endpoint, Image, Order
from receiver.orders.fields import parse

KEY = "sk-canary-4f1d9c0123456789"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def test_fields_are_json_and_a_dot_leads_into_an_object() -> None:
    texts = ["seed=7", 'style="noir"', "audio.loud=true", 'audio.tags=["a", 1]', "note=null", 'a="b=c"']

    assert parse(texts) == {
        "seed": 7,
        "style": "noir",
        "audio": {"loud": True, "tags": ["a", 1]},
        "note": None,
        "a": "b=c",
    }


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["seed"], "'seed' is not name=value"),
        (["=1"], "'=1' is not name=value"),
        (["a..b=1"], "'a..b=1' is not name=value"),
        (["style=noir"], "style: the value is JSON; text stands in quotes: style='\"noir\"'"),
        (["n=NaN"], "n: the value is JSON"),
        (['n="\\ud800"'], "n: the value is JSON"),
        (["a=1", "a=2"], "a is given twice"),
        (["a=1", "a.b=2"], "a is given as a value and as an object"),
    ],
)
def test_a_field_that_can_not_be_read_is_told_how_it_is_written(texts: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(texts)
    assert str(caught.value).startswith(said)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text("abc_", min_size=1), JSON, max_size=4))
def test_whatever_json_has_can_be_a_field(fields: dict[str, Any]) -> None:
    assert parse(f"{name}={json.dumps(value)}" for name, value in fields.items()) == fields


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (PNG, "image/png"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x10\0\0\0AVI LIST", None),
        (b"GIF89a", None),
        (b"", None),
    ],
)
def test_a_picture_is_known_by_how_it_begins(content: bytes, media_type: str | None) -> None:
    assert Image(content).media_type == media_type


def test_the_order_of_fields_makes_no_other_order_and_everything_else_does() -> None:
    order = Order({"prompt": "rain", "seed": 1}, Image(PNG))
    others = [
        Order({"prompt": "rain", "seed": 2}, Image(PNG)),
        Order({"prompt": "rain", "seed": "1"}, Image(PNG)),
        Order({"prompt": "rain", "seed": 1}, Image(PNG + b"x")),
        Order({"prompt": "rain", "seed": 1}),
        Order({"prompt": "rain", "seed": 1}, Image(PNG), remix_of="video_1"),
    ]

    assert Order({"seed": 1, "prompt": "rain"}, Image(PNG)).digest() == order.digest()
    assert len({order.digest(), *(other.digest() for other in others)}) == 1 + len(others)


def test_what_is_kept_of_an_order_holds_no_credential_and_nothing_at_length() -> None:
    fields: dict[str, Any] = {
        "prompt": "rain " * 100,
        "note": f"my key is {KEY}",
        "api_key": "hunter2",
        "nested": {"access_token": "hunter2", "deep": [{"password": "hunter2"}]},
        "input_reference": {
            "content": [
                {"type": "image_url", "image_url": {"url": "https://me:hunter2@host/a.png?sig=hunter2#x"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUFB" * 1000}},
            ]
        },
        "about": "like https://host/b?token=hunter2 but longer",
        "seed": 7,
    }

    shown = Order(fields).shown(key=KEY)

    text = json.dumps(shown)
    assert KEY not in text
    assert "hunter2" not in text
    assert "QUFBQUFB" not in text
    assert len(text) < 1500
    assert shown["note"] == "my key is redacted"
    assert shown["about"] == "like https://host/b?… but longer"
    assert shown["seed"] == 7
    assert str(shown["prompt"]).startswith("rain rain")


def test_of_a_picture_only_its_size_is_kept() -> None:
    shown = Order({"prompt": "x"}, Image(PNG), remix_of="video_1").shown(key=KEY)

    assert shown == {
        "remix_of": "video_1",
        "prompt": "x",
        "input_reference": f"a picture of {len(PNG)} bytes",
    }


def test_neither_key_nor_content_shows_where_an_order_is_printed() -> None:
    endpoint = Endpoint("https://api.example.com/v1", KEY)
    request = endpoint.ask("POST", "/videos", f"secret of {KEY}".encode())

    assert KEY not in f"{endpoint!r} {request!r}"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.url == "https://api.example.com/v1/videos"
