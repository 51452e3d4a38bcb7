"""`receiver sandbox`: serve stand-ins for the providers on this machine."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any

import click

from receiver.cli.options import Common, common
from receiver.sandbox.mischief import LIMITS, MISHAPS, Mischief
from receiver.sandbox.options import Behaviour, Options

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        # Not at the top: it brings pydantic along, which `receiver --help` can do without.
        from receiver.units import duration

        try:
            return duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _mischief(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each thing that can go wrong, `--wrong-credentials 0.1`."""
    for one in reversed(fields(Mischief)):
        limits = click.FloatRange(0, LIMITS[one.name]) if one.name in LIMITS else click.INT
        command = click.option(
            f"--{one.name.replace('_', '-')}",
            type=limits,
            default=one.default,
            show_default=one.name not in MISHAPS,
            metavar="P" if one.name in MISHAPS else "N",
            help=one.metadata["help"],
        )(command)
    return command


@click.command
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8100, show_default=True, help="0: a free one.")
@click.option("--delay", type=_Duration(), default="2s", show_default=True, help="How long a video takes.")
@click.option("--organization-id", default="org_sandbox", show_default=True, help="Sent with callbacks.")
@click.option(
    "--api-key", "api_keys", multiple=True, help="Accept only this key; repeatable.  [default: any]"
)
@click.option("--webhook-url", help="Where events of OpenAI-style videos go.  [default: nowhere]")
@click.option(
    "--webhook-secret",
    "webhook_secrets",
    multiple=True,
    metavar="whsec_…",
    help="What they are signed with; repeatable.",
)
@click.option(
    "--expires-after",
    "lifetime",
    type=_Duration(),
    default="1h",
    show_default=True,
    help="How long an OpenAI-style video can be had.",
)
@click.option(
    "--poll-after-ms", type=click.IntRange(min=0), help="Ask those who poll to wait: openai-poll-after-ms."
)
@_mischief
@common
def sandbox(
    options: Common,
    *,
    host: str,
    port: int,
    delay: timedelta,
    organization_id: str,
    api_keys: tuple[str, ...],
    webhook_url: str | None,
    webhook_secrets: tuple[str, ...],
    lifetime: timedelta,
    poll_after_ms: int | None,
    **mischief: Any,
) -> None:
    """Serve stand-ins for the providers' APIs on loopback, until Ctrl-C.

    Opennote is at the base URL, OpenAI at /v1, a gateway that imitates it (no callbacks, statuses of its
    own) at /compatible/v1.

    P is how often something goes wrong on purpose, from 0 (never) to 1 (always). While it runs, POST
    the same names as JSON to /_sandbox/misbehave; what went wrong is counted at /_sandbox/counts.
    """
    wanted = Options(
        host,
        port,
        organization_id,
        api_keys,
        Behaviour(delay=delay, lifetime=lifetime, mischief=Mischief(**mischief)),
        webhook_url=webhook_url,
        webhook_secrets=webhook_secrets,
        poll_after_ms=poll_after_ms,
    )
    run(wanted, as_json=options.as_json)


def run(options: Options, *, as_json: bool = False) -> None:
    """Serve until SIGINT or SIGTERM: where and how on stdout, what happens on stderr, a line each.

    Raise UsageError when the port can't be had.
    """
    asyncio.run(_serve(options, as_json=as_json))


async def _serve(options: Options, *, as_json: bool) -> None:
    # Nor this: it brings a web server.
    from receiver.sandbox.server import serving

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    try:
        async with serving(options, tell=_tell_json if as_json else _tell) as base_url:
            _greet(base_url, options, as_json=as_json)
            await stop.wait()
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _greet(base_url: str, options: Options, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"base_url": base_url, "organization_id": options.organization_id}))
        return
    key = options.api_keys[0] if options.api_keys else "any-key"
    credential = shlex.quote(f"Authorization: Bearer {key}")
    body = shlex.quote(json.dumps({"script": "Hello.", "upload_to_s3": True}))
    click.echo(f"sandbox at {base_url} (Ctrl-C ends it)")
    click.echo(f"  curl: curl -H {credential} -d {body} {base_url}/v1/video/create")
    click.echo(f"  SDK:  OpennoteClient(api_key={json.dumps(key)}, base_url={json.dumps(base_url)})")
    click.echo(f"  OpenAI-style: OpenAI(api_key={json.dumps(key)}, base_url={json.dumps(base_url + '/v1')})")
    click.echo(f"  without callbacks: {base_url}/compatible/v1")
    click.echo(f"  jobs: {base_url}/_sandbox/jobs")
    mischief = shlex.quote(json.dumps({"failed": 0.5, "truncated": 0.5}))
    click.echo(f"  misbehave: curl -d {mischief} {base_url}/_sandbox/misbehave")


def _tell(name: str, fields: Mapping[str, object]) -> None:
    told = " ".join(f"{key}={_plain(value)}" for key, value in fields.items() if value is not None)
    click.echo(f"{name} {told}", err=True)


def _tell_json(name: str, fields: Mapping[str, object]) -> None:
    click.echo(json.dumps({"event": name, **fields}), err=True)


def _plain(value: object) -> str:
    # A title comes from a client: as JSON it can't break the line or colour the terminal.
    text = str(value)
    return text if text.isascii() and text.isprintable() and " " not in text else json.dumps(value)
