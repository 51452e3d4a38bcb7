"""`receiver serve` and `receiver worker`."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import click

from receiver.cli.options import Common, common, specs
from receiver.cli.output import json_line


@click.command
@click.option("--host", help="Address to listen on.  [default: server.host]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="TCP port; 0: any free one.  [default: server.port]"
)
@click.option(
    "--fd",
    type=click.IntRange(3),
    metavar="N",
    help="Listen on this inherited socket instead (systemd: 3); it stays open over a restart.",
)
@specs
@click.option(
    "--workers", type=click.IntRange(0, 256), default=1, show_default=True, help="Worker processes."
)
@click.option("--no-worker", is_flag=True, help="Receive and record only; run no handlers here.")
@click.option("--with-parent", is_flag=True, hidden=True, help="End when standard input does.")
@common
def serve(
    options: Common,
    *,
    host: str | None,
    port: int | None,
    fd: int | None,
    specs: tuple[str, ...],
    workers: int,
    no_worker: bool,
    with_parent: bool,
) -> None:
    """Receive callbacks, record them, run handlers, until Ctrl-C or SIGTERM.

    --handlers takes the place of handlers.load in the configuration.
    """
    import asyncio

    import uvloop

    from receiver import app, logs
    from receiver.errors import SettingsError, UsageError
    from receiver.lifeline import end_with_parent

    if fd is not None and (host is not None or port is not None):
        raise UsageError("--fd takes the place of --host and --port: it listens already")
    if with_parent:
        end_with_parent()
    config = options.settings()
    if not config.sources:
        raise SettingsError(f"{config.file}: no source is configured; add a table [sources.NAME]")
    os.umask(0o077)
    logs.configure(style=config.log.format, level=config.log.level, waits=False)
    chosen = app.ServeOptions(
        host=host or config.server.host,
        port=config.server.port if port is None else port,
        specs=specs,
        workers=0 if no_worker else workers,
        descriptor=fd,
    )

    def tell(url: str) -> None:
        if options.as_json:
            json_line({"url": url, "pid": os.getpid()})
            return
        click.echo(f"receiver is ready at {url} (Ctrl-C ends it)")
        for name, source in config.sources.items():
            if source.kind != "openai-compatible":
                click.echo(f"  callbacks: {url}/webhooks/{name}")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.serve(config, chosen, on_started=tell))


@click.command
@specs
@common
def worker(options: Common, *, specs: tuple[str, ...]) -> None:
    """Run one more worker process beside a running server, until Ctrl-C or SIGTERM.

    --handlers narrows which jobs it takes.
    """
    import asyncio

    from receiver import logs
    from receiver.errors import CommandFailed, StoreDown
    from receiver.store.remote import Remote
    from receiver.store.service import EXTERNAL
    from receiver.worker import work

    async def find_server() -> None:
        store = Remote(config.database)
        try:
            await store.connect()
        except StoreDown as error:
            raise CommandFailed(
                f"no server is running on {config.database}; start one with `receiver serve`"
            ) from error
        await store.close()

    config = options.settings()
    os.umask(0o077)
    asyncio.run(find_server())
    logs.configure(style=config.log.format, level=config.log.level, waits=False)
    name = f"{EXTERNAL}/{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(2)}"
    status = work(config, specs, name=name, relative_to=Path.cwd() if specs else None)
    if status:
        logs.finish()
        os._exit(status)  # a thread that can't be stopped must not keep the process
