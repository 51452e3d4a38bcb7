"""A callback of 200 MB: flat memory in every process, the right file, the same bytes back."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import (
    NO_TLS,
    Receiver,
    a_video,
    callback,
    children_of,
    headers,
    peak_memory,
)

BODY_BYTES = 200_000_000
GROWTH_BYTES = 64 * 2**20
_PIECE = 3 * 2**18


@dataclass
class BigCallback:
    """A callback that is made while it is sent, and hashed while it is made."""

    video_id: str
    seed: int
    size: int = BODY_BYTES
    body: Any = field(default_factory=hashlib.sha256)
    video: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        payload = json.dumps(callback(self.video_id, video=b"***"))
        self.before, _, self.after = (
            part.encode() for part in payload.partition(base64.b64encode(b"***").decode())
        )
        self.pieces = (self.size - len(self.before) - len(self.after)) // (_PIECE // 3 * 4)

    def __len__(self) -> int:
        return len(self.before) + self.pieces * (_PIECE // 3 * 4) + len(self.after)

    def __iter__(self) -> Iterator[bytes]:
        numbers = random.Random(self.seed)
        for part in self._parts(numbers):
            self.body.update(part)
            yield part

    def _parts(self, numbers: random.Random) -> Iterator[bytes]:
        yield self.before
        head = a_video()
        for _ in range(self.pieces):
            piece = head + numbers.randbytes(_PIECE - len(head))
            head = b""
            self.video.update(piece)
            yield base64.b64encode(piece)
        yield self.after


def peaks(receiver: Receiver) -> dict[str, int]:
    """The peak memory of each process of a receiver, by what it is."""
    found = {"ingress": peak_memory(receiver.pid)}
    for pid, line in children_of(receiver.pid).items():
        found["store" if "receiver.store.process" in line else "worker"] = peak_memory(pid)
    return found


def sha256_of_raw(receiver: Receiver, event: str) -> str:
    """The checksum of what `show --raw` writes."""
    command = [sys.executable, "-m", "receiver", "--config", str(receiver.config), "show", event, "--raw"]
    digest = hashlib.sha256()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(1 << 20):
            digest.update(piece)
    assert process.returncode == 0
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.fault("B2")
def test_200_megabytes_inline_need_little_memory_and_arrive_unharmed(receiver: Receiver) -> None:
    receiver.start().ready()
    receiver.accepted(callback("small", video=a_video()))
    receiver.settled(count=1)
    before = peaks(receiver)
    assert set(before) == {"ingress", "store", "worker"}
    big = {"with-length": BigCallback("with-length", 1), "chunked": BigCallback("chunked", 2)}
    answers = {}
    with httpx.Client(verify=NO_TLS, trust_env=False, timeout=120) as client:
        for name, content in big.items():
            length = {"Content-Length": str(len(content))} if name == "with-length" else {}
            url = f"{receiver.url}/webhooks/opennote"
            request = client.build_request("POST", url, content=iter(content), headers=headers(**length))
            assert ("Transfer-Encoding" in request.headers) is (name == "chunked")
            answers[name] = client.send(request)
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(big, 200)
    events = {event["video_id"]: event for event in receiver.settled(count=3, seconds=60)}
    growth = {name: now - before[name] for name, now in peaks(receiver).items()}
    assert all(grown < GROWTH_BYTES for grown in growth.values()), growth
    for name, content in big.items():
        assert events[name]["bytes"] == len(content) > BODY_BYTES * 0.99
        assert sha256_of_raw(receiver, events[name]["id"]) == content.body.hexdigest()
        with (receiver.videos / f"A title-{name}.mp4").open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == content.video.hexdigest()
    described = json.loads((receiver.videos / "A title-chunked.json").read_text())
    assert described["sha256"] == big["chunked"].video.hexdigest()
    assert receiver.halves() == []


@pytest.mark.fault("B1")
def test_small_large_and_too_large_bodies_are_told_apart(receiver: Receiver) -> None:
    receiver.configure('[server]\nmax_body = "1MiB"\n').start("--no-worker")
    bodies = {}
    for size in (65_535, 65_536, 65_537, 2**20):
        head = b'{ "status":"pending",\n "video_id": "%d", "n": 1.50, "text": "\\u00e9' % size
        body = head + b"x" * (size - len(head) - 2) + b'"}'
        answer = receiver.post(body)
        assert answer.status_code == 200
        bodies[answer.json()["event"]] = body
    too_large = json.dumps(callback("v1", video=b"x" * 2**20)).encode()
    url = f"{receiver.url}/webhooks/opennote"
    with httpx.Client(verify=NO_TLS, trust_env=False, timeout=30) as client:
        declared = client.post(url, content=too_large, headers=headers())
        streamed = client.post(url, content=iter([too_large[: 2**19], too_large[2**19 :]]), headers=headers())
    assert (declared.status_code, streamed.status_code) == (413, 413)
    assert {event["id"]: event["bytes"] for event in receiver.events()} == {
        event: len(body) for event, body in bodies.items()
    }
    kept = [path for path in (receiver.folder / "data" / "bodies").rglob("*") if path.is_file()]
    assert sorted(path.stat().st_size for path in kept) == [65_537, 2**20], "up to 64 KiB it lies in the row"
    for event, body in bodies.items():
        assert sha256_of_raw(receiver, event) == hashlib.sha256(body).hexdigest()
