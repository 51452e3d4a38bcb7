"""`receiver check`: is everything as it should be?"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.events import with_store
from receiver.cli.options import Common, common, specs
from receiver.cli.output import bytes_in_words, json_line, now_ms, plain, window
from receiver.cli.setup import load_handlers
from receiver.cli.wrapping import wrapped
from receiver.errors import HandlerError, StoreDamaged

if TYPE_CHECKING:
    from receiver.settings import Settings

_LOW_DISK = 2 * 2**30
_BEFORE_THIS_VERSION = 1_790_000_000  # unix seconds; a clock that shows less is not set
_SKEW_MS = 60_000


@dataclass
class _Findings:
    """What was found, by severity."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, severity: str, part: str, text: str) -> None:
        self.lines.append((severity, part, text))


@click.command
@specs
@common
def check(options: Common, *, specs: tuple[str, ...]) -> None:
    """Validate configuration, handlers, store (a full integrity check), disk and clock.

    Exit status 1 when there is an error, 0 when there are only warnings.
    """
    config = options.settings()
    found = _Findings()
    found.add("ok", "configuration", str(config.file or "the environment"))
    _check_configuration(config, found)
    _check_handlers(config, specs, found)
    _check_store(config, found)
    _check_disk(config, found)
    _check_clock(found)
    for severity, part, text in found.lines:
        if options.as_json:
            json_line({"severity": severity, "part": part, "text": text})
        else:
            click.echo(wrapped(plain(f"{severity:8} {part}: {text}"), window()))
    if any(severity == "error" for severity, _, _ in found.lines):
        raise click.exceptions.Exit(1)


def _check_configuration(config: Settings, found: _Findings) -> None:
    if not config.sources:
        found.add("error", "configuration", "no source is configured; add a table [sources.NAME]")
    if config.file is not None and config.file.stat().st_mode & 0o077:
        found.add(
            "warning",
            "configuration",
            f"others can read {config.file}, which holds credentials; chmod 600 it",
        )
    if config.server.public_url is None:
        found.add(
            "warning", "configuration", "server.public_url is not set; senders have to be told where to call"
        )


def _check_handlers(config: Settings, specs: tuple[str, ...], found: _Findings) -> None:
    try:
        loaded = load_handlers(config, specs)
    except HandlerError as error:
        found.add("error", "handlers", str(error))
        return
    for warning in loaded.warnings:
        found.add("warning", "handlers", warning)
    found.add("ok", "handlers", ", ".join(handler.name for handler in loaded.handlers) or "none")


def _check_store(config: Settings, found: _Findings) -> None:
    async def look(store: Any) -> None:
        for problem in await store.check():
            found.add("error", "store", problem)
        status = await store.status()
        jobs = ", ".join(f"{count} {state}" for state, count in sorted(status["jobs"].items())) or "none"
        found.add("ok", "store", f"writable, jobs: {jobs}, workers alive: {len(status['workers'])}")
        if status["jobs"].get("dead"):
            found.add(
                "warning",
                "store",
                f"{status['jobs']['dead']} jobs are dead; see `receiver events --state dead`",
            )
        await _check_submissions(store, found)
        newest = await store.events(_any(), limit=1, before=None)
        if newest and newest[0]["received_at"] > now_ms() + _SKEW_MS:
            found.add("warning", "clock", "the newest event is from the future; the clock was set back")
        await _check_watches(config, store, found)
        await _check_bodies(config, store, found)

    try:
        with_store(config, look)
    except StoreDamaged as error:
        found.add("error", "store", str(error))


async def _check_submissions(store: Any, found: _Findings) -> None:
    from receiver.cli.submit import ANSWERED_MS

    unclear = await store.submissions.unclear(before=now_ms() - ANSWERED_MS)
    if unclear:
        found.add(
            "warning",
            "submissions",
            f"{len(unclear)} may have been paid for without anybody knowing the video; see "
            "`receiver submit --list`, and forget what was looked into: --forget SUBMISSION",
        )


def _any() -> Any:
    from receiver.store.values import EventFilter

    return EventFilter()


async def _check_watches(config: Settings, store: Any, found: _Findings) -> None:
    watched = Counter(watch.source for watch in await store.watches.page(limit=10_000))
    for name in sorted(watched.keys() - config.sources.keys()):
        text = f"nobody asks about {watched[name]} videos of {name}, which is not configured any more"
        found.add("warning", "watches", text)


async def _check_bodies(config: Settings, store: Any, found: _Findings) -> None:
    from receiver.bodies import Bodies

    digests = await store.all_bodies()
    missing = Bodies(config.bodies_folder).missing(digests)
    if missing:
        found.add("error", "bodies", f"{len(missing)} of {len(digests)} body files are gone")


def _check_disk(config: Settings, found: _Findings) -> None:
    for name, folder in (("store", config.database.parent), ("bodies", config.bodies_folder)):
        free = shutil.disk_usage(_existing(folder)).free
        severity = (
            "ok" if free > max(_LOW_DISK, config.server.max_body + config.bodies.reserve) else "warning"
        )
        found.add(severity, "disk", f"{bytes_in_words(free)} free for the {name} in {folder}")


def _existing(folder: Path) -> Path:
    return folder if folder.exists() or folder == folder.parent else _existing(folder.parent)


def _check_clock(found: _Findings) -> None:
    if time.time() < _BEFORE_THIS_VERSION:
        found.add("error", "clock", "it shows a time before this version was made")
