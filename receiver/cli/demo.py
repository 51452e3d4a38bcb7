"""`receiver demo`: a sandbox, a receiver and a few videos, and what happens to them as it happens."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from receiver.cli.options import Common, common
from receiver.cli.output import bytes_in_words
from receiver.cli.setup import fresh_credentials, write_configuration
from receiver.cli.template import Credentials, configuration
from receiver.cli.wishes import wishes
from receiver.errors import CommandFailed

_PATIENCE_SECONDS = 60.0
_STOP_SECONDS = 25.0


@click.command
@click.option("--once", is_flag=True, help="End when all videos have arrived; status 0 only if they did.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default="receiver-demo",
    show_default=True,
    help="Where configuration, data and videos go.",
)
@common
def demo(options: Common, *, once: bool, directory: Path) -> None:
    """See it all work on this machine: from nothing to videos on disk.

    Starts stand-ins for three video APIs and a receiver, asks each for a video or two, and shows which
    news came, which handler ran, and which file was written. Then it keeps serving.
    """
    stage = _Stage(directory, as_json=options.as_json)
    asyncio.run(stage.play(once=once))


@dataclass
class _Stage:
    """Everything that runs during a demo."""

    directory: Path
    as_json: bool
    began: float = field(default_factory=time.monotonic)
    url: str = ""
    saved: dict[str, Path] = field(default_factory=dict)
    """Finished files by video id."""
    probed: set[str] = field(default_factory=set)
    """Ids of videos that were measured, or can't be on this machine."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    dead: list[str] = field(default_factory=list)

    def tell(self, event: str, text: str, **fields: Any) -> None:
        """One line about what happened, `seconds` after the start."""
        seconds = time.monotonic() - self.began
        if self.as_json:
            click.echo(json.dumps({"event": event, "seconds": round(seconds, 2), **fields}))
        else:
            click.echo(f"{seconds:6.2f}s  {text}")

    async def play(self, *, once: bool) -> None:
        """From the first line to the last. Raise CommandFailed when a video did not arrive."""
        from receiver.sandbox.options import Options
        from receiver.sandbox.server import serving

        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        credentials = fresh_credentials()
        api = Options(port=0, organization_id=credentials.organization_id, api_keys=(credentials.api_key,))
        async with serving(api, tell=self._sandbox_told) as sandbox_url:
            config = self._configure(configuration(credentials, sandbox_url=sandbox_url))
            self.tell(
                "sandbox.started", f"stand-ins for three video APIs listen at {sandbox_url}", url=sandbox_url
            )
            receiver = await self._start(config)
            reading = asyncio.create_task(self._read(receiver))
            acting = asyncio.create_task(self._act(sandbox_url, credentials, config))
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait([acting, stopping], return_when=asyncio.FIRST_COMPLETED)
                if acting.done():
                    await acting
                    if not once:
                        self._invite(config)
                        ended = asyncio.create_task(receiver.wait())
                        await asyncio.wait([stopping, ended], return_when=asyncio.FIRST_COMPLETED)
                        ended.cancel()
            finally:
                for task in (acting, stopping):
                    task.cancel()
                await _end(receiver)
                reading.cancel()
        if once and stop.is_set():
            raise CommandFailed("interrupted before all videos had arrived")

    def _configure(self, text: str) -> Path:
        """Write a configuration of this run's own; videos and events of former runs stay."""
        path = self.directory / "receiver.toml"
        path.unlink(missing_ok=True)
        return write_configuration(self.directory, text)

    async def _start(self, config: Path) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "receiver", "--config", str(config)),
            *("serve", "--port", "0", "--with-parent", "--json"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=2**20,
        )

    async def _read(self, receiver: asyncio.subprocess.Process) -> None:
        """Turn the receiver's log lines into the story; what is none of its lines is shown as it is."""
        assert receiver.stdout is not None  # noqa: S101 - it was opened with a pipe
        async for line in receiver.stdout:
            try:
                fields = json.loads(line)
            except ValueError:
                click.echo(line.decode("utf-8", "replace").rstrip(), err=True)
                continue
            self._log_said(fields.get("event", ""), fields)
        self.dead.append("the receiver has ended")
        self.news.set()

    def _log_said(self, event: str, fields: dict[str, Any]) -> None:
        if "url" in fields and not event:
            self.url = fields["url"]
            self.tell("server.started", f"the receiver is ready at {self.url}", url=self.url)
        elif event == "event.recorded":
            size = bytes_in_words(fields["bytes"])
            text = f"news: {fields['type']} of video {fields['video']}, {size}, recorded"
            self.tell(event, text, video=fields["video"], type=fields["type"])
        elif event == "job.started":
            self.tell(
                event, f"handler {fields['handler']} runs on video {fields['video']}", video=fields["video"]
            )
        elif event == "video.saved":
            path = Path(fields["path"])
            self.tell(
                event,
                f"file: {path} ({bytes_in_words(fields['bytes'])})",
                path=str(path),
                sha256=fields["sha256"],
            )
            self.saved[fields["video"]] = path
        elif event == "video.probed":
            self.tell(
                event, f"{_measures(fields)}; thumbnail: {fields['thumbnail'] or 'none'}", **_shown(fields)
            )
            self.probed.add(fields["video"])
        elif event == "job.cancelled":
            self.tell(event, f"handler {fields['handler']}: {fields['reason']}", reason=fields["reason"])
            if fields["handler"] == "probe":
                self.probed.add(fields["video"])
        elif event in ("job.failed", "job.retried"):
            self.tell(
                event,
                f"handler {fields['handler']}: {event[4:]}: {fields['reason']}",
                reason=fields["reason"],
            )
            if event == "job.failed":
                self.dead.append(fields["reason"])
        elif fields.get("level") in ("warning", "error"):
            self.tell(event, " ".join(f"{key}={value}" for key, value in fields.items()))
        self.news.set()

    def _sandbox_told(self, name: str, fields: Any) -> None:
        if name == "job.completed":
            self.tell("sandbox.completed", f"video {fields.get('video_id')} has been made")

    async def _act(self, sandbox_url: str, credentials: Credentials, config: Path) -> None:
        """Ask for the videos, wait for the files, compare them with what was made."""
        import httpx

        await self._until(lambda: bool(self.url), "the receiver did not start")
        async with httpx.AsyncClient(trust_env=False, base_url=sandbox_url, timeout=30) as client:
            wanted: set[str] = set()
            key, secret = credentials.api_key, credentials.webhook_secret
            asked = wishes(client, url=self.url, api_key=key, webhook_secret=secret, config=config)
            async for wish in asked:
                wanted.add(wish.video_id)
                text = f'asked {wish.source} for "{wish.title}" ({wish.form}): video {wish.video_id}'
                self.tell("video.asked", text, video=wish.video_id, source=wish.source)
            await self._until(lambda: wanted <= self.saved.keys(), "not all videos arrived in time")
            await self._until(lambda: wanted <= self.probed, "not all videos were measured in time")
            for video_id in wanted:
                await self._compare(client, video_id)
        self.tell(
            "demo.done", f"all {len(wanted)} videos are in {self.saved[video_id].parent}", videos=len(wanted)
        )

    async def _compare(self, client: Any, video_id: str) -> None:
        made = await client.get(f"/_sandbox/videos/{video_id}")
        path = self.saved[video_id]
        if hashlib.sha256(made.content).digest() != hashlib.sha256(path.read_bytes()).digest():
            raise CommandFailed(f"{path} is not the file that was made")
        self.tell("video.compared", f"same SHA-256 as the file that was made: {path.name}", path=str(path))

    async def _until(self, condition: Any, failure: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            left = deadline - time.monotonic()
            if self.dead or left <= 0:
                raise CommandFailed(f"{failure}: {self.dead[0]}" if self.dead else failure)
            self.news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, 1.0)):
                    await self.news.wait()

    def _invite(self, config: Path) -> None:
        if self.as_json:
            return
        option = f"--config {config}"
        click.echo("\nIt keeps serving (Ctrl-C ends it). Try in another terminal:")
        click.echo(f"  receiver events {option}")
        click.echo(f"  receiver show {option} EVENT")
        click.echo(f"  receiver send opennote {option} --to {self.url}")


_MEASURED = ("duration_seconds", "width", "height", "video_codec", "audio_codec", "bit_rate", "thumbnail")


def _shown(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: fields[key] for key in ("video", "path", *_MEASURED)}


def _measures(fields: dict[str, Any]) -> str:
    codecs = " and ".join(filter(None, (fields["video_codec"], fields["audio_codec"])))
    seconds = fields["duration_seconds"]
    length = "unknown length" if seconds is None else f"{seconds:.1f} s"
    return f"measured: {length}, {fields['width']} × {fields['height']}, {codecs}"


async def _end(receiver: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        receiver.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await receiver.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            receiver.kill()
