"""SIGTERM at a random moment under load, with a stalled upload, with a job that goes on and on."""

from __future__ import annotations

import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.conftest import headers, processes_in, until
from tests.torture.kills import LATEST, SOONEST
from tests.torture.load import Connection, small
from tests.torture.report import Counts
from tests.torture.rounds import in_rounds
from tests.torture.stand import OPTIONS, Stand, standing

_LANES = 4
"""Receivers side by side: most of the time each waits for a deadline."""
_LIMIT_SECONDS = 30.0
_CASES = ("plain", "upload", "start", "job", "plain", "upload and job", "plain", "upload")


def term(
    folder: Path, *, terms: int, chance: random.Random, tell: Callable[[str], None] = lambda _: None
) -> Counts:
    """Stop so many times; each ends in time, and keeps all that it acknowledged and nothing by halves."""
    turns = count(chance.randrange(len(_CASES)))  # of all lanes: each case has its turn among a few runs, too
    round_ = partial(_round, turns)
    return in_rounds(round_, folder, name="term", wanted=terms, lanes=_LANES, chance=chance, tell=tell)


def _round(turns: Iterator[int], folder: Path, terms: int, chance: random.Random) -> Counts:
    counts = Counts("term")
    with standing(folder) as stand:
        for number in range(terms):
            case = _CASES[next(turns) % len(_CASES)]
            counts.longest_exit = max(counts.longest_exit, _stop(stand, case, number, chance, counts))
            counts.runs += 1
            counts.notes[f"SIGTERM: {case}"] += 1
        stand.finish(counts, has_crashed=False)
    return counts


def _stop(stand: Stand, case: str, number: int, chance: random.Random, counts: Counts) -> float:
    """One start and one SIGTERM; return how long the end took."""
    receiver, seconds = stand.receiver, chance.uniform(SOONEST, LATEST)
    if case == "start":
        receiver.begin(*OPTIONS)
        time.sleep(seconds)
        took, status = _end(stand)
        allowed = {0, -signal.SIGTERM}  # before Python has read the first line, nobody can take a signal
    else:
        stand.start()
        if "job" in case:
            _begin_a_long_job(stand, f"long{number}")
        with _stalled(receiver.url, f"stalled{number}", "upload" in case):
            if "upload" in case:
                until(lambda: list((stand.data / "bodies" / "incoming").glob("*.part")), what="an upload")
            time.sleep(seconds)
            took, status = _end(stand)
        allowed = {0}
        _look(stand, case, counts)
    if status not in allowed:
        counts.problems.append(f"{case}: exit status {status}")
    if took > _LIMIT_SECONDS:
        counts.problems.append(f"{case}: the end took {took:.1f} s")
    left = [] if case == "start" else processes_in(receiver.folder)
    counts.problems += [f"{case}: still running: {line}" for line in left]
    until(lambda: not processes_in(receiver.folder), seconds=5, what="the end of all processes")
    return took


def _end(stand: Stand) -> tuple[float, int]:
    """Send the signal and wait; senders go on until nobody answers any more."""
    began = time.monotonic()
    status = stand.receiver.stop(signal.SIGTERM, seconds=_LIMIT_SECONDS * 2)
    took = time.monotonic() - began
    stand.load.down()
    (stand.receiver.folder / "gate").touch()
    return took, status


def _look(stand: Stand, case: str, counts: Counts) -> None:
    """Between two runs: nothing is missing or half there, and nothing lies about."""
    left = {path.name for path in stand.data.iterdir()} - {
        "receiver.db",
        "receiver.db.lock",
        "bodies",
        "videos",
    }
    counts.problems += [f"{case}: left behind: {name}" for name in sorted(left)]
    found = stand.look()
    counts.saw(found)
    counts.problems += [f"{case}: refused and kept: {video}" for video in found.kept_after_refusal]
    counts.notes["body files of posts that had no 200, for the sweep"] += found.orphans
    if found.temporary:
        counts.problems.append(f"{case}: {found.temporary} unfinished body files")


def _begin_a_long_job(stand: Stand, video: str) -> None:
    """Post a callback whose job ends only when the gate is opened, and see it run."""
    (stand.receiver.folder / "gate").unlink(missing_ok=True)
    connection = Connection(stand.receiver.url, stand.ledger)
    connection.post(small(video))
    connection.close()
    event = stand.ledger.acknowledged[video]
    effects = stand.receiver.folder / "effects"
    until(lambda: effects.exists() and event in effects.read_text(), what="the long job")


@contextmanager
def _stalled(url: str, video: str, is_wanted: bool) -> Iterator[None]:
    """A connection on which two thirds of a large body arrive, and then nothing more."""
    if not is_wanted:
        yield
        return
    body = f'{{"video_id": "{video}", "status": "completed", "padding": "'.encode() + b"x" * 200_000
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
        fields = headers(video) | {"Host": parts.netloc, "Content-Length": "300000"}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        connection.sendall(f"POST /webhooks/opennote HTTP/1.1\r\n{head}\r\n".encode() + body)
        yield
