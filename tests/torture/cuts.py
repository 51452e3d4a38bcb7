"""The power goes off under load: an ext4 image, as its disk had it at that moment. As root.

The shutdown ioctl of ext4 stops a file system without writing what it still has in memory. A control
run, which commits without a sync, has to show a loss; else nothing is proved by the others.
"""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from receiver.store.sqlite.database import read_only
from tests.acceptance.conftest import until
from tests.torture.kills import LATEST
from tests.torture.report import Counts
from tests.torture.rounds import in_rounds
from tests.torture.stand import standing

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32)
_WITHOUT_THE_JOURNAL = 2  # EXT4_GOING_FLAGS_NOLOGFLUSH
_IMAGE_BYTES = 256 * 2**20
_CONTROL_SECONDS = 20.0
_CONTROL_ROWS = 300


class Disk:
    """A file with an ext4 file system in it, mounted on a folder, that can lose its power."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image, self.folder = image, folder

    def __enter__(self) -> Self:
        with self._image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", self._image)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mount()
        return self

    def __exit__(self, *_: object) -> None:
        self.unmount()
        self._image.unlink()

    def mount(self) -> None:
        """Mount it, which brings the journal back into order."""
        _run("mount", "-o", "loop", self._image, self.folder)

    def unmount(self) -> None:
        """Unmount it as soon as nobody has it open any more."""
        command = ["umount", str(self.folder)]
        until(lambda: not subprocess.run(command, capture_output=True, check=False).returncode, what="umount")

    def cut(self) -> None:
        """Take the power away. What is not on the disk now never will be."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_THE_JOURNAL))
        finally:
            os.close(descriptor)
        try:
            (self.folder / "fired").touch()
        except OSError:
            return
        raise AssertionError("the power is still there")


def can_mount(folder: Path) -> bool:
    """Whether this machine lets us mount an image at all: a container may not."""
    if os.geteuid():
        return False
    try:
        with Disk(folder / "probe.img", folder / "probe"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def cut(
    folder: Path, *, cuts: int, chance: random.Random, tell: Callable[[str], None] = lambda _: None
) -> list[Counts]:
    """Cut so many times, and once more as a control; a control that lost nothing is a problem."""
    total = in_rounds(_round, folder, name="cut", wanted=cuts, lanes=1, chance=chance, tell=tell)
    return [total, control(folder / "control")]


def _round(folder: Path, cuts: int, chance: random.Random) -> Counts:
    counts = Counts("cut")
    with Disk(folder.with_suffix(".img"), folder / "data") as disk, standing(folder) as stand:
        for _ in range(cuts):
            stand.start()
            acknowledged = len(stand.ledger.acknowledged)
            time.sleep(chance.uniform(0.1, 0.1 + LATEST))
            stand.ledger.is_dark = True  # a sync that has begun may end well then, without having done all
            disk.cut()
            counts.notes["events acknowledged shortly before a cut"] += (
                len(stand.ledger.acknowledged) - acknowledged
            )
            stand.kill(with_children=True)
            stand.ledger.is_dark = False
            disk.unmount()
            disk.mount()
            counts.saw(stand.look())
            counts.runs += 1
        stand.finish(counts)
    return counts


# The control: the same ledger, the same cut, and a store that does not wait for its disk.


def control(folder: Path) -> Counts:
    """Cut the power of a store with `synchronous=NORMAL` and of files that nobody synced."""
    counts = Counts("control")
    with Disk(folder.with_suffix(".img"), folder / "data") as disk:
        ledger = folder / "ledger"
        with _careless(disk.folder, ledger) as process:
            until(lambda: _lines(ledger) >= _CONTROL_ROWS, seconds=_CONTROL_SECONDS, what="rows")
            disk.cut()
            process.kill()
            process.wait()
        disk.unmount()
        disk.mount()
        rows, files = _kept(disk.folder)
    noted = {int(line) for line in ledger.read_text().splitlines()}
    counts.runs = 1
    counts.tally.update(posted=len(noted), acknowledged=len(noted))
    counts.lost = len(noted - rows)
    counts.notes["rows lost without a sync"] = len(noted - rows)
    counts.notes["files lost without a sync"] = len(noted - files)
    for what, kept in (("row", rows), ("file", files)):
        if noted <= kept:
            counts.problems.append(f"the control has not lost one {what}: this torture would see no loss")
    return counts


@contextmanager
def _careless(folder: Path, ledger: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, __file__, str(folder), str(ledger)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _kept(folder: Path) -> tuple[set[int], set[int]]:
    """Which rows and which whole files of the control have survived."""
    with closing(sqlite3.connect(read_only(folder / "careless.db"), uri=True)) as connection:
        rows = {number for (number,) in connection.execute("SELECT number FROM rows")}
    files = {int(file.stem) for file in folder.glob("*.body") if file.stat().st_size == _FILE_BYTES}
    return rows, files


_FILE_BYTES = 100_000


def _be_careless(folder: Path, ledger: Path) -> None:
    """Record rows and files as fast as it goes, and note each as if it were safe."""
    with closing(sqlite3.connect(folder / "careless.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, body TEXT)")
        connection.execute("PRAGMA synchronous = NORMAL")
        os.sync()
        with ledger.open("a", buffering=1) as noted:
            for number in range(10**6):
                (folder / f"{number}.body").write_bytes(bytes(_FILE_BYTES if number < 500 else 0))
                connection.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * 500))
                noted.write(f"{number}\n")


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=60)


if __name__ == "__main__":
    _be_careless(Path(sys.argv[1]), Path(sys.argv[2]))
