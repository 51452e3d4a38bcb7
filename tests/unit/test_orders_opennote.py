"""Orders of Opennote: its limits, and the request that its API takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from receiver.orders import Endpoint, Image, Order, mistakes, request

AT = Endpoint("https://api.opennote.com", "key")
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Explain rain."}]}


def found(fields: dict[str, Any]) -> list[str]:
    return [f"{mistake.field}: {mistake.text}" for mistake in mistakes("opennote", Order(fields))]


@pytest.mark.parametrize(
    "fields",
    [
        ASK,
        {"script": "Rain falls.\n-----\nThen it stops."},
        {"script": "x" * 6000, "title": "Rain", "length": 5, "model": "picasso", "upload_to_s3": True},
        {**ASK, "include_sources": True, "search_for": "x" * 100, "source_count": 5},
        {**ASK, "length": 1, "brand_new": {"deep": [1]}},
        {
            "messages": [
                {"role": "system", "content": "For children."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Yes?"},
                {"role": "user", "content": "Explain rain."},
            ]
        },
    ],
)
def test_what_the_provider_documents_is_fine(fields: dict[str, Any]) -> None:
    assert found(fields) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "prompt: give a prompt, messages or a script"),
        ({"messages": []}, "prompt: give a prompt, messages or a script"),
        ({**ASK, "script": "x"}, "script: is spoken as it stands"),
        ({"script": "x" * 6001}, "script: String should have at most 6000 characters"),
        ({"script": " \n-----\n "}, "script: there is nothing in it to be spoken"),
        ({**ASK, "model": "sora-2"}, "model: must be 'picasso'"),
        ({**ASK, "length": 0}, "length: must be greater than or equal to 1"),
        ({**ASK, "length": 6}, "length: must be less than or equal to 5"),
        ({**ASK, "length": "3"}, "length: must be a valid integer"),
        ({**ASK, "include_sources": True, "source_count": 6}, "source_count: must be less than"),
        ({**ASK, "include_sources": True, "search_for": "x" * 101}, "search_for: String should have at most"),
        ({**ASK, "search_for": "rain"}, "search_for: is for videos with sources"),
        ({**ASK, "include_sources": False, "source_count": 2}, "source_count: is for videos with sources"),
        ({**ASK, "upload_to_s3": "yes"}, "upload_to_s3: must be a valid boolean"),
        ({**ASK, "webhook_url": "https://x"}, "webhook_url: is filled in from server.public_url"),
        ({"messages": "hello"}, "messages: must be a valid list"),
        ({"messages": [{"role": "user"}]}, "messages: 0.content is missing"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages: 0.role: must be 'system', 'user' or"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
            "messages: the last one must be a user message",
        ),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]},
            "messages: only the first may be a system message",
        ),
    ],
)
def test_what_the_provider_would_refuse_is_named_by_its_field(fields: dict[str, Any], said: str) -> None:
    assert found(fields)[0].startswith(said)


def test_every_mistake_is_named_at_once() -> None:
    names = [line.partition(":")[0] for line in found({**ASK, "length": 9, "model": "x", "source_count": 0})]

    assert sorted(names) == ["length", "model", "source_count"]


def test_a_picture_is_for_other_providers() -> None:
    (mistake,) = mistakes("opennote", Order(ASK, Image(b"\xff\xd8\xff")))

    assert mistake.field == "input_reference"


def test_the_request_has_the_fields_the_callback_and_the_key() -> None:
    asked = request("opennote", Order(ASK), at=AT, callback="https://hooks.example.com/x", boundary="")

    assert (asked.method, asked.url) == ("POST", "https://api.opennote.com/v1/video/create")
    assert asked.headers == {"Authorization": "Bearer key", "Content-Type": "application/json"}
    assert json.loads(asked.content or b"") == {**ASK, "webhook_url": "https://hooks.example.com/x"}
    assert (
        json.loads(request("opennote", Order(ASK), at=AT, callback=None, boundary="").content or b"") == ASK
    )
