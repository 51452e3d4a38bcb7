"""`receiver init` and `receiver handlers`: before anything runs."""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from receiver.cli.options import Common, common, specs
from receiver.cli.output import json_line, table
from receiver.cli.template import Credentials, configuration
from receiver.errors import CommandFailed

if TYPE_CHECKING:
    from receiver.loading import Loaded
    from receiver.settings import Settings


@click.command
@click.argument("directory", default=".", type=click.Path(file_okay=False, path_type=Path))
@common
def init(options: Common, *, directory: Path) -> None:
    """Write a commented receiver.toml, with fresh random development credentials, into DIRECTORY."""
    path = write_configuration(directory, configuration(fresh_credentials()))
    if options.as_json:
        json_line({"file": str(path)})
        return
    option = "" if directory == Path() else f" --config {path}"
    click.echo(f"wrote {path} (mode 0600: it holds credentials)")
    click.echo("next:")
    click.echo(f"  receiver serve{option}             start the receiver")
    click.echo(f"  receiver send opennote{option}     post it a sample callback with a small video")
    click.echo(f"  receiver events{option}            see what became of it")


def fresh_credentials() -> Credentials:
    """Random credentials for development."""
    return Credentials(
        organization_id=f"org_dev_{secrets.token_hex(6)}",
        api_key=f"dev_{secrets.token_urlsafe(24)}",
        admin_token=secrets.token_urlsafe(24),
        webhook_secret="whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
    )


def write_configuration(directory: Path, text: str) -> Path:
    """Write a new receiver.toml that only its owner can read. Raise CommandFailed when there is one."""
    path = directory / "receiver.toml"
    directory.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise CommandFailed(
            f"{path} exists already and was left as it is; remove it, or name another folder"
        ) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


@click.command
@specs
@common
def handlers(options: Common, *, specs: tuple[str, ...]) -> None:
    """List the handlers that would be loaded, and what each would run on."""
    config = options.settings()
    loaded = load_handlers(config, specs)
    for warning in loaded.warnings:
        click.echo(f"receiver: warning: {warning}", err=True)
    if options.as_json:
        for handler in loaded.handlers:
            json_line({"name": handler.name, "where": handler.where, "card": asdict(handler.card)})
        return
    from receiver.units import in_words

    rows = [
        (
            handler.name,
            ", ".join(sorted(handler.types)),
            handler.source or "any",
            handler.after or "-",
            str(handler.attempts),
            in_words(handler.timeout.total_seconds()),
            handler.summary,
        )
        for handler in loaded.handlers
    ]
    table(("handler", "runs on", "source", "after", "attempts", "timeout", "does"), rows, empty="no handlers")


def load_handlers(config: Settings, specs: tuple[str, ...]) -> Loaded:
    """Load what the command line names, else what the configuration does. Raise HandlerError."""
    from receiver.loading import load, told_when_slow

    chosen = specs or config.handlers.load
    with told_when_slow(chosen):
        return load(
            chosen,
            folder=config.folder,
            tables=config.handlers.tables,
            sources=list(config.sources) or None,
            relative_to=Path.cwd() if specs else None,
        )
