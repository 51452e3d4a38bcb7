"""`receiver prune` and `backup`: what keeps a store small and safe."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from receiver.cli.events import with_store
from receiver.cli.options import Common, common
from receiver.cli.output import bytes_in_words, json_line, now_ms

if TYPE_CHECKING:
    from receiver.store.base import Store


@click.command
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@common
def prune(options: Common, *, dry_run: bool) -> None:
    """Remove what [retention] says is old enough, now; a running server does it every hour.

    Never an event with a job that is still to be done; one with a dead job after retention.dead only.
    """
    from receiver import retention
    from receiver.bodies import Bodies

    config = options.settings()
    ages = retention.Ages(*(age.total_seconds() for _, age in config.retention))
    work = retention.plan if dry_run else retention.prune
    bodies = Bodies(config.bodies_folder)
    keep = ages.keep(now_ms=now_ms())
    report = with_store(config, lambda store: work(store, bodies, keep))
    if options.as_json:
        json_line({**report._asdict(), "dry_run": dry_run})
        return
    click.echo("would be removed:" if dry_run else "removed:")
    for name, count in report._asdict().items():
        label = "bytes of body files" if name == "bytes" else name.replace("_", " ")
        click.echo(f"  {label:19} {bytes_in_words(count) if name == 'bytes' else count}")


@click.command
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE when it is there already.")
@click.option(
    "--bodies",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Copy the body files here, too; those that are there already are not copied again.",
)
@common
def backup(options: Common, *, file: Path, force: bool, folder: Path | None) -> None:
    """Copy the database into FILE, as it is at one moment, while the server runs.

    The copy is read whole before it gets its name, and is a database to begin from. Bodies over 64 KiB
    lie in files of their own: --bodies.
    """
    from receiver.errors import CommandFailed

    if os.path.lexists(file) and not force:
        raise CommandFailed(f"{file} is there already; --force replaces it")
    config = options.settings()
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}.part")

    async def copy(store: Store) -> tuple[int, int]:
        digests = await store.backup(temporary)
        if folder is None:
            return len(digests), 0
        gone = await asyncio.to_thread(_copy_bodies, digests, config.bodies_folder, folder)
        return len(digests), len(await store.bodies_in_use(gone))  # the others were removed meanwhile

    try:
        body_files, gone = with_store(config, copy)
        size = temporary.stat().st_size
        give_name(temporary, file, force=force)
    finally:
        temporary.unlink(missing_ok=True)
    if options.as_json:
        where = None if folder is None else str(folder)
        json_line({"file": str(file), "bytes": size, "body_files": body_files, "bodies": where, "gone": gone})
    else:
        with_them = "are not in it: --bodies" if folder is None else f"lie in {folder}"
        also = f"; {body_files} body files {with_them}" if body_files else ""
        click.echo(f"{file}: {bytes_in_words(size)}{also}")
    if gone:
        raise CommandFailed(f"{gone} body files are gone, and so they are not in the copy")


def give_name(temporary: Path, file: Path, *, force: bool) -> None:
    """Let a file be seen, durably; unless `force`, no other one gets lost by that."""
    from receiver.errors import CommandFailed

    if force:
        temporary.replace(file)
    else:
        try:
            file.hardlink_to(temporary)
        except FileExistsError as error:
            raise CommandFailed(f"{file} is there already; --force replaces it") from error
    _sync(file.parent)


def _copy_bodies(digests: Sequence[str], source: Path, target: Path) -> list[str]:
    """Link or copy body files to where they are not yet, under the same names; return those that are gone."""
    from receiver.bodies import Bodies, make_directory

    originals, copies = Bodies(source), Bodies(target)
    gone, folders = [], set()
    for digest in digests:
        original, copy = originals.path(digest), copies.path(digest)
        make_directory(copy.parent)
        try:
            if not copy.exists():
                _link_or_copy(original, copy)
                folders.add(copy.parent)
        except FileNotFoundError:
            gone.append(digest)
    for folder in folders:
        _sync(folder)
    return gone


def _link_or_copy(original: Path, copy: Path) -> None:
    """Body files are never written again, so that one file may have both names."""
    try:
        copy.hardlink_to(original)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        temporary = copy.with_name(f".{copy.name}.{secrets.token_hex(8)}.part")
        try:
            with original.open("rb") as source, temporary.open("xb") as target:
                os.fchmod(target.fileno(), 0o600)
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
            temporary.replace(copy)
        finally:
            temporary.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
