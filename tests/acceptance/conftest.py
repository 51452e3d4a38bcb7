"""The real program in a folder of its own, started and looked at as its user would; and a file host."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpx
import pytest

from receiver.sandbox.videos import find_ffmpeg
from receiver.store import opened
from receiver.store.base import Store
from receiver.store.values import EventFilter
from receiver.views import View, event_story, event_view, to_json

if TYPE_CHECKING:
    from tests.acceptance.asking import Asking

ORGANIZATION = "org_acceptance"
KEY = "key_acceptance_0123456789"
PATIENCE_SECONDS = 60.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak HTTP: to read the authorities for each would take longer than its requests."""
PROGRAM = (sys.executable, "-P", "-m", "receiver")
"""As the installed command does, it imports nothing from the working directory."""

Event = dict[str, Any]
Given = TypeVar("Given")
Got = TypeVar("Got")
_ENDINGS = ("job.finished", "job.retried", "job.failed", "job.cancelled")
_CONFIGURATION = f"""\
{{top}}
[sources.opennote]
kind = "opennote"
organization_id = "{ORGANIZATION}"
api_keys = ["{KEY}"]
s3_base_url = "{{s3_base_url}}"
{{more}}
"""


def until(look: Callable[[], Got], *, seconds: float = PATIENCE_SECONDS, what: str = "") -> Got:
    """Look again and again until something true is seen, and return it; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what or getattr(look, '__name__', look)}")
        time.sleep(0.02)
    return seen


def is_running(pid: int) -> bool:
    """Whether a process still does anything; a dead one that nobody has asked for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def children_of(pid: int) -> dict[int, str]:
    """The children of a process and theirs, each with its command line."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread or a child that ends meanwhile
            for child in map(int, task.read_text().split()):
                command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                found |= {child: command} | children_of(child)
    return found


def processes_in(folder: Path) -> list[str]:
    """The command lines of what runs in a folder; every process of a receiver starts in its caller's."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(folder) and is_running(int(entry.name)):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def peak_memory(pid: int) -> int:
    """The most memory that a process ever had resident, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def headers(video_id: str | None = None, **other: str) -> dict[str, str]:
    """The headers of a callback that is believed; keyword arguments replace or add some."""
    named = {name.replace("_", "-"): value for name, value in other.items()}
    believed = {
        "Content-Type": "application/json",
        "X-Webhook-Platform": "opennote-api",
        "X-Origin": "https://video.api.opennote.com",
        "X-Organization-Id": ORGANIZATION,
        "X-API-Key": KEY,
    }
    return believed | ({} if video_id is None else {"X-Request-Id": video_id}) | named


def callback(
    video_id: str,
    status: str = "completed",
    *,
    video: bytes | None = None,
    url: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A status object; `more` goes into the response of a completed one."""
    payload: dict[str, Any] = {"success": status != "failed", "status": status, "video_id": video_id}
    if status == "failed":
        payload |= {"error": "generation_failed", "message": "it could not be made"}
    if status == "completed":
        inline = None if video is None else base64.b64encode(video).decode()
        payload["response"] = {"success": True, "s3_url": url, "b64_video": inline, "title": "A title"} | more
    return payload


def a_video(mark: str = "", *, padding: int = 0) -> bytes:
    """A small playable file; a mark or padding makes it another one (a `free` box at its end)."""
    sample = resources.files("receiver.sandbox").joinpath("sample.mp4").read_bytes()
    box = b"free" + mark.encode() + bytes(padding)
    return sample + (len(box) + 4).to_bytes(4, "big") + box if mark or padding else sample


def decode(path: Path) -> None:
    """Decode every frame of a video; fail with what ffmpeg complains about."""
    program = find_ffmpeg()
    if program is None:
        pytest.skip("needs ffmpeg, on PATH or from the package imageio-ffmpeg")
    command = [program, "-nostdin", "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command did."""

    status: int
    stdout: str
    stderr: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def complaints(self) -> list[str]:
        """The lines of standard error that are for people, not the log."""
        return [line for line in self.stderr.splitlines() if not line.startswith("{")]


def run(
    *arguments: str | Path,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    seconds: float = 60,
    given: bytes = b"",
) -> Ended:
    """Run `receiver …` in a folder to its end; without variables of the caller's that would configure it."""
    ended = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        cwd=folder,
        env=_environment(environment),
        input=given,
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def listed(database: Path) -> list[Event]:
    """What `receiver events` lists of all events, without a process for each time that a test looks."""
    rows = _asked(database, lambda store: store.events(EventFilter(), limit=10_000, before=None))
    return [_as_printed(event_view(row)) for row in rows]


def _asked(database: Path, question: Callable[[Store], Awaitable[Got]]) -> Got:
    async def ask() -> Got:
        async with opened(database, lease_seconds=60) as store:
            return await question(store)

    # In a thread, as the test that asks may run a loop of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(ask())).result()


def _as_printed(view: View) -> Event:
    """What a program reads that reads JSON lines."""
    printed: Event = json.loads(to_json(view))
    return printed


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    return {**inherited, "PYTHONUNBUFFERED": "1", **(more or {})}


@dataclass
class Receiver:
    """One configuration in a folder, and the `serve` that runs on it, if one does."""

    folder: Path
    environment: Mapping[str, str] | None = None
    url: str = ""
    process: subprocess.Popen[bytes] | None = None
    former: list[subprocess.Popen[bytes]] = field(default_factory=list)
    has_file: bool = True
    """Whether it is configured by a file, not by the environment alone."""
    listener: socket.socket | None = None
    """What `serve` inherits to listen on; without it, it takes any free port."""

    @property
    def config(self) -> Path:
        return self.folder / "receiver.toml"

    @property
    def _config_option(self) -> list[str]:
        return ["--config", str(self.config)] if self.has_file else []

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    @property
    def log_file(self) -> Path:
        return self.folder / "serve.log"

    def configure(
        self, more: str = "", *, top: str = "", s3_base_url: str = "http://127.0.0.1:9/videofs"
    ) -> Receiver:
        """Write the configuration: a source, and TOML tables before and after it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(_CONFIGURATION.format(top=top, more=more, s3_base_url=s3_base_url))
        self.config.chmod(0o600)
        return self

    def handler(self, source: str, *, name: str = "hooks.py") -> Path:
        """Write a handler file beside the configuration."""
        path = self.folder / name
        path.write_text(source)
        return path

    # The server.

    def begin(self, *options: str | Path) -> Receiver:
        """Start `receiver serve` without waiting for anything."""
        inherited = [] if self.listener is None else [self.listener.fileno()]
        where = ["--fd", *map(str, inherited)] if inherited else ["--port", "0"]
        command = [*self._config_option, "serve", *where, "--json", *options]
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                [*PROGRAM, *map(str, command)],
                cwd=self.folder,
                # Tests share the processors: workers that are idle to the kernel would starve beside them.
                env=_environment({"RECEIVER_WORKER__PRIORITY": "normal", **(self.environment or {})}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=inherited,
            )
        self.process = process
        self.former.append(process)
        return self

    def start(self, *options: str | Path) -> Receiver:
        """Start `receiver serve` and wait until callbacks are welcome."""
        process = self.begin(*options).process
        assert process is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"serve ended with {process.wait()}: {self.log_file.read_text()[-2000:]}"
        self.url = json.loads(line)["url"]
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def child(self, module: str) -> int:
        """The pid of the store (`receiver.store.process`) or of a worker (`receiver.worker`)."""
        return until(
            lambda: next((pid for pid, line in children_of(self.pid).items() if f"-m {module} " in line), 0),
            what=f"a child that runs {module}",
        )

    def family(self, *, workers: int = 1) -> dict[int, str]:
        """All child processes, as soon as they are there: the store, the workers and the poller."""

        def look() -> dict[int, str]:
            children = children_of(self.pid)
            return children if any("-m receiver.poll " in line for line in children.values()) else {}

        children = until(look, what="the poller")
        assert len(children) == workers + 2, children
        return children

    def ready(self) -> Receiver:
        """Wait until a worker is alive."""
        with httpx.Client(verify=NO_TLS, trust_env=False) as client:
            until(lambda: client.get(f"{self.url}/readyz").status_code == 200, what="ready")
        return self

    def stop(self, number: signal.Signals = signal.SIGINT, *, seconds: float = 30) -> int:
        """Send a signal, wait for the end, and give the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait(seconds=seconds)

    def wait(self, *, seconds: float = 30) -> int:
        """Wait for the end of the server."""
        assert self.process is not None
        status = self.process.wait(seconds)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return status

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever of it still runs."""
        for process in self.former:
            if process.poll() is None:
                process.terminate()
        for process in self.former:
            try:
                process.wait(30)
            finally:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()

    # Its callbacks.

    def post(self, payload: Mapping[str, Any] | bytes, **changes: str) -> httpx.Response:
        """Post one callback that is believed; keyword arguments change headers."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        url = f"{self.url}/webhooks/opennote"
        given = headers(**changes)
        return httpx.post(url, content=body, headers=given, verify=NO_TLS, trust_env=False, timeout=60)

    def accepted(self, payload: Mapping[str, Any]) -> str:
        """Post a callback, see it accepted as news, and give the event's id."""
        answer = self.post(payload)
        assert (answer.status_code, answer.json()["status"]) == (200, "accepted"), answer.text
        return cast(str, answer.json()["event"])

    # What is known about it.

    def run(self, *arguments: str | Path, seconds: float = 60, given: bytes = b"") -> Ended:
        """Run another command on the same configuration; `given` is its standard input."""
        return run(
            *self._config_option,
            *arguments,
            folder=self.folder,
            environment=self.environment,
            seconds=seconds,
            given=given,
        )

    def look(self, *arguments: str | Path) -> list[dict[str, Any]]:
        """Run a command with `--json` that has to go well, and give the objects that it prints."""
        ended = self.run(*arguments, "--json")
        assert ended.status == 0, ended.stderr
        return ended.objects

    def events(self, *filters: str) -> list[Event]:
        """What `receiver events` lists."""
        if filters or not self._database.exists():
            return self.look("events", *(filters or ("--limit", "10000")))
        return listed(self._database)

    def show(self, event: str) -> Event:
        """What `receiver show` says about an event."""
        if not self._database.exists():
            (shown,) = self.look("show", event)
            return shown
        row = _asked(self._database, lambda store: store.event(event))
        return _as_printed(event_story(row, reveals=True))

    @property
    def _database(self) -> Path:
        """Where it is unless a test says otherwise."""
        return self.folder / "data" / "receiver.db"

    def settled(
        self, *, count: int, of: Collection[str] = (), seconds: float = PATIENCE_SECONDS
    ) -> list[Event]:
        """Wait until there are so many events (of these videos, if named) whose jobs have all ended."""

        def look() -> list[Event]:
            self._wait_for_a_quiet_log()
            events = [event for event in self.events() if not of or event["video_id"] in of]
            states = {job["state"] for event in events for job in event["jobs"]}
            return events if len(events) >= count and states <= {"done", "dead", "cancelled"} else []

        return until(look, seconds=seconds, what=f"{count} events with their jobs ended")

    def _wait_for_a_quiet_log(self) -> None:
        """Wait, a second at most, until what was started has ended: looking costs a process each time."""
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            started, ended = len(self.log("job.started")), len(self.log(*_ENDINGS))
            if started and started == ended:
                return
            time.sleep(0.02)

    def log(self, *names: str) -> list[dict[str, Any]]:
        """The complete lines of the log so far with these event names."""
        lines = self.log_file.read_text().splitlines(keepends=True)
        # Tests look at it again and again: only what may be meant is worth to be read as JSON.
        meant = [line for line in lines if any(f'"{name}"' in line for name in names)]
        said = [json.loads(line) for line in meant if line.startswith("{") and line.endswith("}\n")]
        return [line for line in said if line["event"] in names]

    def logged(self, name: str, *, count: int = 1, seconds: float = PATIENCE_SECONDS) -> list[dict[str, Any]]:
        """Wait until something was logged so many times."""

        def look() -> list[dict[str, Any]]:
            said = self.log(name)
            return said if len(said) >= count else []

        return until(look, seconds=seconds, what=f"{count} × {name} in the log")

    def files(self, *of: str) -> dict[str, bytes]:
        """The finished videos (of these video ids, if named) by file name.

        Nothing but they, their descriptions, thumbnails and the notes may lie in the folder.
        """
        paths = sorted(self.videos.iterdir()) if self.videos.is_dir() else []
        visible = [path for path in paths if path.name != ".receiver"]
        assert all(path.suffix in (".mp4", ".json", ".jpg") and path.is_file() for path in visible), visible
        return {
            path.name: path.read_bytes()
            for path in visible
            if path.suffix == ".mp4" and (not of or path.stem.rpartition("-")[2] in of)
        }

    def halves(self) -> list[Path]:
        """What is being written, or was left half written."""
        return list((self.videos / ".receiver" / "partial").glob("*"))


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[Callable[..., Receiver]]:
    """Make receivers, each configured in a folder of its own, and end them with the test."""
    numbers = count()
    with ExitStack() as stack:

        def make(more: str = "", *, folder: Path | None = None, **others: Any) -> Receiver:
            receiver = Receiver(folder or tmp_path / f"receiver{next(numbers)}")
            return stack.enter_context(receiver).configure(more, **others)

        yield make


@pytest.fixture
def receiver(receivers: Callable[..., Receiver]) -> Receiver:
    """A receiver with the default handlers, configured and not yet started."""
    return receivers()


@pytest.fixture
def open_receiver(receivers: Callable[..., Receiver]) -> Receiver:
    """A running receiver whose API is on."""
    from tests.acceptance.asking import ADMIN

    return receivers(top=ADMIN).start()


@pytest.fixture
def asking(open_receiver: Receiver) -> Asking:
    """A client of its API."""
    from tests.acceptance.asking import Asking

    return Asking(open_receiver)


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of a few megabytes: 12, unless the test says otherwise."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', '12m')}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs a kernel that lets root mount: {mounted.stderr.strip()}")
    yield folder
    until(lambda: subprocess.run(["umount", str(folder)], check=False).returncode == 0)


class FileHost:
    """A file host on loopback: content by path, answers of its own by path, and who asked."""

    def __init__(self) -> None:
        self.base = ""
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        """How many more times a file ends after half of what was announced."""
        self.statuses: dict[str, int] = {}
        self.asked: list[str] = []

    def give(self, name: str, content: bytes) -> str:
        """Host a file below the base, and say its URL."""
        self.files[f"/videofs/{name}"] = content
        return f"{self.base}/{name}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.asked.append(path)
        content = self.files.get(path)
        status = self.statuses.get(path, 404 if content is None else 200)
        request.send_response(status)
        body = content if content is not None and status == 200 else b""
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.cut.get(path, 0):
            self.cut[path] -= 1
            body = body[: len(body) // 2]
            request.close_connection = True
        request.wfile.write(body)


@contextmanager
def hosting() -> Iterator[FileHost]:
    """Host files on a free port until the end of the block."""
    host = FileHost()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        host.base = f"http://127.0.0.1:{server.server_port}/videofs"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield host
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def file_host() -> Iterator[FileHost]:
    """A file host that ends with the test."""
    with hosting() as host:
        yield host


def each(action: Callable[[Given], Got], given: Iterable[Given]) -> list[Got]:
    """Do the same with several things at the same time."""
    return together([partial(action, one) for one in given])


def together(actions: Iterable[Callable[[], Got]]) -> list[Got]:
    """Do several things at the same time, each in a thread, and give their results in order."""
    listed = list(actions)
    with ThreadPoolExecutor(max(1, len(listed))) as threads:
        return [future.result() for future in [threads.submit(action) for action in listed]]
