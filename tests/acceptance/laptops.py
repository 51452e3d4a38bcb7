"""A laptop that follows a receiver: a folder in which listening is started, killed and started again."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from tests.acceptance.asking import TOKEN
from tests.acceptance.conftest import PROGRAM, Receiver, a_video, callback, each, listed, processes_in, until

ALL = '"video.completed", "video.failed", "video.progress", "video.unknown"'
HOOKS = f"""
import os
from receiver import Event, Router

router = Router(name="hooks")


@router.on({ALL})
def note(event: Event) -> None:
    descriptor = os.open("handled", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{{event.id}} {{len(event.open_body().read())}}\\n".encode())
    os.close(descriptor)


@router.on("video.failed")
def fail(event: Event) -> None:
    raise RuntimeError("a handler that fails blocks nothing")
"""
CONFIGURATION = '[handlers]\nload = ["hooks.py"]\n'
SOURCE = '\n[sources.local]\nkind = "opennote"\norganization_id = "o"\napi_keys = ["key_0123456789abcdef"]\n'


@dataclass
class Laptop:
    """A configuration without any source, and the processes that listen in its folder."""

    folder: Path
    origin: Receiver
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.configure(CONFIGURATION)
        (self.folder / "hooks.py").write_text(HOOKS)
        (self.folder / "token").write_text(TOKEN + "\n")

    def configure(self, text: str) -> None:
        (self.folder / "receiver.toml").write_text(text)

    @property
    def log(self) -> Path:
        return self.folder / "listen.log"

    @property
    def said(self) -> Path:
        return self.folder / "said"

    def start(self, *options: str, url: str = "") -> subprocess.Popen[bytes]:
        """Start listening, and wait for nothing."""
        command = [*PROGRAM, "--json", "listen", url or self.origin.url, "--token-file", "token", *options]
        with self.log.open("ab") as log, self.said.open("ab") as said:
            process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=said, stderr=log
            )
        self.processes.append(process)
        return process

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """End the last one with a signal; its exit status."""
        process = self.processes[-1]
        process.send_signal(number)
        return process.wait(30)

    def end(self) -> None:
        """End whatever still listens."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
                process.wait(30)
        until(lambda: not processes_in(self.folder), what="an end of its processes")

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run a server of its own in the folder."""
        process = subprocess.Popen(
            [*PROGRAM, "--json", "serve", "--port", "0"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline()
            yield
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()

    # What is known about it.

    def events(self) -> list[dict[str, Any]]:
        """What `receiver events` lists here."""
        return listed(self.folder / "data" / "receiver.db")

    def ids(self) -> list[str]:
        """The ids of all events here, sorted."""
        return sorted(event["id"] for event in self.events())

    def states(self, handler: str) -> list[str]:
        """The states of all jobs of a handler."""
        jobs = [job for event in self.events() for job in event["jobs"]]
        return [job["state"] for job in jobs if job["handler"] == handler]

    def outcomes(self) -> list[str]:
        """What was said of each event, so far; a line that a kill cut off is none."""
        lines = self.said.read_text().splitlines() if self.said.exists() else []
        found = []
        for line in lines:
            with suppress(json.JSONDecodeError, TypeError):
                found.append(json.loads(line)["outcome"])
        return found

    def logged(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        said = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in said if line["event"] == name]

    def handled(self) -> list[str]:
        """The events that the handler has run on, in its order."""
        file = self.folder / "handled"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []

    def hears(self, count: int, *, seconds: float = 40) -> None:
        """Wait until so many events were recorded or known."""
        until(lambda: len(self.outcomes()) >= count, seconds=seconds, what=f"{count} events")

    def handles(self, events: Sequence[str], *, seconds: float = 60) -> None:
        """Wait until all these events were handled."""
        until(lambda: {*self.handled()} >= {*events}, seconds=seconds, what="all events handled")

    def connects(self, times: int = 1, *, seconds: float = 40) -> None:
        """Wait until it was connected so often."""

        def look() -> bool:
            assert self.processes[-1].poll() is None, self.log.read_text()[-2000:]
            return len(self.logged("listener.connected")) >= times

        until(look, seconds=seconds, what=f"connected {times} times")


class SlowLink:
    """A relay to a receiver that lets a few kilobytes pass at a time, as long as it is slow."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.is_slow = True
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                Thread(target=self._relay, args=(near,), daemon=True).start()

    def _relay(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._port)) as far:
            back = Thread(target=self._pass_on, args=(far, near, 4096), daemon=True)
            back.start()
            self._pass_on(near, far, 65536)
            back.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, most: int) -> None:
        with suppress(OSError):
            while piece := source.recv(most):
                target.sendall(piece)
                time.sleep(0.01 if self.is_slow else 0)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


Laptops = Callable[[], Laptop]


def post(receiver: Receiver, count: int, *, prefix: str = "v") -> list[str]:
    """Post callbacks, some of them large; the ids of their events."""
    chance = random.Random(prefix)
    paddings = [chance.randrange(100_000, 400_000) for _ in range(count)]

    def accepted(number: int) -> str:
        name = f"{prefix}{number}"
        if number % 25 == 3:
            return receiver.accepted(callback(name, video=a_video(name, padding=paddings[number])))
        return receiver.accepted(callback(name, ("failed", "completed", "pending", "odd")[number % 4]))

    return each(accepted, range(count))
