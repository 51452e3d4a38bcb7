"""`receiver export` and `import`: recorded events in one portable file."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.events import with_store
from receiver.cli.filters import filters
from receiver.cli.options import Common, Text, common
from receiver.cli.output import bytes_in_words, iso, json_line, now_ms
from receiver.cli.progress import bar, broken_off_at_once, is_terminal
from receiver.cli.scratch import scratch
from receiver.cli.upkeep import give_name
from receiver.errors import CommandFailed, UsageError

if TYPE_CHECKING:
    from receiver.capture.exporting import Exported
    from receiver.capture.taking import Taken
    from receiver.settings import Settings
    from receiver.store.base import Store
    from receiver.store.values import EventFilter

COMPRESSED = (".gz", ".tgz")
_DASH, _INPUT = Path("-"), Path("/dev/stdin")
_PIECE = 1 << 20
_LARGEST = 2**40
"""Bytes of a body or a video: what was recorded elsewhere is under no limit here but the disk's."""


_Write = Callable[[Path, bool], "Exported"]
"""Writes a capture into a new file, compressed or not."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be exported."""

    options: Common
    events: tuple[str, ...]
    chosen: EventFilter | None
    with_videos: bool


@click.command
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("events", nargs=-1, type=Text(), metavar="[EVENT…]")
@filters
@click.option("--with-videos", is_flag=True, help="The videos behind links, too: saved ones, else fetched.")
@click.option("--force", is_flag=True, help="Replace FILE when it is there already.")
@common
def export(
    options: Common,
    *,
    file: Path,
    events: tuple[str, ...],
    with_videos: bool,
    force: bool,
    **wanted: Any,
) -> None:
    """Write recorded events into FILE, a capture: a tar archive, compressed if its name ends with .gz.

    All events, or those that are named, or chosen by filters, with all of their deliveries. It holds no
    credential, and the same events make the same bytes. With - for FILE it goes to standard output.
    """
    from receiver.store.values import EventFilter

    if events and any(value is not None for value in wanted.values()):
        raise UsageError("say which events in one way: by their ids, or by filters")
    order = _Order(options, events, None if events else EventFilter(**wanted), with_videos)
    config, missing = options.settings(), list[str]()

    def write(path: Path, is_compressed: bool) -> Exported:
        return with_store(config, lambda store: _export(order, config, store, path, is_compressed, missing))

    is_streamed = file == _DASH
    exported, size = _to_output(write) if is_streamed else _to_file(file, write, force=force)
    _tell_exported(file, size, exported, missing, as_json=options.as_json, aside=is_streamed)
    if missing:
        raise CommandFailed("\n".join(missing))


def _to_file(file: Path, write: _Write, *, force: bool) -> tuple[Exported, int]:
    """Under its own name there is a whole file or none."""
    if os.path.lexists(file) and not force:
        raise CommandFailed(f"{file} is there already; --force replaces it")
    if not file.parent.is_dir():
        raise CommandFailed(f"{file}: there is no folder {file.parent}")
    temporary = file.with_name(f".{file.name[:40]}.{secrets.token_hex(8)}.part")
    try:
        exported = write(temporary, file.suffix.lower() in COMPRESSED)
        size = temporary.stat().st_size
        give_name(temporary, file, force=force)
    except OSError as error:
        if error.filename is None or Path(error.filename).parent == file.parent:
            raise CommandFailed(f"{file}: {error.strerror or error}") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return exported, size


def _to_output(write: _Write) -> tuple[Exported, int]:
    """Nothing is sent before all of it is there: whoever reads it can't take back what came."""
    if is_terminal(sys.stdout):
        raise UsageError("a capture is nothing for a terminal: name a file, or send the output to one")
    with scratch("export") as folder:
        path = folder / "capture.tar"
        exported = write(path, False)
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, _PIECE)
        sys.stdout.flush()
        return exported, path.stat().st_size


async def _export(
    order: _Order, config: Settings, store: Store, path: Path, is_compressed: bool, missing: list[str]
) -> Exported:
    from receiver import sources
    from receiver.bodies import Bodies
    from receiver.capture import exporting
    from receiver.capture.videos import Videos
    from receiver.fetch import Fetcher
    from receiver.replay import Occasion, choose

    seqs = await choose(store, Occasion("", order.events, order.chosen))
    bodies, fetcher = Bodies(config.bodies_folder), Fetcher(max_bytes=config.worker.max_video)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.stem}.") as folder:
            videos = Videos(
                store, bodies, fetcher, configured=sources.configured(config), scratch=Path(folder)
            )
            videos.missing = missing
            with bar("exporting", len(seqs), is_shown=not order.options.as_json) as show:
                return await exporting.export(
                    store,
                    bodies,
                    path,
                    events=seqs,
                    wanted=await _said(store, seqs, order.chosen),
                    is_compressed=is_compressed,
                    videos=videos if order.with_videos else None,
                    told=show,
                )
    finally:
        await fetcher.aclose()


async def _said(store: Store, seqs: list[int], chosen: EventFilter | None) -> dict[str, Any]:
    """What was asked for, in words that mean the same tomorrow."""
    from receiver.record import Wish

    if chosen is None:
        return {"events": [row["id"] for row in await store.replays.plan(seqs, Wish([]))]}
    said = {name: value for name, value in chosen._asdict().items() if value is not None}
    return said | {name: iso(said[name]) for name in ("since", "until") if name in said}


def _tell_exported(
    file: Path, size: int, exported: Exported, missing: list[str], *, as_json: bool, aside: bool
) -> None:
    """Say what is in it; `aside`, on standard error, where it is itself on the other one."""
    manifest = exported.manifest
    counts = {
        "events": manifest.events,
        "deliveries": manifest.deliveries,
        "bodies": manifest.bodies,
        "videos": manifest.videos,
    }
    if as_json:
        left = {"left": exported.left, "missing_videos": len(missing)}
        json_line({"file": str(file), "bytes": size, **counts, **left}, err=aside)
        return
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    click.echo(f"{file}: {bytes_in_words(size)}; {said}", err=aside)
    if exported.left:
        click.echo(f"left out: {exported.left:,} deliveries whose bodies are not there any more", err=True)


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--partial", is_flag=True, help="Take what is whole of a capture that is unfinished or damaged."
)
@common
def import_(options: Common, *, file: Path, partial: bool) -> None:
    """Record the events of a capture here, as they were there: same ids, same times, and no jobs.

    What is here already is passed over. `receiver replay` runs handlers on them. With - for FILE it is read
    from standard input.
    """
    config, file = options.settings(), _INPUT if file == _DASH else file

    async def act(store: Store) -> Taken:
        return await take_capture(file, store, config, is_partial=partial, as_json=options.as_json)

    taken = with_store(config, act)
    if options.as_json:
        json_line(taken._asdict())
    else:
        click.echo(
            f"{file}: {taken.events:,} events with {taken.deliveries:,} deliveries are new here"
            + (f", {taken.known:,} deliveries were here already" if taken.known else "")
        )


async def take_capture(
    file: Path, store: Store, config: Settings, *, is_partial: bool, as_json: bool
) -> Taken:
    """Take a capture into a store, with a bar; tell what could not be taken."""
    from receiver.bodies import Bodies
    from receiver.capture.reading import opened
    from receiver.capture.survey import Survey
    from receiver.capture.taking import take

    bodies = Bodies(config.bodies_folder, reserve=config.bodies.reserve)
    with ExitStack() as stack:
        with broken_off_at_once():
            capture = stack.enter_context(opened(file, is_partial=is_partial, largest=_LARGEST))
            survey = Survey(capture, judges=not is_partial)
        for problem in capture.problems:
            click.echo(f"receiver: {file}: {problem}", err=True)
        with bar("importing", capture.manifest.deliveries, is_shown=not as_json) as show:
            taken = await take(
                capture,
                store,
                bodies,
                now=now_ms,
                largest=_LARGEST,
                is_partial=is_partial,
                survey=survey,
                told=show,
            )
    for problem in taken.left:
        click.echo(f"receiver: {file}: {problem}", err=True)
    return taken
