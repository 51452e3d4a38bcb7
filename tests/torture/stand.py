"""A receiver to be tortured: its handlers, its ledger, and what all of it has come to in the end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from receiver.errors import StoreDown, StoreError, Unavailable
from receiver.store.remote import Remote
from tests.acceptance.conftest import Receiver, children_of, is_running, until
from tests.torture.audit import Audit, audit
from tests.torture.ledger import Ledger
from tests.torture.load import Load
from tests.torture.report import Counts

OPTIONS = ("--handlers", "hooks.py", "--handlers", "save_video")
_DRAIN_SECONDS = 120.0
# Leaves a line, then waits a moment: a kill may come between the effect and the report of it.
_HOOKS = """\
import asyncio
from pathlib import Path
from receiver import Router

router = Router()
here = Path(__file__).parent

@router.on("video.completed", "video.failed")
async def effect(event, context):
    with open(here / "effects", "a") as effects:
        effects.write(f"{event.id} {context.idempotency_key}\\n")
    await asyncio.sleep(0.01)
    while event.video.id.startswith("long") and not (here / "gate").exists():
        await asyncio.sleep(0.02)
"""
_MORE = """\
[bodies]
reserve = "1MiB"
[handlers.save_video]
directory = "data/videos"
"""


@dataclass
class Stand:
    """A receiver, whoever posts to it, and what they were told."""

    receiver: Receiver
    ledger: Ledger
    load: Load

    @property
    def data(self) -> Path:
        """Everything that has to outlive a crash."""
        return self.receiver.folder / "data"

    @property
    def database(self) -> Path:
        return self.data / "receiver.db"

    def start(self) -> None:
        """Start the receiver and let the senders post."""
        self.load.up(self.receiver.start(*OPTIONS).url)

    def kill(self, *, with_children: bool) -> None:
        """kill -9: serve alone, or its children with it; return when none of them runs."""
        pid = self.receiver.pid
        family = list(children_of(pid))
        os.kill(pid, signal.SIGKILL)
        for child in family if with_children else ():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.receiver.wait()
        self.load.down()
        if with_children:
            until(lambda: not any(map(is_running, family)), what="the end of the children")

    def look(self) -> Audit:
        """Compare the disk of the receiver, which does not run, with the ledger."""
        return audit(self.data, self.ledger)

    def finish(self, counts: Counts, *, has_crashed: bool = True) -> None:
        """Start once more without load, wait for every job, stop, and judge all that there is.

        The list of rejections may lack those of the last second before a crash, and of no other end.
        """
        if self.receiver.process is not None:
            self.load.down()
            self.receiver.stop(signal.SIGTERM)
        before = self.look()
        swept = len(self.receiver.log("bodies.swept"))
        (self.receiver.folder / "gate").touch()
        self.receiver.start(*OPTIONS)
        until(lambda: unfinished(self.database) == 0, seconds=_DRAIN_SECONDS, what="the end of every job")
        if before.orphans or before.temporary:
            self.receiver.logged("bodies.swept", count=swept + 1)
        self.receiver.stop(signal.SIGTERM)
        counts.told(self.ledger)
        found = self.look()
        self._judge(counts, found)
        told, maybe = self.ledger.tally, self.ledger.tally["unanswered"]
        accounts = [("acknowledged", found.deliveries, maybe + told["refused"])]
        accounts += [] if has_crashed else [("rejected", found.rejections, maybe)]
        for end, there, more in accounts:
            if not told[end] <= there <= told[end] + more:
                counts.problems.append(f"{told[end]} {end} and up to {more} more, but {there} are there")

    def _judge(self, counts: Counts, found: Audit) -> None:
        counts.saw(found)
        counts.notes["rows of posts that had a 503: the store died between commit and answer"] += len(
            found.kept_after_refusal
        )
        if found.pending or found.jobs["dead"] or found.jobs["cancelled"]:
            counts.problems.append(f"not every job is done: {dict(found.jobs)}")
        if found.orphans or found.temporary:
            counts.problems.append(f"{found.orphans} body files without a row, {found.temporary} unfinished")
        if len(self.ledger.acknowledged) > found.events:
            counts.problems.append(f"{found.events} events for {len(self.ledger.acknowledged)} acknowledged")
        self._judge_effects(counts, found)
        self._judge_videos(counts)

    def _judge_effects(self, counts: Counts, found: Audit) -> None:
        """Every event had its effect, perhaps more than once, then with the same key."""
        keys: dict[str, set[str]] = defaultdict(set)
        path = self.receiver.folder / "effects"
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines:
            event, key = line.split()
            keys[event].add(key)
        forgotten = set(self.ledger.acknowledged.values()) - set(keys)
        counts.problems += [f"{event}: acknowledged, and no handler ran" for event in sorted(forgotten)]
        counts.problems += [f"{event}: {len(own)} keys" for event, own in keys.items() if len(own) > 1]
        if len(keys) != found.events or len(set().union(*keys.values())) != len(keys):
            counts.problems.append(f"{found.events} events, {len(keys)} with an effect, or keys in common")
        counts.notes["effects that ran again, with the same key"] += len(lines) - len(keys)

    def _judge_videos(self, counts: Counts) -> None:
        """Every video is there, whole, once; nothing else is."""
        folder = self.data / "videos"
        files = [file for file in folder.glob("*.mp4") if file.is_file()]
        found = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        known = {sent.video_sha256 for sent in self.ledger.sent.values()}
        wanted = {self.ledger.sent[video].video_sha256 for video in self.ledger.acknowledged} - {None}
        counts.problems += [f"a saved video is missing: {sha256}" for sha256 in wanted - set(found)]
        counts.problems += [f"a saved video is not whole: {sha256}" for sha256 in set(found) - known]
        if len(found) != len(set(found)):
            counts.problems.append("a video was saved twice")
        halves = list((folder / ".receiver" / "partial").glob("*"))
        counts.problems += [f"a half of a video was left: {file.name}" for file in halves]
        counts.notes["videos saved"] += len(found)


@contextmanager
def standing(folder: Path, *, name: str = "") -> Iterator[Stand]:
    """A configured receiver in a new folder, not yet started, and senders that wait for it."""
    folder.mkdir(parents=True, exist_ok=True)
    receiver = Receiver(folder).configure(_MORE)
    receiver.handler(_HOOKS)
    ledger = Ledger(folder / "ledger")
    with receiver, Load(ledger, name=name) as load:
        yield Stand(receiver, ledger, load)
    ledger.close()


def unfinished(database: Path) -> int:
    """How many jobs the running store still has to do; it says so itself."""

    async def ask() -> int:
        store = Remote(database)
        try:
            jobs: dict[str, int] = (await store.status())["jobs"]
        finally:
            await store.close()
        return sum(jobs.get(state, 0) for state in ("waiting", "ready", "running"))

    try:
        return asyncio.run(ask())
    except (StoreDown, StoreError, Unavailable):
        return -1
