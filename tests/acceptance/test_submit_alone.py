"""`receiver submit` without a server: wrong input, crashes in between, and what is left of them."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import KEY, PROGRAM, Receiver, _environment, each
from tests.acceptance.stage import GATEWAY, asking, called_at, sandboxed

HOUR_MS = 3_600_000


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Silent]:
    """A provider that takes an order and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        yield Silent(tmp_path, listener)


class Silent:
    """Takes connections, and what is sent on them."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self.receiver = asking(folder / "receiver", f"http://127.0.0.1:{listener.getsockname()[1]}")
        self.receiver.environment = {"RECEIVER_SERVER__PUBLIC_URL": "https://hooks.example.com"}
        self._listener = listener

    def interrupted(self, number: signal.Signals) -> tuple[str, str, int]:
        """Submit, end the command while it waits for the answer; give the order, what it said, its status."""
        command = [*PROGRAM, *self.receiver._config_option, "submit", "opennote", "--prompt", "Rain"]
        with subprocess.Popen(
            command,
            cwd=self.receiver.folder,
            env=_environment(self.receiver.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            connection, _ = self._listener.accept()
            with connection:
                order = b""
                while b'"webhook_url"' not in order:
                    order += connection.recv(65536)
                process.send_signal(number)
                _, said = process.communicate(timeout=20)
        return order.decode(), said.decode(), process.returncode


def aged(receiver: Receiver) -> None:
    """Let an hour pass since all was submitted."""
    with closing(sqlite3.connect(receiver.folder / "data" / "receiver.db")) as connection, connection:
        connection.execute("UPDATE submissions SET intended_at = intended_at - ?", (HOUR_MS,))


def warnings(receiver: Receiver) -> list[str]:
    said = receiver.run("check", "--json").objects
    return [line["text"] for line in said if line["part"] == "submissions"]


def test_an_order_is_there_to_be_seen_when_the_command_is_killed_in_between(silent: Silent) -> None:
    order, _, status = silent.interrupted(signal.SIGKILL)
    receiver = silent.receiver

    assert status == -signal.SIGKILL
    assert order.startswith("POST /v1/video/create HTTP/1.1\r\n")
    (left,) = receiver.look("submit", "--list")
    assert (left["state"], left["video_id"], left["settled_at"]) == ("under way", None, None)
    assert warnings(receiver) == []
    aged(receiver)
    assert [one["state"] for one in receiver.look("submit", "--list")] == ["unknown"]
    (warning,) = warnings(receiver)
    assert warning.startswith("1 may have been paid for without anybody knowing the video; see `receiver sub")
    again = receiver.run("submit", "opennote", "--prompt", "Rain")
    assert again.status == 1
    said = f"the same was submitted 1h ago ({left['submission']}): no answer has been noted; nothing was sent"
    assert said in again.stderr


def test_ctrl_c_in_between_says_that_it_may_be_paid_for_and_it_can_be_forgotten(silent: Silent) -> None:
    _, said, status = silent.interrupted(signal.SIGINT)
    receiver = silent.receiver

    assert status == 130
    assert said.strip() == "interrupted; `receiver submit --list` says what may have been paid for"
    (left,) = receiver.look("submit", "--list")
    assert (left["state"], left["error"]) == ("unknown", "it was interrupted before the answer came")
    assert len(warnings(receiver)) == 1
    table = receiver.run("submit", "--list").stdout
    assert all(word in table for word in (left["submission"], "unknown", "Rain", "interrupted"))
    forgotten = receiver.run("submit", "--forget", left["submission"][:-4])
    assert (forgotten.status, forgotten.stderr) == (0, f"{left['submission']} is forgotten\n")
    assert receiver.look("submit", "--list") == []
    assert warnings(receiver) == []
    assert receiver.run("submit", "--forget", left["submission"]).status == 1


@pytest.mark.fault("O1")
def test_what_is_sent_names_the_callback_and_what_is_kept_holds_no_credential(silent: Silent) -> None:
    order, _, _ = silent.interrupted(signal.SIGTERM)

    body = json.loads(order.partition("\r\n\r\n")[2])
    assert body["webhook_url"] == "https://hooks.example.com/webhooks/opennote"
    assert f"Authorization: Bearer {KEY}" in order
    kept = b"".join(
        path.read_bytes() for path in (silent.receiver.folder / "data").iterdir() if path.is_file()
    )
    assert b"Rain" in kept
    assert KEY.encode() not in kept


def test_a_provider_that_is_not_there_is_told_in_a_line_and_stands_in_nobody_s_way(silent: Silent) -> None:
    receiver, listener = silent.receiver, silent._listener
    listener.close()

    first, second = [receiver.run("submit", "openai", "--prompt", "Rain") for _ in range(2)]

    assert (first.status, first.stderr) == (1, "receiver: openai: the connection failed (ConnectError)\n")
    assert second.stderr == first.stderr
    assert [one["state"] for one in receiver.look("submit", "--list")] == ["refused", "refused"]


def test_wrong_input_is_told_before_anything_is_sent_or_recorded(silent: Silent) -> None:
    receiver = silent.receiver
    receiver.environment = None
    (receiver.folder / "text.txt").write_text("x" * 6001)
    mistakes = {
        ("nobody",): "no source 'nobody' is configured; configured: ope, openai, opennote",
        ("opennote",): "--prompt: give a prompt, messages or a script",
        ("opennote", "--script", "text.txt"): "--script: String should have at most 6000 characters",
        (
            "opennote",
            "--prompt",
            "Rain",
        ): "server.public_url is not set, so that nobody could call; set it, or",
        ("opennote", "--prompt", "Rain", "--size", "1x1"): "--size: not for a source of kind opennote; these",
        ("openai", "--prompt", "Rain", "--seconds", "5"): "--seconds: must be '4', '8' or '12'",
        ("openai", "--prompt", "Rain", "--field", "a"): "--field: 'a' is not name=value",
        ("ope", "--prompt", "Rain"): "--model: is missing",
        (
            "ope",
            "--prompt",
            "Rain",
            *GATEWAY,
            "--field",
            'resolution="1x1"',
        ): "--field resolution: is refused; say",
        ("ope", "--list", "--prompt", "Rain"): "--list and --forget stand alone",
    }

    ended = each(lambda words: receiver.run("submit", *words), mistakes)

    for one, said in zip(ended, mistakes.values(), strict=True):
        assert (one.status, one.stdout) == (2, "")
        assert one.stderr.startswith(f"receiver: {said}")
    assert not (receiver.folder / "data").exists()
    usage = receiver.run("submit")
    assert (usage.status, usage.stdout) == (2, "")
    assert "say which source is asked: SOURCE; or --list" in usage.stderr


def test_waiting_needs_a_server_and_says_so_before_anything_is_paid(silent: Silent) -> None:
    ended = silent.receiver.run("submit", "openai", "--prompt", "Rain", "--wait")

    assert (ended.status, ended.stdout) == (1, "")
    assert ended.stderr == (
        "receiver: --wait needs a running server (no store is running); "
        "start `receiver serve`, or leave out --wait\n"
    )
    assert silent.receiver.look("submit", "--list") == []


def test_what_was_submitted_without_a_server_is_on_disk_once_there_is_one(tmp_path: Path) -> None:
    with sandboxed("--delay", "100ms") as sandbox, asking(tmp_path / "receiver", sandbox.url) as receiver:
        ended = receiver.run("submit", "opennote", "--prompt", "Rain", "--no-callback")
        assert ended.stderr == "no server is running now; the next `receiver serve` asks how it stands\n"
        video_id = ended.stdout.strip()
        assert [watch["video_id"] for watch in receiver.look("watch")] == [video_id]

        receiver.start()
        called_at(receiver)

        receiver.logged("video.saved", seconds=60)  # the sandbox has yet to make it
        assert list(receiver.files().values()) == [sandbox.file(video_id)]
