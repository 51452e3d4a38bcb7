"""`receiver send`: a sample callback with the configured credentials, posted to the local receiver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from receiver.cli.options import Common, Rate, Text, common
from receiver.cli.output import json_line, plain, table
from receiver.errors import CommandFailed, UsageError

if TYPE_CHECKING:
    import httpx

    from receiver.cli.catalogue import Call  # not above: its sources would make --help wait
    from receiver.settings import Settings, SourceSettings

_TIMEOUT_SECONDS = 120.0
_LONGEST_ID = 256
_COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class _Content:
    """What the callbacks are made of."""

    name: str | None
    """The type, when it was said."""
    video: Path | None
    inline: bool
    url: str | None
    payload: Path | None

    @property
    def type(self) -> str:
        """The name in the catalogue."""
        return (self.name or _COMPLETED).removeprefix("video.").replace("pending", "progress")

    @property
    def is_carried(self) -> bool:
        """Whether a video was named that is to be carried."""
        return bool(self.video or self.inline or self.url)


@dataclass(frozen=True, slots=True)
class _Order:
    """What is sent, and how often."""

    target: str
    calls: Callable[[str, datetime], Sequence[Call]]
    """Of a video's id and a time: one callback, or several that belong together."""
    video_id: str | None
    repeat: int
    rate: float | None


@click.command
@click.argument("source", type=Text(), required=False)
@click.option(
    "--type",
    "name",
    type=Text(),
    help="An event type, or an oddity that senders are known for; --list names them.  [default: completed]",
)
@click.option("--list", "is_list", is_flag=True, help="List what can be sent, of every kind of source.")
@click.option(
    "--payload",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Send this file (-: standard input) as the body, byte for byte.",
)
@click.option(
    "--video",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Carry this file inline.",
)
@click.option("--inline", is_flag=True, help="Carry a video inline (the default without --url).")
@click.option("--url", type=Text(), help="Carry this link to the video.")
@click.option(
    "--id", "video_id", type=Text(), help="The video's id.  [default: a fresh one for each callback]"
)
@click.option(
    "--repeat", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="Send so many."
)
@click.option("--rate", type=Rate(), metavar="N/s", help="At most so many a second (or /m, /h).")
@click.option(
    "--to",
    type=Text(),
    metavar="URL",
    help="The receiver's base URL.  [default: server.host and server.port]",
)
@common
def send(
    options: Common,
    *,
    source: str | None,
    name: str | None,
    is_list: bool,
    payload: Path | None,
    video: Path | None,
    inline: bool,
    url: str | None,
    video_id: str | None,
    repeat: int,
    rate: float | None,
    to: str | None,
) -> None:
    """Post a sample callback of SOURCE with the configured credentials.

    One of OpenAI is thin: the receiver looks its video up before any handler runs.
    With --id, --repeat sends that video's callback again and again; without, each has its own id.
    """
    if is_list:
        _list(as_json=options.as_json)
        return
    if source is None:
        raise UsageError("which source? Its name is that of its table: [sources.NAME]")
    config = options.settings()
    settings = config.sources.get(source)
    if settings is None:
        known = ", ".join(sorted(config.sources)) or "none"
        raise UsageError(f"no source {source!r} is configured; configured: {known}")
    target = f"{_base(config, to)}/webhooks/{source}"
    with _as_file(payload) as body, _as_file(video) as carried:
        content = _Content(name, carried, inline, url, body)
        _check(source, settings, content, video_id)
        order = _Order(target, _making(settings, content), video_id, repeat, rate)
        refused, sent = asyncio.run(_send_all(order, as_json=options.as_json))
    if refused:
        raise CommandFailed(f"{refused} of {sent} were not {_wished(content)}")


@contextmanager
def _as_file(path: Path | None) -> Iterator[Path | None]:
    """A file whose size is known and that can be read again; what comes through a pipe becomes one."""
    if path is None or path.is_file():
        yield path
        return
    import shutil
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        with click.open_file(str(path), "rb") as pipe:  # standard input, where it is "-"
            shutil.copyfileobj(pipe, file)
        file.flush()
        yield Path(file.name)


def _list(*, as_json: bool) -> None:
    """What can be sent, by kind."""
    from receiver.cli.catalogue import CATALOGUE

    lines = [(kind, name, entry.says) for kind, names in CATALOGUE.items() for name, entry in names.items()]
    if as_json:
        for kind, name, says in lines:
            json_line({"kind": kind, "type": name, "says": says})
        return
    table(("kind", "type", "is"), lines, empty="nothing")


def _check(source: str, settings: SourceSettings, content: _Content, video_id: str | None) -> None:
    """Refuse what this kind of source does not send. Raise UsageError."""
    from receiver.cli.catalogue import CATALOGUE

    if settings.kind not in CATALOGUE:
        mend = f"it is asked instead: receiver watch {source} VIDEO_ID"
        raise UsageError(f"{source} is a gateway that never calls, so there is no callback to send; {mend}")
    if content.payload is not None and (content.is_carried or content.name):
        raise UsageError("--payload is the whole body: leave --type, --video, --inline and --url out")
    if settings.kind == "openai" and content.is_carried:
        raise UsageError(f"the callbacks of {source} carry no video: leave --video, --inline and --url out")
    names = CATALOGUE[settings.kind]
    if content.type not in names:
        raise UsageError(f"--type: must be one of {', '.join(names)}")
    if content.is_carried and not names[content.type].carries:
        raise UsageError(f"--type {content.name} carries none: leave --video, --inline and --url out")
    if video_id is not None and not _is_sendable(video_id):
        raise UsageError(f"--id: must be 1 to {_LONGEST_ID} plain characters, as it travels in a header")


def _is_sendable(video_id: str) -> bool:
    is_plain = video_id.isascii() and video_id.isprintable() and video_id == video_id.strip()
    return is_plain and 0 < len(video_id) <= _LONGEST_ID


def _making(settings: SourceSettings, content: _Content) -> Callable[[str, datetime], Sequence[Call]]:
    from receiver.cli import sample
    from receiver.cli.catalogue import CATALOGUE, Wish, own

    has_video = content.inline or not content.url
    carried = content.video or (sample.packaged_video() if has_video else None)

    def calls(video_id: str, at: datetime) -> Sequence[Call]:
        wish = Wish(video_id, at, carried, content.url)
        if content.payload is not None:
            return [own(settings.kind, settings, wish, content.payload)]
        return CATALOGUE[settings.kind][content.type].calls(settings, wish)

    return calls


def _wished(content: _Content) -> str:
    """What a receiver should do with it, in a word."""
    from receiver.cli.catalogue import REFUSED

    return "refused" if content.payload is None and content.type in REFUSED else "accepted"


def _base(config: Settings, to: str | None) -> str:
    """Where to: credentials go to loopback, or by https."""
    from receiver.settings import is_loopback

    host = config.server.host
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what it listens on, not we
    own = f"http://{f'[{host}]' if ':' in host else host}:{config.server.port}"
    try:
        parts = urlsplit(to or own)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"--to: not a URL: {error}") from error
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise UsageError("--to: credentials are sent to an https URL or to loopback only")
    return (to or own).rstrip("/")


async def _send_all(order: _Order, *, as_json: bool) -> tuple[int, int]:
    """Send one after the other; return how many were not answered as they should be, of how many."""
    import httpx

    from receiver.tempo import Tempo

    refused = sent = 0
    started = time.time_ns()
    tempo = Tempo(order.rate)
    async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS) as client:
        for number in range(order.repeat):
            await tempo.wait()
            chosen = order.video_id or f"sample-{started:x}-{number}"
            for call in order.calls(chosen, datetime.now(UTC)):
                answer = await _post(client, order.target, call)
                sent += 1
                refused += answer.status_code != call.expected
                if as_json:
                    json_line({"video_id": chosen, "status": answer.status_code, "answer": _said(answer)})
                else:
                    click.echo(f"{answer.status_code} {plain(answer.text)}  (video {chosen})")
    return refused, sent


async def _post(client: httpx.AsyncClient, target: str, call: Call) -> httpx.Response:
    import httpx

    async def pieces() -> AsyncIterator[bytes]:
        for piece in call:
            yield piece

    headers = {**call.headers, "Content-Length": str(call.length)}
    try:
        return await client.post(target, content=pieces(), headers=headers)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise CommandFailed(f"{target} can't be reached: {reason}; is `receiver serve` running?") from error


def _said(answer: httpx.Response) -> Any:
    """What was answered, as JSON; as text where somebody else answers."""
    try:
        return answer.json()
    except ValueError:
        return answer.text
