"""`receiver send`: a sample callback with the configured credentials, posted to the local receiver."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import click

from receiver.cli import sample
from receiver.cli.options import Common, Text, common
from receiver.cli.output import json_line
from receiver.errors import CommandFailed, UsageError

if TYPE_CHECKING:
    import httpx

    from receiver.settings import OpenaiSettings, OpennoteSettings, Settings, SourceSettings

_TIMEOUT_SECONDS = 120.0
_OK = range(200, 300)


class _Parcel(Protocol):
    """What is sent, but for the id."""

    @property
    def target(self) -> str:
        """Where to."""
        ...

    async def post(self, client: httpx.AsyncClient, video_id: str) -> httpx.Response:
        """Send it for a video."""
        ...


@dataclass(frozen=True, slots=True)
class _StatusObject:
    """A callback of Opennote."""

    kind: str
    video: Path | None
    url: str | None
    source: OpennoteSettings
    target: str

    async def post(self, client: httpx.AsyncClient, video_id: str) -> httpx.Response:
        from receiver.sources.opennote import callback_headers

        now = datetime.now(UTC).isoformat()
        body = sample.opennote(self.kind, video_id=video_id, video=self.video, url=self.url, timestamp=now)
        key = self.source.api_keys[0].get_secret_value()
        headers = callback_headers(self.source.organization_id, key, video_id=video_id)
        headers["Content-Length"] = str(body.length)

        async def pieces() -> AsyncIterator[bytes]:
            for piece in body:
                yield piece

        return await client.post(self.target, content=pieces(), headers=headers)


@dataclass(frozen=True, slots=True)
class _ThinEvent:
    """A callback of OpenAI; the same video's has the same id of the message, as when it is sent again."""

    kind: str
    source: OpenaiSettings
    target: str

    async def post(self, client: httpx.AsyncClient, video_id: str) -> httpx.Response:
        from receiver.signing import Signer

        now = datetime.now(UTC)
        body = sample.openai(self.kind, video_id=video_id, at=int(now.timestamp()))
        message = hashlib.sha256(f"{video_id} {self.kind}".encode()).hexdigest()[:24]
        signer = Signer([self.source.webhook_secrets[0].get_secret_value()])
        headers = signer.headers(f"wh_{message}", at=now, body=body)
        return await client.post(
            self.target, content=body, headers={"Content-Type": "application/json", **headers}
        )


@click.command
@click.argument("source", type=Text())
@click.option(
    "--type",
    "kind",
    type=Text(),
    default="completed",
    show_default=True,
    help=f"One of {', '.join(sample.KINDS)}.",
)
@click.option(
    "--video", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Carry this file inline."
)
@click.option("--inline", is_flag=True, help="Carry a video inline (the default without --url).")
@click.option("--url", type=Text(), help="Carry this link to the video.")
@click.option(
    "--id", "video_id", type=Text(), help="The video's id.  [default: a fresh one for each callback]"
)
@click.option(
    "--repeat", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="Send so many."
)
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
    source: str,
    kind: str,
    video: Path | None,
    inline: bool,
    url: str | None,
    video_id: str | None,
    repeat: int,
    to: str | None,
) -> None:
    """Post a sample callback of SOURCE with the configured credentials.

    One of OpenAI is thin: the receiver looks its video up before any handler runs.
    With --id, --repeat sends that video's callback again and again; without, each has its own id.
    """
    config = options.settings()
    table = config.sources.get(source)
    if table is None:
        known = ", ".join(sorted(config.sources)) or "none"
        raise UsageError(f"no source {source!r} is configured; configured: {known}")
    target = f"{_base(config, to)}/webhooks/{source}"
    told = kind.removeprefix("video.").replace("pending", "progress")
    carried = video or (sample.packaged_video() if inline else None)
    parcel = _parcel(source, table, told, carried, url, target)
    refused = asyncio.run(_send_all(parcel, video_id, repeat, as_json=options.as_json))
    if refused:
        raise CommandFailed(f"{refused} of {repeat} were not accepted")


def _parcel(
    name: str, table: SourceSettings, kind: str, video: Path | None, url: str | None, target: str
) -> _Parcel:
    if table.kind == "openai-compatible":
        mend = f"it is asked instead: receiver watch {name} VIDEO_ID"
        raise UsageError(f"{name} is a gateway that never calls, so there is no callback to send; {mend}")
    kinds = sample.THIN_KINDS if table.kind == "openai" else sample.KINDS
    if kind not in kinds:
        raise UsageError(f"--type: must be one of {', '.join(kinds)}")
    if table.kind == "openai":
        if video or url:
            raise UsageError(f"the callbacks of {name} carry no video: leave --video, --inline and --url out")
        return _ThinEvent(kind, table, target)
    if kind != "completed":
        return _StatusObject(kind, None, None, table, target)
    carried = video or (None if url else sample.packaged_video())
    return _StatusObject(kind, carried, url, table, target)


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


async def _send_all(parcel: _Parcel, video_id: str | None, repeat: int, *, as_json: bool) -> int:
    """Send one after the other; return how many were not accepted."""
    import httpx

    refused = 0
    started = time.time_ns()
    async with httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS) as client:
        for number in range(repeat):
            chosen = video_id or f"sample-{started:x}-{number}"
            try:
                answer = await parcel.post(client, chosen)
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
                raise CommandFailed(
                    f"{parcel.target} can't be reached: {reason}; is `receiver serve` running?"
                ) from error
            refused += answer.status_code not in _OK
            if as_json:
                json_line({"video_id": chosen, "status": answer.status_code, "answer": answer.json()})
            else:
                click.echo(f"{answer.status_code} {answer.text}  (video {chosen})")
    return refused
