"""From options to an order: which option is for which kind of source, files, mistakes named by option."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from receiver.cli.options import Text
from receiver.errors import UsageError

if TYPE_CHECKING:
    from receiver.model import Payload
    from receiver.orders import Mistake, Order
    from receiver.settings import Settings, SourceSettings

Command = TypeVar("Command", bound=Callable[..., Any])
_LARGEST_FILE = 64 * 2**20
_LONGEST_ID = 256
_ANY = ("fields", "again", "wait")
_OPENNOTE = (
    *("prompt", "messages", "script", "title", "length", "model"),
    *("include_sources", "search_for", "source_count", "upload_to_s3", "no_callback"),
)
_OPENAI = ("prompt", "model", "size", "seconds", "input_reference", "remix", "no_callback")
_GATEWAY = (
    *("prompt", "model", "size", "seconds", "input_reference", "remix", "negative_prompt", "seed"),
    *("generate_audio", "enhance_prompt", "person_generation"),
)
FITTING = {"opennote": _OPENNOTE, "openai": _OPENAI, "openai-compatible": _GATEWAY}
"""The options of each kind of source."""
_NO_FIELDS = {"no_callback", "again", "wait", "fields", "input_reference", "remix", "messages", "script"}


class VideoId(click.ParamType[str]):
    """An id as a provider gives it: it becomes a part of a URL's path."""

    name = "id"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take it as it is, or fail."""
        text = str(value)
        is_one = 0 < len(text) <= _LONGEST_ID and text.isprintable() and text not in (".", "..")
        if not is_one or any(character in text for character in " /\\"):
            self.fail("it is no id of a video", param, ctx)
        return text


_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_OPTIONS = (
    click.option("--prompt", type=Text(), help="What the video shows."),
    click.option(
        "--messages", type=_FILE, help="Opennote: a conversation, JSON [{role, content}]; - reads it."
    ),
    click.option(
        "--script", type=_FILE, help="Opennote: what is spoken, word by word; ----- parts sections."
    ),
    click.option("--title", type=Text(), help="Opennote: its title."),
    click.option("--length", type=int, help="Opennote: paragraphs of its script, 1 to 5."),
    click.option("--include-sources", is_flag=True, default=None, help="Opennote: search the web for it."),
    click.option("--search-for", type=Text(), help="Opennote: for what, at most 100 characters."),
    click.option("--source-count", type=int, help="Opennote: how many sources, 1 to 5."),
    click.option(
        "--upload-to-s3", is_flag=True, default=None, help="Opennote: give a link, not the video inline."
    ),
    click.option("--model", type=Text(), help="Which model makes it."),
    click.option("--size", type=Text(), metavar="WxH", help="OpenAI, gateways: such as 1280x720."),
    click.option("--seconds", type=Text(), metavar="N", help="OpenAI, gateways: how long it is."),
    click.option(
        "--input-reference",
        type=Text(),
        multiple=True,
        metavar="FILE|URL",
        help="OpenAI, gateways: a picture that guides it (jpeg, png, webp); URLs may be several.",
    ),
    click.option("--remix", type=VideoId(), metavar="ID", help="OpenAI, gateways: make that video anew."),
    click.option("--generate-audio/--no-generate-audio", default=None, help="Gateways: with sound."),
    click.option("--enhance-prompt/--no-enhance-prompt", default=None, help="Gateways: let it be rewritten."),
    click.option("--negative-prompt", type=Text(), help="Gateways: what it does not show."),
    click.option("--person-generation", type=Text(), help="Gateways: which persons may be shown."),
    click.option("--seed", type=int, help="Gateways: the luck that decides."),
    click.option(
        "--field",
        "fields",
        type=Text(),
        multiple=True,
        metavar="NAME=JSON",
        help="Any other field of the request; a.b=1 leads into an object. Repeatable.",
    ),
    click.option(
        "--no-callback",
        is_flag=True,
        default=None,
        help="Opennote, OpenAI: wait for no callback, ask how it stands instead.",
    ),
)


def order_options(command: Command) -> Command:
    """Add everything that an order may be made of."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def table_of(config: Settings, source: str) -> SourceSettings:
    """The table of a configured source. Raise UsageError."""
    table = config.sources.get(source)
    if table is None:
        known = ", ".join(sorted(config.sources)) or "none"
        raise UsageError(f"no source {source!r} is configured; configured: {known}")
    return table


def order_of(kind: str, given: Mapping[str, Any]) -> Order:
    """Make an order of options (those that were not given are None or empty).

    Raise UsageError, one line for each thing that the provider would refuse.
    """
    from receiver import orders

    given = {name: value for name, value in given.items() if value is not None and value != ()}
    _refuse_what_does_not_fit(kind, given)
    fields: Payload = {name: value for name, value in given.items() if name not in _NO_FIELDS}
    if kind == "opennote":
        fields = _with_content(given, fields)
    if kind == "openai-compatible" and "remix" in given:
        fields["remix_video_id"] = given["remix"]
    image, reference = _references(kind, given.get("input_reference", ()))
    if reference is not None:
        fields["input_reference"] = reference
    order = orders.Order(
        _with_others(fields, given.get("fields", ()), image is not None),
        None if image is None else orders.Image(image),
        given.get("remix") if kind == "openai" else None,
    )
    if mistakes := orders.mistakes(kind, order):
        raise UsageError("\n".join(_line(mistake, given) for mistake in mistakes))
    return order


def _refuse_what_does_not_fit(kind: str, given: Mapping[str, Any]) -> None:
    others = [name for name in given if name not in (*FITTING[kind], *_ANY)]
    if others:
        wrong, right = (", ".join(map(_option, names)) for names in (others, FITTING[kind]))
        raise UsageError(f"{wrong}: not for a source of kind {kind}; these are: {right}, --field")


def _with_content(given: Mapping[str, Any], fields: Payload) -> Payload:
    """What Opennote makes a video of; a prompt is a conversation of one message."""
    import orjson

    named = [name for name in ("prompt", "messages", "script") if name in given]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(map(_option, named))}: give one of them")
    fields = {name: value for name, value in fields.items() if name != "prompt"}
    if "prompt" in given:
        return {"messages": [{"role": "user", "content": given["prompt"]}], **fields}
    if "script" in given:
        return {"script": _read_text("script", given["script"]).strip(), **fields}
    if "messages" in given:
        try:
            return {"messages": orjson.loads(_read_text("messages", given["messages"])), **fields}
        except orjson.JSONDecodeError as error:
            raise UsageError(f"--messages: {given['messages']} is no JSON: {error}") from error
    return fields


def _references(kind: str, named: Sequence[str]) -> tuple[bytes | None, Payload | None]:
    """The picture that goes along as a file, or the field that names URLs."""
    urls = [name for name in named if name.startswith(("https://", "http://", "data:"))]
    files = [name for name in named if name not in urls]
    if len(files) > 1 or (files and urls):
        raise UsageError("--input-reference: give one file, or URLs")
    if files:
        return _read_bytes("input_reference", Path(files[0])), None
    if not urls:
        return None, None
    if kind == "openai":
        if len(urls) > 1:
            raise UsageError("--input-reference: OpenAI takes one")
        return None, {"image_url": urls[0]}
    return None, {"content": [{"type": "image_url", "image_url": {"url": url}} for url in urls]}


def _with_others(fields: Payload, texts: Sequence[str], has_image: bool) -> Payload:
    """Add what was given by --field."""
    from receiver.orders.fields import parse

    try:
        others = parse(texts)
    except ValueError as error:
        raise UsageError(f"--field: {error}") from error
    twice = others.keys() & (fields.keys() | ({"input_reference"} if has_image else set()))
    if twice:
        raise UsageError("\n".join(f"--field {name}: it has an option, too; give one" for name in twice))
    return {**fields, **others}


def _line(mistake: Mistake, given: Mapping[str, Any]) -> str:
    """A mistake, named by what was typed."""
    name = mistake.field
    if name == "messages" and "prompt" in given:
        name = "prompt"
    if name == "remix_video_id":
        name = "remix"
    typed = _option(name) if name in given or name in _known() else f"--field {mistake.field}"
    return f"{typed}: {mistake.text}"


def _known() -> set[str]:
    return {name for names in FITTING.values() for name in names}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _read_text(option: str, path: Path) -> str:
    try:
        return _read_bytes(option, path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{_option(option)}: {path} is not UTF-8 text") from error


def _read_bytes(option: str, path: Path) -> bytes:
    try:
        with click.open_file(str(path), "rb") as file:
            content: bytes = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise UsageError(f"{_option(option)}: {path}: {error.strerror}") from error
    if len(content) > _LARGEST_FILE:
        raise UsageError(f"{_option(option)}: {path} is larger than 64 MiB")
    return content
