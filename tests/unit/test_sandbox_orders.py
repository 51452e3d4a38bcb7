"""What the OpenAI-style stand-ins let clients ask for, and how they show it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.sandbox import compatible, openai
from receiver.sandbox.forms import FormText, Upload
from receiver.sandbox.jobs import Provider, VideoJob
from receiver.sandbox.options import Behaviour
from receiver.sandbox.refusals import Refusal
from receiver.sandbox.videos import MediaFile

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
PNG = Upload("a.png", "image/png", b"\x89PNG")
GATEWAY = {"model": "seedance", "prompt": "Rain.", "size": "720x1280", "seconds": "5"}
LINK = {"type": "image_url", "role": "reference_image", "image_url": {"url": "https://example.com/a.png"}}


def refusal(read: Any, fields: dict[str, object]) -> Refusal:
    with pytest.raises(Refusal) as refused:
        read(fields)
    assert refused.value.status == 400
    assert refused.value.error["type"] == "invalid_request_error"
    return refused.value


def test_openai_fills_in_what_is_not_said() -> None:
    order = openai.read_order({"prompt": "Rain."})
    assert (order.model, order.seconds, order.size) == ("sora-2", "4", "720x1280")
    assert (order.title, order.transcript, order.inline, order.remixed_from) == (
        "Rain.",
        "Rain.",
        False,
        None,
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x" * 32_000},
        {"prompt": "x", "model": "sora-2-pro-2025-10-06", "seconds": "12", "size": "1792x1024"},
        {"prompt": FormText("x"), "seconds": FormText("8"), "input_reference": PNG},
        {"prompt": "x", "input_reference": {"image_url": "data:image/png;base64,"}},
        {"prompt": "x", "input_reference": {"file_id": "file-1"}},
        {"prompt": "x", "input_reference": None, "model": None, "seconds": None, "size": None},
    ],
)
def test_openai_takes_what_is_within_the_limits(fields: dict[str, object]) -> None:
    openai.read_order(fields)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({}, "prompt", "missing_required_parameter"),
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": ""}, "prompt", "empty_string"),
        ({"prompt": "x" * 32_001}, "prompt", "string_above_max_length"),
        ({"prompt": 7}, "prompt", "invalid_type"),
        ({"prompt": PNG}, "prompt", "invalid_type"),
        ({"prompt": "x", "seconds": 4}, "seconds", "invalid_type"),
        ({"prompt": "x", "seconds": "5"}, "seconds", "invalid_value"),
        ({"prompt": "x", "size": "720p"}, "size", "invalid_value"),
        ({"prompt": "x", "model": "sora-3"}, "model", "invalid_value"),
        ({"prompt": "x", "aspect_ratio": "9:16"}, "aspect_ratio", "unknown_parameter"),
        ({"prompt": "x", "input_reference": "https://example.com/"}, "input_reference", "invalid_type"),
        ({"prompt": "x", "input_reference": {}}, "input_reference", "invalid_value"),
        ({"prompt": "x", "input_reference": {"image_url": 1}}, "input_reference.image_url", "invalid_type"),
        ({"prompt": "x", "input_reference": {"url": "y"}}, "input_reference.url", "unknown_parameter"),
        (
            {"prompt": "x", "input_reference": Upload("a.gif", "image/gif", b"")},
            "input_reference",
            "unsupported_file_mimetype",
        ),
    ],
)
def test_openai_refuses_what_is_beyond_them(fields: dict[str, object], param: str, code: str) -> None:
    refused = refusal(openai.read_order, fields)
    assert (refused.error["param"], refused.error["code"]) == (param, code)


@pytest.mark.parametrize(
    ("value", "in_words"),
    [
        (True, "a boolean"),
        (1, "an integer"),
        (1.5, "a number"),
        ([], "an array"),
        ({}, "an object"),
        (PNG, "a file"),
    ],
)
def test_a_wrong_type_is_named(value: object, in_words: str) -> None:
    refused = refusal(openai.read_order, {"prompt": value})
    assert (
        refused.error["message"]
        == f"Invalid type for 'prompt': expected a string, but got {in_words} instead."
    )


def test_a_remix_changes_the_prompt_only() -> None:
    source = job(openai.read_order({"prompt": "Rain.", "seconds": "8", "model": "sora-2-pro"}))
    order = openai.read_remix({"prompt": "Snow."}, source)
    assert (order.transcript, order.seconds, order.model) == ("Snow.", "8", "sora-2-pro")
    assert order.remixed_from == source.id
    refused = refusal(lambda fields: openai.read_remix(fields, source), {"prompt": "Snow.", "seconds": "4"})
    assert refused.error["param"] == "seconds"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"seed": 7, "generate_audio": True, "enhance_prompt": False, "negative_prompt": "x"},
        {"seed": FormText("7"), "generate_audio": FormText("true"), "input_reference": PNG},
        {"remix_video_id": "video_1", "person_generation": None},
        {"input_reference": {"content": [LINK, {"type": "audio_url", "audio_url": {"url": "data:,"}}]}},
        {"something": "that some model knows"},
    ],
)
def test_a_gateway_takes_what_its_documentation_names(more: dict[str, object]) -> None:
    order = compatible.read_order(GATEWAY | more)
    assert (order.model, order.seconds, order.remixed_from) == ("seedance", "5", more.get("remix_video_id"))


@pytest.mark.parametrize("name", GATEWAY)
def test_a_gateway_needs_all_four(name: str) -> None:
    refused = refusal(compatible.read_order, {key: value for key, value in GATEWAY.items() if key != name})
    assert (refused.error["param"], refused.error["code"]) == (name, "missing_required_parameter")
    assert refusal(compatible.read_order, GATEWAY | {name: 5}).error["code"] == "invalid_type"


@pytest.mark.parametrize(
    ("more", "param", "advice"),
    [
        ({"aspect_ratio": "9:16"}, "aspect_ratio", "use 'size'"),
        ({"resolution": "720p"}, "resolution", "use 'size'"),
        ({"duration_seconds": 5}, "duration_seconds", "use 'seconds'"),
        ({"content": []}, "content", "use 'prompt', and 'input_reference.content'"),
        ({"img_url": "x"}, "img_url", "'image_url'"),
        ({"input_reference": {"file_id": "x"}}, "input_reference.file_id", "multipart/form-data"),
        (
            {"input_reference": {"image_url": "x"}},
            "input_reference.image_url",
            "use 'input_reference.content'",
        ),
        (
            {"input_reference": {"content": [LINK, {"type": "text", "text": "x"}]}},
            "input_reference.content[1].text",
            "put text into 'prompt'",
        ),
        (
            {"input_reference": {"content": [LINK | {"text": "x"}]}},
            "input_reference.content[0].text",
            "put text into 'prompt'",
        ),
    ],
)
def test_a_gateway_says_what_to_use_instead(more: dict[str, object], param: str, advice: str) -> None:
    refused = refusal(compatible.read_order, GATEWAY | more)
    assert (refused.error["param"], refused.error["code"]) == (param, "unsupported_parameter")
    assert advice in str(refused)


@pytest.mark.parametrize(
    ("more", "param", "code"),
    [
        ({"seed": "7"}, "seed", "invalid_type"),
        ({"seed": True}, "seed", "invalid_type"),
        ({"generate_audio": 1}, "generate_audio", "invalid_type"),
        ({"input_reference": "x"}, "input_reference", "invalid_type"),
        ({"input_reference": {}}, "input_reference.content", "invalid_type"),
        ({"input_reference": {"content": ["x"]}}, "input_reference.content[0]", "invalid_type"),
        (
            {"input_reference": {"content": [{"type": "pdf"}]}},
            "input_reference.content[0].type",
            "invalid_value",
        ),
        (
            {"input_reference": {"content": [{"type": "video_url"}]}},
            "input_reference.content[0].video_url.url",
            "missing_required_parameter",
        ),
        (
            {"input_reference": Upload("a.svg", "image/svg+xml", b"")},
            "input_reference",
            "unsupported_file_mimetype",
        ),
        (
            {"input_reference": Upload("a.png", "image/png", b"x" * 10_000_001)},
            "input_reference",
            "file_too_large",
        ),
        ({"input_reference": PNG, "remix_video_id": "video_1"}, "remix_video_id", "invalid_value"),
    ],
)
def test_a_gateway_refuses_what_its_documentation_excludes(
    more: dict[str, object], param: str, code: str
) -> None:
    refused = refusal(compatible.read_order, GATEWAY | more)
    assert (refused.error["param"], refused.error["code"]) == (param, code)


def job(order: Any, *, provider: Provider = Provider.OPENAI) -> VideoJob:
    behaviour = Behaviour(delay=timedelta(seconds=100), lifetime=timedelta(seconds=60))
    return VideoJob("video_1", order, "key", behaviour, created_at=NOW, provider=provider)


@pytest.mark.parametrize(
    ("seconds", "openais", "gateways"),
    [
        (0, ("queued", 0), ("queued", 0)),
        (9, ("queued", 0), ("queued", 9)),
        (10, ("in_progress", 10), ("NOT_START", 10)),
        (25, ("in_progress", 25), ("running", 25)),
        (50, ("in_progress", 50), ("processing", 50)),
        (500, ("in_progress", 99), ("processing", 99)),
    ],
)
def test_a_status_moves_with_the_time(
    seconds: int, openais: tuple[str, int], gateways: tuple[str, int]
) -> None:
    now = NOW + timedelta(seconds=seconds)
    shown = openai.show(job(openai.read_order({"prompt": "Rain."})), now)
    assert (shown["status"], shown["progress"]) == openais
    shown = compatible.show(job(compatible.read_order(GATEWAY)), now)
    assert (shown["status"], shown["progress"]) == gateways


def test_a_completed_video_says_until_when_it_can_be_had() -> None:
    done = job(openai.read_order({"prompt": "Rain."}))
    done.complete(MediaFile(Path("v.mp4"), bytes=3, sha256="aa", md5="bb"), at=NOW + timedelta(seconds=7))
    assert openai.show(done, NOW) == {
        "id": "video_1",
        "object": "video",
        "created_at": SECONDS,
        "completed_at": SECONDS + 7,
        "expires_at": SECONDS + 67,
        "status": "completed",
        "progress": 100,
        "prompt": "Rain.",
        "model": "sora-2",
        "seconds": "4",
        "size": "720x1280",
        "remixed_from_video_id": None,
        "error": None,
    }


def test_a_failed_video_says_why_and_has_nothing_to_be_had() -> None:
    failed = job(compatible.read_order(GATEWAY))
    failed.fail("no light", at=NOW + timedelta(seconds=40))
    assert compatible.show(failed, NOW + timedelta(seconds=90)) == {
        "id": "video_1",
        "object": "video",
        "status": "failed",
        "created_at": SECONDS,
        "progress": 40,
        **GATEWAY,
        "error": {"code": "internal_error", "message": "no light"},
    }
    failed = job(openai.read_order({"prompt": "x"}))
    failed.fail("no light", at=NOW)
    shown = openai.show(failed, NOW)
    assert (shown["completed_at"], shown["expires_at"]) == (None, None)
    assert shown["error"] == {"code": "internal_error", "message": "no light"}
