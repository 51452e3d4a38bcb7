"""Orders in OpenAI's shape: its limits, JSON, forms with a picture, remixes, lists."""

from __future__ import annotations

import email
import json
from typing import Any

import pytest

from receiver.orders import Endpoint, Image, Order, mistakes, openai, request

AT = Endpoint("https://api.openai.com/v1/", "key")
PNG = b"\x89PNG\r\n\x1a\n\r\n--x\r\n" + bytes(range(256))


def found(order: Order) -> list[str]:
    return [f"{mistake.field}: {mistake.text}" for mistake in mistakes("openai", order)]


def built(order: Order) -> Any:
    return request("openai", order, at=AT, callback="https://not.told", boundary="parting")


@pytest.mark.parametrize(
    "order",
    [
        Order({"prompt": "rain"}),
        Order({"prompt": "x" * 32_000, "model": "sora-2-pro", "seconds": "12", "size": "1792x1024"}),
        Order({"prompt": "rain", "model": "sora-2-2025-12-08"}),
        Order({"prompt": "rain", "model": "sora-2-pro-2025-10-06", "new_field": [1]}),
        Order({"prompt": "rain", "seconds": "4"}, Image(PNG)),
        Order({"prompt": "rain", "input_reference": {"image_url": "https://example.com/a.png"}}),
        Order({"prompt": "rain", "input_reference": {"file_id": "file_1"}}),
        Order({"prompt": "rain at night"}, remix_of="video_1"),
    ],
)
def test_what_the_provider_documents_is_fine(order: Order) -> None:
    assert found(order) == []


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (Order({}), "prompt: is missing"),
        (Order({"prompt": ""}), "prompt: String should have at least 1 character"),
        (Order({"prompt": "x" * 32_001}), "prompt: String should have at most 32000 characters"),
        (
            Order({"prompt": "rain", "model": "veo-3"}),
            "model: must be sora-2, sora-2-pro, or one of them with",
        ),
        (Order({"prompt": "rain", "seconds": "5"}), "seconds: must be '4', '8' or '12'"),
        (Order({"prompt": "rain", "seconds": 4}), "seconds: must be '4', '8' or '12'"),
        (Order({"prompt": "rain", "size": "1x1"}), "size: must be '720x1280', '1280x720', '1024x1792' or"),
        (Order({"prompt": "rain"}, Image(b"GIF89a")), "input_reference: the file is neither image/jpeg, "),
        (
            Order({"prompt": "rain", "input_reference": "x"}, Image(PNG)),
            "input_reference: it is given as a file and as a field",
        ),
        (Order({"prompt": "rain", "input_reference": "x"}), 'input_reference: must be {"image_url": "…"}'),
        (Order({"prompt": "rain", "input_reference": {"image_url": 1}}), "input_reference: must be"),
        (Order({"prompt": "rain", "input_reference": {"content": []}}), "input_reference: must be"),
        (Order({"prompt": "x", "tags": []}, Image(PNG)), "tags: an object or a list can't go along"),
        (Order({}, remix_of="video_1"), "prompt: is missing"),
        (Order({"prompt": "x", "size": "720x1280"}, remix_of="v"), "size: a remix keeps all of its original"),
        (Order({"prompt": "x"}, Image(PNG), remix_of="v"), "input_reference: a remix keeps all"),
    ],
)
def test_what_the_provider_would_refuse_is_named_by_its_field(order: Order, said: str) -> None:
    assert found(order)[0].startswith(said)


def test_an_order_of_text_is_json_and_names_no_callback() -> None:
    asked = built(Order({"prompt": "rain", "seconds": "8"}))

    assert (asked.method, asked.url) == ("POST", "https://api.openai.com/v1/videos")
    assert asked.headers == {"Authorization": "Bearer key", "Content-Type": "application/json"}
    assert json.loads(asked.content) == {"prompt": "rain", "seconds": "8"}


def test_an_order_with_a_picture_is_a_form_that_others_can_read() -> None:
    fields: dict[str, Any] = {
        "prompt": "rain\r\n--öäü",
        "seed": 7,
        "loud": True,
        'odd"\nname': "x",
        "none": None,
    }

    asked = built(Order(fields, Image(PNG)))

    assert asked.headers["Content-Type"] == "multipart/form-data; boundary=parting"
    form: Any = email.message_from_bytes(
        b"Content-Type: multipart/form-data; boundary=parting\r\n\r\n" + asked.content
    )
    *texts, file = form.get_payload()
    names = [part.get_param("name", header="Content-Disposition") for part in texts]
    assert [part.get_payload(decode=True) for part in texts[1:]] == [b"7", b"true", b"x"]
    assert names == ["prompt", "seed", "loud", "odd%22%0Aname"]
    assert file.get_filename() == "reference.png"
    assert (file.get_content_type(), file.get_payload(decode=True)) == ("image/png", PNG)


def test_a_remix_has_an_address_of_its_own_in_which_no_id_leads_astray() -> None:
    asked = built(Order({"prompt": "at night"}, remix_of="video_1/../../admin?x"))

    assert asked.url == "https://api.openai.com/v1/videos/video_1%2F..%2F..%2Fadmin%3Fx/remix"
    assert json.loads(asked.content) == {"prompt": "at night"}


def test_a_list_is_asked_for_by_page() -> None:
    whole = openai.list_request(AT, limit=None, after=None, order=None)
    page = openai.list_request(AT, limit=5, after="video&1", order="asc")

    assert (whole.method, whole.url) == ("GET", "https://api.openai.com/v1/videos")
    assert page.url == "https://api.openai.com/v1/videos?limit=5&after=video%261&order=asc"
    assert openai.delete_request(AT, "a/b").url == "https://api.openai.com/v1/videos/a%2Fb"
    assert openai.delete_request(AT, "a/b").method == "DELETE"
