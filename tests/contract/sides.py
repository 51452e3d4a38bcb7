"""Two sides of a capture, and archives that were not written by an export."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import orjson

from receiver.bodies import Bodies
from receiver.capture.exporting import Exported, export
from receiver.capture.reading import opened
from receiver.capture.taking import Taken, take
from receiver.record import Arrival
from receiver.store.base import Store
from receiver.store.values import EventFilter, Row
from tests.contract.stand import AGES_AGO, arrival, ready

LARGEST = 2**30
NOW = AGES_AGO + 1_000_000


class Side:
    """A store with its bodies, and what is exported from it and imported into it."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.bodies = Bodies(folder / "bodies", reserve=0)
        self.folder = folder

    async def receive(self, video: str, body: bytes, **changes: Any) -> Arrival:
        """Record a callback as ingress does."""
        news = arrival(video, **changes)
        if len(body) > 65536:
            digest = hashlib.sha256(body).hexdigest()
            spool = self.bodies.spool()
            spool.write(body)
            spool.keep(digest)
            news = news._replace(body=None, body_sha256=digest, payload="{}", strings="[]")
        else:
            news = news._replace(body=body.decode())
        await self.store.record(news._replace(size=len(body)))
        return news

    async def exported(self, path: Path, *, wanted: EventFilter | None = None) -> Exported:
        seqs = (await self.store.replays.select(wanted or EventFilter(), limit=1000))[::-1]
        return await export(
            self.store, self.bodies, path, events=seqs, wanted={}, is_compressed=path.suffix == ".gz"
        )

    async def imported(self, path: Path, *, is_partial: bool = False) -> Taken:
        with opened(path, is_partial=is_partial, largest=LARGEST) as capture:
            return await take(
                capture, self.store, self.bodies, now=lambda: NOW, largest=LARGEST, is_partial=is_partial
            )

    async def event(self, video: str) -> Row:
        (row,) = await self.store.events(EventFilter(video=video), limit=9, before=None)
        return await self.store.event(row["id"])


def inline(count: int) -> bytes:
    """A body that carries so many bytes."""
    content = base64.b64encode(bytes(number % 251 for number in range(count))).decode()
    return json.dumps({"status": "completed", "response": {"b64_video": content}}).encode()


async def fill(side: Side) -> None:
    """Some of everything: small and large, repeated, contradicted, not in the order of time."""
    await side.receive(
        "v1", b'{"status": "completed", "a": "\xc3\xa4"}', received_at=AGES_AGO + 50, jobs=ready("save")
    )
    await side.receive("v2", inline(100_000), received_at=AGES_AGO, title="Cells", content="inline x")
    await side.receive("v1", b'{"status": "completed", "a": 2}', received_at=AGES_AGO + 60)
    await side.receive("v1", b'{"status": "completed", "a": 2}', received_at=AGES_AGO + 60)
    await side.receive("v1", b'{"status": "failed"}', what="failed", type="video.failed")
    await side.receive("v3", b"{}", what="progress", type="video.progress", progress=12.5, via="poll")
    await side.receive("v2", inline(100_000), received_at=AGES_AGO + 70)


def forged(path: Path, members: list[tuple[str, bytes]], *, sums: bool = True, **info: Any) -> Path:
    """Write an archive of anything, with right sums; `info` is set on the last member."""
    kind = tarfile.PAX_FORMAT if "pax_headers" in info else tarfile.GNU_FORMAT
    with tarfile.open(path, "w", format=kind) as archive:
        everything = [*members]
        if sums:
            text = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members)
            everything.append(("SHA256SUMS", text.encode()))
        for number, (name, content) in enumerate(everything):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if number == len(members) - 1:
                for key, value in info.items():
                    setattr(member, key, value)
            if member.size == len(content):
                archive.addfile(member, io.BytesIO(content))
            else:  # it lies
                assert archive.fileobj is not None
                archive.fileobj.write(member.tobuf(tarfile.GNU_FORMAT) + content)
    return path


def manifest(**changes: int) -> tuple[str, bytes]:
    counts = {"events": 0, "deliveries": 0, "bodies": 0, "videos": 0, "bytes": 10_000} | changes
    return "capture.json", orjson.dumps({"format": "receiver-capture/1", **counts, "filter": {}})


NO_LINES = ("deliveries.jsonl", b"")
DIGEST = hashlib.sha256(b"x").hexdigest()
