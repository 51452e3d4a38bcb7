"""A listening socket that somebody else holds: `serve` takes it over, and a restart refuses nobody."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Receiver, callback, headers, until

RATE = 100


@pytest.fixture
def held(receiver: Receiver) -> Iterator[socket.socket]:
    """A socket that the receiver listens on and that we hold, as systemd would."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        receiver.listener = listener
        yield listener


def sockets_of(pid: int) -> set[str]:
    """The sockets that a process has open."""
    links = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    return {link for link in links if link.startswith("socket:")}


class Senders:
    """Callbacks at a fixed rate, each over a connection of its own, until they are told to stop."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send_all()))
        self.sent = 0
        self.answers: dict[str, str] = {}
        """Video → the first line of the answer, or how it failed."""

    def __enter__(self) -> Senders:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(60)

    def more(self, number: int) -> None:
        """Wait for so many more answers."""
        goal = len(self.answers) + number
        until(lambda: len(self.answers) >= goal, what=f"{number} more answers")

    async def _send_all(self) -> None:
        sending = set()
        begin = asyncio.get_running_loop().time()
        while not self._is_over.is_set():
            sending.add(asyncio.create_task(self._send(f"v{self.sent}")))
            self.sent += 1
            await asyncio.sleep(begin + self.sent / RATE - asyncio.get_running_loop().time())
        await asyncio.wait(sending)

    async def _send(self, video_id: str) -> None:
        body = json.dumps(callback(video_id, "failed")).encode()
        fields = headers(video_id) | {"Content-Length": str(len(body)), "Connection": "close"}
        lines = [f"{name}: {value}" for name, value in fields.items()]
        head = "\r\n".join(["POST /webhooks/opennote HTTP/1.1", "Host: x", *lines, "", ""]).encode()
        try:
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.write(head + body)
                answer = await reader.read()
            writer.close()
            self.answers[video_id] = answer.partition(b"\r\n")[0].decode()
        except (OSError, TimeoutError) as error:
            self.answers[video_id] = repr(error)


@pytest.mark.slow
def test_a_restart_refuses_no_callback_and_loses_none(receiver: Receiver, held: socket.socket) -> None:
    receiver.start("--no-worker")
    with Senders(held.getsockname()[1]) as senders:
        for number in (signal.SIGTERM, signal.SIGINT):
            senders.more(RATE // 4)
            before = senders.sent
            assert receiver.stop(number) == 0
            assert senders.sent > before, "they go on meanwhile"
            receiver.start("--no-worker")
        senders.more(RATE // 4)
    assert len(senders.answers) == senders.sent
    failed = {video: said for video, said in senders.answers.items() if said != "HTTP/1.1 200 OK"}
    assert failed == {}
    recorded = [event["video_id"] for event in receiver.events("--limit", "10000")]
    assert sorted(recorded) == sorted(senders.answers)


def test_no_child_inherits_the_listener(receiver: Receiver, held: socket.socket) -> None:
    receiver.start().ready()
    assert receiver.url.endswith(f":{held.getsockname()[1]}")
    ours = str(Path(f"/proc/self/fd/{held.fileno()}").readlink())
    assert ours in sockets_of(receiver.pid)
    children = receiver.family()
    assert [line for pid, line in children.items() if ours in sockets_of(pid)] == []


def test_a_descriptor_that_is_no_listening_tcp_socket_is_one_clear_line_and_status_2(
    receiver: Receiver, tmp_path: Path
) -> None:
    with (
        socket.socket() as silent,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as local,
        (tmp_path / "file").open("w") as file,
    ):
        silent.bind(("127.0.0.1", 0))
        datagrams.bind(("127.0.0.1", 0))
        local.bind(str(tmp_path / "local"))
        local.listen()
        for unfit in (silent, datagrams, local, file):
            receiver.listener = unfit  # type: ignore[assignment]
            assert receiver.begin().wait() == 2
    complaints = receiver.log_file.read_text().splitlines()
    assert len(complaints) == 4, complaints
    assert all("can't listen on descriptor " in line for line in complaints)
    assert not (receiver.folder / "data").exists()
    ended = receiver.run("serve", "--fd", "99")
    assert (ended.status, len(ended.complaints)) == (2, 1)
    assert "can't listen on descriptor 99" in ended.complaints[0]


@pytest.mark.parametrize("other", [("--host", "127.0.0.1"), ("--port", "0")])
def test_a_descriptor_and_an_address_do_not_go_together(receiver: Receiver, other: tuple[str, str]) -> None:
    ended = receiver.run("serve", "--fd", "3", *other)
    assert (ended.status, len(ended.complaints)) == (2, 1)
    assert "--fd takes the place of --host and --port" in ended.complaints[0]
