"""Orders of gateways: what they need, and what they are known to refuse, with what to write instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from receiver.orders import Endpoint, Image, Order, mistakes, request

ASK: dict[str, Any] = {"model": "sora-2", "prompt": "rain", "size": "720x1280", "seconds": "4"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(10)
PICTURE = {"type": "image_url", "role": "reference_image", "image_url": {"url": "https://example.com/a.png"}}


def found(fields: dict[str, Any], image: Image | None = None) -> list[str]:
    judged = mistakes("openai-compatible", Order(fields, image))
    return [f"{mistake.field}: {mistake.text}" for mistake in judged]


def referring(*items: Any) -> dict[str, Any]:
    return {**ASK, "input_reference": {"content": list(items)}}


@pytest.mark.parametrize(
    "fields",
    [
        ASK,
        {**ASK, "model": "anything-9", "size": "1x1", "seconds": "7.5"},
        {**ASK, "generate_audio": True, "enhance_prompt": False, "negative_prompt": "no fog", "seed": 7},
        {**ASK, "person_generation": "allow_adult", "remix_video_id": "video_1", "new": {"deep": 1}},
        referring(PICTURE),
        referring(PICTURE, {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}),
        referring({"type": "audio_url", "audio_url": {"url": "http://example.com/a.mp3"}}),
        referring({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUFB"}}),
        {**referring(PICTURE), "remix_video_id": "video_1"},
    ],
)
def test_what_the_gateway_documents_is_fine(fields: dict[str, Any]) -> None:
    assert found(fields) == []


def test_what_is_needed_and_lacking_is_named() -> None:
    assert found({}) == [
        "model: is missing",
        "prompt: is missing",
        "size: is missing",
        "seconds: is missing",
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({**ASK, "aspect_ratio": "16:9"}, "aspect_ratio: is refused; say it by size, as in 1280x720"),
        ({**ASK, "resolution": "720p"}, "resolution: is refused; say it by size, as in 1280x720"),
        (
            {**ASK, "duration_seconds": 4},
            'duration_seconds: is refused; it is called seconds, and is text: "4"',
        ),
        ({**ASK, "content": []}, "content: is refused at the top; text belongs into prompt, references into"),
        (
            {**ASK, "img_url": "https://x/a.png"},
            "img_url: is refused; give a picture's file as input_reference",
        ),
        ({**ASK, "img_url": None}, "img_url: is refused"),
        (
            {**ASK, "input_reference": {"file_id": "file_1"}},
            "input_reference: file_id is refused; give the file itself, or a URL in input_reference.content",
        ),
        (
            {**ASK, "input_reference": {"image_url": "https://x/a.png"}},
            "input_reference: image_url is refused here; it belongs into an item of input_reference.content",
        ),
        (
            referring({"type": "text", "text": "a dog"}),
            "input_reference: content.0: text is refused here; it belongs into prompt",
        ),
        (
            referring(PICTURE, {**PICTURE, "text": "a dog"}),
            "input_reference: content.1: text is refused here; it belongs into prompt",
        ),
        (
            referring({"type": "pdf"}),
            "input_reference: content.0: type must be image_url, video_url or audio",
        ),
        (referring({}), "input_reference: content.0: type must be"),
        (referring("https://x/a.png"), "input_reference: content.0: must be an object with a type"),
        (
            referring({"type": "image_url"}),
            "input_reference: content.0: image_url.url must be a URL or a data",
        ),
        (
            referring({"type": "video_url", "video_url": {"url": "data:video/mp4;base64,QUFB"}}),
            "input_reference: content.0: video_url.url must be a URL",
        ),
        (
            referring({**PICTURE, "video_url": {}}),
            "input_reference: content.0: video_url is not for an item of",
        ),
        (referring({**PICTURE, "role": 1}), "input_reference: content.0: role must be text"),
        (referring(), 'input_reference: must be {"content": [{"type"'),
        ({**ASK, "input_reference": "https://x/a.png"}, 'input_reference: must be {"content": [{"type"'),
        ({**ASK, "input_reference": {"content": [PICTURE], "x": 1}}, 'input_reference: must be {"content"'),
        ({**ASK, "seconds": 4}, 'seconds: must be a number, as text: "4"'),
        ({**ASK, "seconds": "4s"}, 'seconds: must be a number, as text: "4"'),
        ({**ASK, "size": ""}, "size: String should have at least 1 character"),
        ({**ASK, "seed": 1.5}, "seed: must be a valid integer"),
        ({**ASK, "generate_audio": "yes"}, "generate_audio: must be a valid boolean"),
        ({**ASK, "remix_video_id": ""}, "remix_video_id: String should have at least 1 character"),
    ],
)
def test_what_a_gateway_refuses_comes_with_what_to_write_instead(fields: dict[str, Any], said: str) -> None:
    (line,) = found(fields)

    assert line.startswith(said)


@pytest.mark.parametrize(
    ("fields", "image", "said"),
    [
        (
            {**ASK, "remix_video_id": "video_1"},
            Image(PNG),
            "a picture's file and a remix are not taken together",
        ),
        (ASK, Image(PNG + bytes(10**7)), "the file is larger than 10 MB"),
        (ASK, Image(b"GIF89a"), "the file is neither image/jpeg, image/png nor image/webp"),
        (referring(PICTURE), Image(PNG), "it is given as a file and as a field"),
    ],
)
def test_a_picture_is_judged_before_it_is_sent(fields: dict[str, Any], image: Image, said: str) -> None:
    (line,) = found(fields, image)

    assert line.startswith(f"input_reference: {said}")


def test_a_picture_as_large_as_it_may_be_is_fine() -> None:
    assert found(ASK, Image(PNG + bytes(10**7 - len(PNG)))) == []


def test_only_a_picture_makes_a_form_of_the_request() -> None:
    at = Endpoint("https://api-platform.example.com/v1", "key")
    plain = request("openai-compatible", Order(referring(PICTURE)), at=at, callback=None, boundary="b")
    form = request("openai-compatible", Order(ASK, Image(PNG)), at=at, callback=None, boundary="b")

    assert json.loads(plain.content or b"") == referring(PICTURE)
    assert plain.url == form.url == "https://api-platform.example.com/v1/videos"
    assert form.headers["Content-Type"] == "multipart/form-data; boundary=b"
