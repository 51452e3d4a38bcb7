"""Forms with files, as other people's clients write them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from receiver.sandbox.forms import FormText, Upload, parts, read_fields
from receiver.sandbox.refusals import Refusal

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def received(body: bytes, content_type: str) -> Request:
    """A request whose body comes in two pieces."""
    half = len(body) // 2
    messages = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def sent(**fields: Any) -> Request:
    """What httpx makes of it."""
    request = httpx.Request("POST", "http://127.0.0.1/", **fields)
    return received(request.read(), request.headers["content-type"])


def read(request: Request) -> dict[str, object]:
    return asyncio.run(read_fields(request))


@given(prompt=TEXT, content=st.binary(), name=st.from_regex(r"\A\w[\w .-]{0,20}\w\Z"))
def test_a_form_comes_out_as_it_went_in(prompt: str, content: bytes, name: str) -> None:
    form = sent(data={"prompt": prompt}, files={"input_reference": (name, content, "image/png")})
    assert read(form) == {"prompt": prompt, "input_reference": Upload(name, "image/png", content)}


@given(fields=st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT))
def test_json_comes_out_as_it_went_in(fields: dict[str, object]) -> None:
    assert read(sent(json=fields)) == fields


def test_text_of_a_form_is_told_from_text_of_json() -> None:
    form = sent(data={"seed": "5"}, files={"input_reference": ("a.png", b"", "image/png")})
    assert isinstance(read(form)["seed"], FormText)
    assert not isinstance(read(sent(json={"seed": "5"}))["seed"], FormText)


def test_a_name_in_brackets_is_a_field_of_an_object() -> None:
    form = sent(
        files={"prompt": (None, "x"), "input_reference[image_url]": (None, "https://example.com/a.png")}
    )
    assert read(form) == {"prompt": "x", "input_reference": {"image_url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"{", "application/json", "could not parse the JSON"),
        (b"\xff", "application/json", "could not parse the JSON"),
        (b"[]", "application/json", "no JSON object"),
        (b'{"prompt": "\\ud800"}', "application/json", "could not parse the JSON"),
        (b"[" * 100_000, "application/json", "could not parse the JSON"),
        (b"prompt=x", "application/x-www-form-urlencoded", "could not parse the JSON"),
        (b"", "", "could not parse the JSON"),
        (b"x", "multipart/form-data", "no boundary"),
        (b"", "multipart/form-data; boundary=b", "not complete"),
        (b"--b\r\n", "multipart/form-data; boundary=b", "not complete"),
        (
            b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n--',
            "multipart/form-data; boundary=b",
            "not complete",
        ),
        (b"stray--b--", "multipart/form-data; boundary=b", "not complete"),
        (b"--b\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b", "has no name"),
        (
            b'--b\r\nContent-Disposition: form-data; name="p"\r\n--b--',
            "multipart/form-data; boundary=b",
            "name",
        ),
    ],
)
def test_what_can_not_be_read_is_refused(body: bytes, content_type: str, said: str) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        read(received(body, content_type))
    assert refused.value.status == 400


HEAD = st.one_of(
    st.binary(), st.from_regex(rb"Content-Disposition: form-data; (file)?name\*?\d?\*?=[\"'%\w;=\xff-]*")
)


@given(head=HEAD, value=st.binary(), end=st.sampled_from([b"\r\n--b--", b"\r\n--b", b""]))
def test_no_bytes_are_more_than_a_form_or_a_refusal(head: bytes, value: bytes, end: bytes) -> None:
    with suppress(Refusal):
        parts(b"--b\r\n" + head + b"\r\n\r\n" + value + end, "b")


def test_a_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(Refusal, match="larger") as refused:
        read(received(b"x" * ((32 << 20) + 1), "application/json"))
    assert refused.value.status == 413


def test_a_form_without_parts_has_no_fields() -> None:
    assert parts(b"--b--\r\n", "b") == {}
