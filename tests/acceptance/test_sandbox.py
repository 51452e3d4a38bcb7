"""The sandbox as its clients and receivers see it: over sockets, with the provider's own package."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from receiver.errors import UsageError
from receiver.sandbox.options import Behaviour, Options
from receiver.sandbox.server import serving
from receiver.sandbox.videos import find_ffmpeg

with warnings.catch_warnings():
    # The published package writes its models in a way that pydantic is about to drop.
    warnings.simplefilter("ignore", DeprecationWarning)
    import opennote

pytestmark = pytest.mark.anyio

KEY = "sk_opennote_test"
PROGRAM = "from receiver.cli.sandbox import sandbox; sandbox()"


class Told:
    """What the sandbox says, to be waited for."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()

    def __call__(self, name: str, fields: Mapping[str, object]) -> None:
        self.queue.put_nowait((name, dict(fields)))

    async def wait_for(self, name: str) -> dict[str, Any]:
        """Pass over everything up to the next one of that name."""
        async with asyncio.timeout(30):
            while True:
                told, fields = await self.queue.get()
                if told == name:
                    return fields


class Sandbox:
    """A running sandbox and a plain client of it."""

    def __init__(self, base_url: str, client: httpx.AsyncClient, told: Told) -> None:
        self.base_url = base_url
        self.client = client
        self.told = told

    async def create(self, **fields: object) -> str:
        answer = await self.client.post("/v1/video/create", json={"script": "Rain.", **fields})
        assert answer.status_code == 200, answer.text
        return cast(str, answer.json()["video_id"])

    async def completed(self, **fields: object) -> dict[str, Any]:
        """Create a video, wait until it is completed, and give its status answer."""
        video_id = await self.create(**fields)
        await self.told.wait_for("job.completed")
        return cast(dict[str, Any], (await self.client.get(f"/v1/video/status/{video_id}")).json())

    async def job(self, video_id: str) -> dict[str, Any]:
        jobs = (await self.client.get("/_sandbox/jobs")).json()
        return cast(dict[str, Any], next(job for job in jobs if job["video_id"] == video_id))


@asynccontextmanager
async def running(
    *, api_keys: tuple[str, ...] = (), delay: float = 0.0, retry_seconds: tuple[float, ...] = (0.0, 0.0)
) -> AsyncIterator[Sandbox]:
    behaviour = Behaviour(timedelta(seconds=delay), retry_seconds, timeout_seconds=5.0)
    options = Options(port=0, organization_id="org_1", api_keys=api_keys, behaviour=behaviour)
    headers, told = {"Authorization": f"Bearer {KEY}"}, Told()
    async with (
        serving(options, tell=told) as base_url,
        httpx.AsyncClient(base_url=base_url, headers=headers, trust_env=False) as client,
    ):
        yield Sandbox(base_url, client, told)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running() as sandbox:
        yield sandbox


class Hook:
    """A receiver of callbacks that answers with the given statuses, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.received: list[tuple[str, Message, bytes]] = []
        self.url = ""

    def answer(self, path: str, headers: Message, body: bytes) -> int:
        self.received.append((path, headers, body))
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


@contextmanager
def hooked(*statuses: int) -> Iterator[Hook]:
    hook = Hook(*statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = hook.answer(self.path, self.headers, body)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", hook.url + "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()


def sdk(sandbox: Sandbox) -> Any:
    return opennote.OpennoteClient(api_key=KEY, base_url=sandbox.base_url)


async def in_thread(call: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(call)


async def made(sandbox: Sandbox, video_id: str) -> bytes:
    """The bytes of the file that the sandbox made, checked against what it says about them."""
    content = (await sandbox.client.get(f"/_sandbox/videos/{video_id}")).content
    job = await sandbox.job(video_id)
    assert (job["bytes"], job["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    return content


def decode(content: bytes, tmp_path: Path) -> None:
    program = find_ffmpeg()
    if program is None:
        pytest.skip("needs ffmpeg, on PATH or from the package imageio-ffmpeg")
    (tmp_path / "video.mp4").write_bytes(content)
    command = [
        program,
        "-nostdin",
        "-v",
        "error",
        "-xerror",
        "-i",
        str(tmp_path / "video.mp4"),
        "-f",
        "null",
        "-",
    ]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


async def test_the_sdk_gets_a_video_by_link(sandbox: Sandbox, tmp_path: Path) -> None:
    client = sdk(sandbox)
    messages = [{"role": "user", "content": "Explain rain."}]
    created = await in_thread(
        lambda: client.video.create(
            messages=messages, title="Rain", upload_to_s3=True, include_sources=True, source_count=2
        )
    )
    assert created.success
    await sandbox.told.wait_for("job.completed")
    status = await in_thread(lambda: client.video.status(created.video_id))
    assert (status.status, status.completion_percentage, status.video_id) == (
        "completed",
        100,
        created.video_id,
    )
    assert (status.response.title, len(status.response.sources)) == ("Rain", 2)
    assert status.response.b64_video is None
    assert status.response.s3_url.startswith(sandbox.base_url)
    downloaded = (await sandbox.client.get(status.response.s3_url)).content
    assert downloaded == await made(sandbox, created.video_id)
    decode(downloaded, tmp_path)


async def test_the_sdk_gets_a_video_inline(sandbox: Sandbox, tmp_path: Path) -> None:
    client = sdk(sandbox)
    created = await in_thread(lambda: client.video.create(script="Rain.\n-----\nSnow."))
    await sandbox.told.wait_for("job.completed")
    status = await in_thread(lambda: client.video.status(created.video_id))
    assert status.response.s3_url is None
    assert status.response.transcript == "Rain.\n\nSnow."
    assert datetime.fromisoformat(status.response.timestamp).tzinfo == UTC
    content = base64.b64decode(status.response.b64_video, validate=True)
    assert content == await made(sandbox, created.video_id)
    decode(content, tmp_path)


async def test_the_sdk_sees_a_pending_video_make_progress() -> None:
    async with running(delay=60) as sandbox:
        client = sdk(sandbox)
        created = await in_thread(lambda: client.video.create(script="Rain."))
        status = await in_thread(lambda: client.video.status(created.video_id))
        assert (status.status, status.response) == ("pending", None)
        assert 0 <= status.completion_percentage < 50
        raw = (await sandbox.client.get(f"/v1/video/status/{created.video_id}")).json()
        assert raw["progress"] == raw["completion_percentage"] >= status.completion_percentage
        assert (await sandbox.client.get(f"/_sandbox/videos/{created.video_id}")).status_code == 404


async def test_the_sdk_names_its_errors(sandbox: Sandbox) -> None:
    client = sdk(sandbox)
    with pytest.raises(opennote.ValidationError, match="length"):
        await in_thread(lambda: client.video.create(script="Rain.", length=6))
    with pytest.raises(opennote.OpennoteAPIError, match="404"):
        await in_thread(lambda: client.video.status("unknown"))
    assert await in_thread(client._health) == "OK"


async def test_two_videos_differ(sandbox: Sandbox) -> None:
    one = await sandbox.completed(upload_to_s3=True)
    two = await sandbox.completed(upload_to_s3=True)
    assert await made(sandbox, one["video_id"]) != await made(sandbox, two["video_id"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ({"script": "  "}, None),
        ({"messages": []}, None),
        ({"script": "x" * 6001}, "script"),
        ({"script": 7}, "script"),
        ({"script": "x", "length": 0}, "length"),
        ({"script": "x", "length": 6}, "length"),
        ({"script": "x", "source_count": 0}, "source_count"),
        ({"script": "x", "source_count": 6}, "source_count"),
        ({"script": "x", "search_for": "y" * 101}, "search_for"),
        ({"script": "x", "model": "matisse"}, "model"),
        ({"script": "x", "upload_to_s3": "maybe"}, "upload_to_s3"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"script": "x", "webhook_url": "https://example.com/hook"}, "webhook_url"),
        ({"script": "x", "webhook_url": "not a url"}, "webhook_url"),
        ([], None),
        ("text", None),
    ],
)
async def test_wrong_input_is_422_and_makes_no_job(sandbox: Sandbox, body: object, field: str | None) -> None:
    answer = await sandbox.client.post("/v1/video/create", json=body)
    assert answer.status_code == 422
    problems = answer.json()["detail"]
    assert [problem["loc"][:2] for problem in problems] == [["body", field] if field else ["body"]]
    assert all(problem["msg"] and problem["type"] for problem in problems)
    assert (await sandbox.client.get("/_sandbox/jobs")).json() == []


async def test_what_is_not_json_is_422(sandbox: Sandbox) -> None:
    answer = await sandbox.client.post("/v1/video/create", content=b"{")
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "credentials",
    [None, "", "Bearer", f"Basic {KEY}", KEY, "Bearer other", f"Bearer {KEY}x", "Bearer cl\xe9"],
)
async def test_wrong_credentials_are_401(credentials: str | None) -> None:
    headers = [] if credentials is None else [(b"Authorization", credentials.encode("latin-1"))]
    async with (
        running(api_keys=("sk_older", KEY)) as sandbox,
        httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False) as client,
    ):
        answers = [
            await client.post("/v1/video/create", json={"script": "x"}, headers=headers),
            await client.get("/v1/video/status/any", headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [401, 401]
        assert all(set(answer.json()) == {"error", "message"} for answer in answers)
        assert await sandbox.create()


async def test_a_callback_carries_the_documented_headers_and_the_status_answer(sandbox: Sandbox) -> None:
    with hooked(200) as hook:
        video_id = await sandbox.create(upload_to_s3=True, webhook_url=hook.url + "?a=1")
        told = await sandbox.told.wait_for("callback.delivered")
        [(path, headers, body)] = hook.received
    assert (told["video_id"], told["status"], path) == (video_id, 200, "/hook?a=1")
    assert headers["Content-Type"] == "application/json"
    assert {name: headers.get_all(name) for name in headers if name.startswith("X-")} == {
        "X-Request-Id": [video_id],
        "X-Webhook-Platform": ["opennote-api"],
        "X-Origin": ["https://video.api.opennote.com"],
        "X-Organization-Id": ["org_1"],
        "X-API-Key": [KEY],
    }
    assert json.loads(body) == (await sandbox.client.get(f"/v1/video/status/{video_id}")).json()
    [seen] = (await sandbox.job(video_id))["callbacks"]
    assert seen["status"] == 200
    assert datetime.fromisoformat(seen["at"]).tzinfo == UTC


async def test_a_callback_carries_an_inline_video(sandbox: Sandbox) -> None:
    with hooked(200) as hook:
        video_id = await sandbox.create(webhook_url=hook.url)
        await sandbox.told.wait_for("callback.delivered")
        [(_, _, body)] = hook.received
    assert base64.b64decode(json.loads(body)["response"]["b64_video"]) == await made(sandbox, video_id)


async def test_a_callback_is_repeated_until_it_is_answered_with_2xx(sandbox: Sandbox) -> None:
    with hooked(500, 302, 204) as hook:
        video_id = await sandbox.create(webhook_url=hook.url)
        await sandbox.told.wait_for("callback.delivered")
        assert [path for path, _, _ in hook.received] == ["/hook"] * 3, "redirects are not followed"
        assert len({body for _, _, body in hook.received}) == 1
    assert [one["status"] for one in (await sandbox.job(video_id))["callbacks"]] == [500, 302, 204]


async def test_a_callback_is_given_up_in_the_end(sandbox: Sandbox) -> None:
    with hooked(500) as hook:
        video_id = await sandbox.create(webhook_url=hook.url)
        told = await sandbox.told.wait_for("callback.abandoned")
        assert (told["video_id"], told["tries"], len(hook.received)) == (video_id, 3, 3)


async def test_a_receiver_that_is_not_there_is_an_error_in_the_list(sandbox: Sandbox) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://localhost:{unused.getsockname()[1]}/"
        video_id = await sandbox.create(webhook_url=url)
        await sandbox.told.wait_for("callback.abandoned")
    tries = (await sandbox.job(video_id))["callbacks"]
    assert len(tries) == 3
    assert all("ConnectError" in one["error"] and "status" not in one for one in tries)


def test_the_waits_between_tries_double_from_a_second() -> None:
    assert Behaviour().retry_seconds == (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


async def test_the_file_host_answers_ranges(sandbox: Sandbox) -> None:
    status = await sandbox.completed(upload_to_s3=True)
    url, content = status["response"]["s3_url"], await made(sandbox, status["video_id"])
    whole = await sandbox.client.get(url)
    size, etag = len(content), whole.headers["ETag"]
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert etag == f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'

    async def get(**headers: str) -> httpx.Response:
        return await sandbox.client.get(
            url, headers={name.replace("_", "-"): v for name, v in headers.items()}
        )

    part = await get(Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{size}"
    assert part.headers["ETag"] == etag
    assert (await get(Range="bytes=-5")).content == content[-5:]
    rest = await get(Range=f"bytes={size - 7}-", If_Range=etag)
    assert (rest.status_code, rest.content) == (206, content[-7:])
    dated = await get(Range="bytes=0-0", If_Range=whole.headers["Last-Modified"])
    assert dated.content == content[:1]
    for stale in ('"other"', f"W/{etag}", "Thu, 01 Jan 1970 00:00:00 GMT"):
        other = await get(Range="bytes=0-0", If_Range=stale)
        assert (other.status_code, other.content) == (200, content)
    beyond = await get(Range=f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")


async def test_the_file_host_answers_head(sandbox: Sandbox) -> None:
    status = await sandbox.completed(upload_to_s3=True)
    answer = await sandbox.client.head(status["response"]["s3_url"], headers={"Range": "bytes=0-0"})
    assert answer.status_code == 200
    assert int(answer.headers["Content-Length"]) == len(await made(sandbox, status["video_id"]))
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.content == b""


async def test_a_missing_key_is_an_s3_error(sandbox: Sandbox) -> None:
    inline = await sandbox.completed(upload_to_s3=False)
    for key in ("none.mp4", f"{inline['video_id']}.mp4", "<&>.mp4", "a/../b"):
        answer = await sandbox.client.get(f"/videofs/{key}")
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/xml")
        assert answer.text.startswith("<?xml")
        assert "<Error><Code>NoSuchKey</Code>" in answer.text
        assert "<&>" not in answer.text


def test_the_files_are_gone_when_the_sandbox_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def count_while_running() -> int:
        async with running() as sandbox:
            await sandbox.completed()
            return await asyncio.to_thread(lambda: len(list(tmp_path.glob("*/*.mp4"))))

    assert asyncio.run(count_while_running()) == 1
    assert list(tmp_path.iterdir()) == []


async def test_a_sandbox_ends_while_jobs_and_callbacks_are_open() -> None:
    async with asyncio.timeout(10):
        async with running(retry_seconds=(600.0,)) as sandbox:
            with hooked(500) as hook:
                await sandbox.create(webhook_url=hook.url)
                await sandbox.told.wait_for("callback.failed")
                await sandbox.create()


async def test_a_port_in_use_is_one_clear_line() -> None:
    async with running() as sandbox:
        port = httpx.URL(sandbox.base_url).port
        assert port is not None
        with pytest.raises(UsageError, match=f"^port {port} is in use: choose another with --port.*$"):
            async with serving(Options(port=port)):
                pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_is_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, "--port", "0", "--delay", "0s", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url = json.loads(process.stdout.readline())["base_url"]
        headers = {"Authorization": "Bearer any"}
        with httpx.Client(base_url=base_url, headers=headers, trust_env=False) as client:
            video_id = client.post("/v1/video/create", json={"script": "x"}).json()["video_id"]
        process.send_signal(number)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest) == (0, "")
    lines = [json.loads(line) for line in errors.splitlines()]
    assert lines[0] == {"event": "job.created", "video_id": video_id, "title": "x", "webhook_url": None}


def test_the_command_for_people_gives_lines_to_copy() -> None:
    command = [sys.executable, "-c", PROGRAM, "--port", "0", "--api-key", "it's"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, curl = process.stdout.readline(), process.stdout.readline().partition("curl: ")[2]
        assert first.startswith("sandbox at http://127.0.0.1:")
        copied = subprocess.run(["bash", "-c", curl], capture_output=True, timeout=20, check=True)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert json.loads(copied.stdout)["success"] is True


@pytest.mark.parametrize("arguments", [["--delay", "soon"], ["--port", "70000"], ["--nonsense"]])
def test_wrong_options_end_with_status_2(arguments: list[str]) -> None:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert arguments[0] in ended.stderr
