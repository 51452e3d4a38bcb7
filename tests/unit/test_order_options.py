"""From options to an order: what fits which kind, what is read from files, how mistakes are named."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from receiver.cli.orders import FITTING, VideoId, order_of
from receiver.errors import UsageError
from receiver.orders import Order
from receiver.settings import SOURCES

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
GATEWAY: dict[str, Any] = {"prompt": "rain", "model": "m", "size": "1x1", "seconds": "4"}


def complaint(kind: str, **given: Any) -> list[str]:
    with pytest.raises(UsageError) as caught:
        order_of(kind, given)
    return str(caught.value).splitlines()


def file(folder: Path, content: bytes | str, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_kind_of_source_has_its_options() -> None:
    assert FITTING.keys() == SOURCES.keys()


def test_a_prompt_is_a_conversation_of_one_message_for_opennote() -> None:
    order = order_of("opennote", {"prompt": "Explain rain.", "title": "Rain", "length": 2, "model": None})

    assert order == Order(
        {"messages": [{"role": "user", "content": "Explain rain."}], "title": "Rain", "length": 2}
    )


def test_a_script_and_a_conversation_are_read_from_files(tmp_path: Path) -> None:
    script = file(tmp_path, "\ufeffRain falls.\n-----\nIt stöps.\n")
    messages = file(tmp_path, '[{"role": "user", "content": "Hello"}]', "messages")

    assert order_of("opennote", {"script": script}).fields == {"script": "Rain falls.\n-----\nIt stöps."}
    assert order_of("opennote", {"messages": messages}).fields == {
        "messages": [{"role": "user", "content": "Hello"}]
    }


def test_a_script_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Rain falls.")))

    assert order_of("opennote", {"script": Path("-")}).fields == {"script": "Rain falls."}


def test_every_other_field_may_be_given_too() -> None:
    order = order_of("openai", {"prompt": "rain", "fields": ("style=[1]", "deep.er=true")})

    assert order.fields == {"prompt": "rain", "style": [1], "deep": {"er": True}}


def test_a_field_may_stand_for_an_option() -> None:
    assert order_of("openai", {"fields": ('prompt="rain"', 'seconds="4"')}).fields == {
        "prompt": "rain",
        "seconds": "4",
    }


def test_a_remix_is_what_each_kind_takes_it_for() -> None:
    gateway = order_of("openai-compatible", {**GATEWAY, "remix": "video_1"})

    assert order_of("openai", {"prompt": "at night", "remix": "video_1"}) == Order(
        {"prompt": "at night"}, remix_of="video_1"
    )
    assert gateway == Order({**GATEWAY, "remix_video_id": "video_1"})


def test_a_picture_is_a_file_or_named_by_its_url(tmp_path: Path) -> None:
    path = str(file(tmp_path, PNG))
    urls = ("https://example.com/a.png", "data:image/png;base64,QUFB")

    as_file = order_of("openai", {"prompt": "rain", "input_reference": (path,)})
    as_url = order_of("openai", {"prompt": "rain", "input_reference": urls[:1]})
    as_urls = order_of("openai-compatible", {**GATEWAY, "input_reference": urls})

    assert as_file.image is not None
    assert (as_file.image.content, as_file.fields) == (PNG, {"prompt": "rain"})
    assert as_url.fields["input_reference"] == {"image_url": urls[0]}
    assert as_urls.fields["input_reference"] == {
        "content": [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    }


@pytest.mark.parametrize(
    ("kind", "given", "wrong"),
    [
        ("opennote", {"prompt": "x", "size": "1x1", "seed": 1}, "--size, --seed"),
        ("openai", {"prompt": "x", "script": Path("x")}, "--script"),
        ("openai", {"prompt": "x", "seed": 0}, "--seed"),
        ("openai-compatible", {**GATEWAY, "no_callback": True}, "--no-callback"),
        ("openai-compatible", {**GATEWAY, "generate_audio": False, "title": ""}, "--title"),
    ],
)
def test_an_option_of_another_kind_is_told_those_that_fit(
    kind: str, given: dict[str, Any], wrong: str
) -> None:
    (line,) = complaint(kind, **given)

    fitting = ", ".join(f"--{name.replace('_', '-')}" for name in FITTING[kind])
    assert line == f"{wrong}: not for a source of kind {kind}; these are: {fitting}, --field"


@pytest.mark.parametrize(
    ("kind", "given", "lines"),
    [
        ("opennote", {}, ["--prompt: give a prompt, messages or a script"]),
        ("opennote", {"prompt": ""}, ["--prompt: 0.content: String should have at least 1 character"]),
        (
            "opennote",
            {"prompt": "x", "length": 9, "search_for": "y" * 101, "include_sources": True},
            [
                "--length: must be less than or equal to 5",
                "--search-for: String should have at most 100 characters",
            ],
        ),
        (
            "opennote",
            {"prompt": "x", "search_for": "y"},
            ["--search-for: is for videos with sources; include"],
        ),
        ("openai", {}, ["--prompt: is missing"]),
        ("openai", {"prompt": "x", "seconds": "5"}, ["--seconds: must be '4', '8' or '12'"]),
        (
            "openai-compatible",
            {},
            ["--model: is missing", "--prompt: is missing", "--size: is missing", "--seconds: is missing"],
        ),
        ("openai-compatible", {**GATEWAY, "remix": ""}, ["--remix: String should have at least 1 character"]),
        (
            "openai-compatible",
            {**GATEWAY, "fields": ('aspect_ratio="16:9"', "duration_seconds=4", "content=[]")},
            [
                "--field aspect_ratio: is refused; say it by size, as in 1280x720",
                '--field duration_seconds: is refused; it is called seconds, and is text: "4"',
                "--field content: is refused at the top",
            ],
        ),
        (
            "openai-compatible",
            {**GATEWAY, "fields": ('input_reference.file_id="f"',)},
            ["--input-reference: file_id is refused; give the file itself"],
        ),
        (
            "openai",
            {"prompt": "x", "fields": ("style=noir",)},
            ["--field: style: the value is JSON; text stan"],
        ),
        (
            "openai",
            {"prompt": "x", "fields": ('prompt="y"',)},
            ["--field prompt: it has an option, too; give"],
        ),
        (
            "openai",
            {"prompt": "x", "input_reference": ("https://a", "https://b")},
            ["--input-reference: OpenAI"],
        ),
        (
            "openai",
            {"prompt": "x", "input_reference": ("a", "b")},
            ["--input-reference: give one file, or URLs"],
        ),
        (
            "openai",
            {"prompt": "x", "input_reference": ("a", "https://b")},
            ["--input-reference: give one file"],
        ),
        (
            "openai",
            {"prompt": "x", "input_reference": ("/no/such",)},
            ["--input-reference: /no/such: No such fi"],
        ),
    ],
)
def test_a_mistake_is_named_by_what_was_typed(kind: str, given: dict[str, Any], lines: list[str]) -> None:
    found = complaint(kind, **given)

    assert len(found) == len(lines)
    for line, beginning in zip(found, lines, strict=True):
        assert line.startswith(beginning)


def test_one_thing_is_what_a_video_is_made_of(tmp_path: Path) -> None:
    script = file(tmp_path, "x")

    assert complaint("opennote", prompt="x", script=script) == ["--prompt and --script: give one of them"]


@pytest.mark.parametrize(
    ("option", "content", "said"),
    [
        ("script", b"\xff\xfe", "is not UTF-8 text"),
        ("messages", b"\xff\xfe", "is not UTF-8 text"),
        ("messages", b"[{", "is no JSON: "),
        ("messages", b'{"role": "user"}', "must be a valid list"),
    ],
)
def test_a_file_that_is_none_of_what_is_wanted_is_named(
    tmp_path: Path, option: str, content: bytes, said: str
) -> None:
    (line,) = complaint("opennote", **{option: file(tmp_path, content)})

    assert line.startswith(f"--{option}: ")
    assert said in line


def test_a_file_beyond_all_bounds_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as huge:
        huge.truncate(2**40)

    (line,) = complaint("openai", prompt="x", input_reference=(str(path),))

    assert line == f"--input-reference: {path} is larger than 64 MiB"


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a\\b", "a b", "a\n", "x" * 257])
def test_what_is_no_id_never_becomes_part_of_a_url(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no id of a video"):
        VideoId().convert(text, None, None)


@pytest.mark.parametrize("text", ["video_1", "cea5d08e-f4f5-4b4d", "x" * 256, "ü%2F?"])
def test_an_id_is_taken_as_it_is(text: str) -> None:
    assert VideoId().convert(text, None, None) == text
