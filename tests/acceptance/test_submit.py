"""`receiver submit` beside a running server: asked for, waited for, on disk; what goes wrong on the way."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import KEY, PROGRAM, Receiver, _environment, until
from tests.acceptance.stage import GATEWAY, Sandbox, asking, called_at, sandboxed

PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sandboxed("--delay", "1200ms") as running:
        yield running


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Receiver]:
    """One server for all of them: each test asks for a video of its own."""
    with asking(tmp_path_factory.mktemp("stage") / "receiver", sandbox.url) as started:
        started.start().ready()
        started.logged("poller.started")
        sandbox.call(started)
        called_at(started)
        yield started


def submitted(receiver: Receiver, *options: str | Path) -> dict[str, Any]:
    """What a submission that has to go well prints."""
    (told,) = receiver.look("submit", *options)
    return told


@pytest.mark.parametrize(
    "options",
    [
        ("opennote", "--prompt", "Rain, inline"),
        ("opennote", "--prompt", "Rain, by link", "--upload-to-s3", "--title", "Rain"),
        ("openai", "--prompt", "Rain", "--seconds", "8"),
        ("ope", "--prompt", "Rain", *GATEWAY),
    ],
    ids=["opennote inline", "opennote by link", "openai", "a gateway"],
)
def test_a_video_of_each_provider_is_on_disk_when_the_waiting_ends(
    receiver: Receiver, sandbox: Sandbox, options: tuple[str, ...]
) -> None:
    told = submitted(receiver, *options, "--wait")

    assert (told["source"], told["state"], told["error"]) == (options[0], "saved", None)
    assert Path(told["path"]).read_bytes() == sandbox.file(told["video_id"])
    assert receiver.show(told["event"])["video_id"] == told["video_id"]


def test_people_see_the_id_then_what_happens_then_the_path(receiver: Receiver) -> None:
    ended = receiver.run("submit", "ope", "--prompt", "Snow", *GATEWAY, "--wait")

    video_id, path = ended.stdout.splitlines()
    assert ended.status == 0
    assert video_id.startswith("video_")
    assert Path(path).is_file()
    assert ended.stderr.startswith("waiting\n") or "%" in ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) == len(set(lines)), "a line for whatever is new"
    assert all(line.isprintable() for line in lines)


def test_on_a_terminal_a_live_bar_shows_how_far_it_is(receiver: Receiver) -> None:
    ours, theirs = pty.openpty()
    command = [*PROGRAM, *receiver._config_option, "submit", "ope", "--prompt", "Hail", *GATEWAY, "--wait"]
    with subprocess.Popen(
        command,
        cwd=receiver.folder,
        env=_environment({"TERM": "xterm"}),
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        drawn = bytearray()
        while piece := _read(ours):
            drawn += piece
        os.close(ours)
        assert process.stdout is not None
        path = process.stdout.read().decode().splitlines()[-1]
        assert process.wait(30) == 0

    shown = drawn.decode()
    assert re.search(r"(queued|NOT_START|running|processing), \d+ %", shown), shown[-500:]
    assert "\x1b[?25l" in shown, "the cursor is hidden while the bar lives"
    assert "\x1b[?25h" in shown
    assert Path(path).is_file()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how a terminal says that nobody writes to it any more
        return b""


def test_a_callback_alone_ends_it_and_the_watch_with_it(receiver: Receiver, sandbox: Sandbox) -> None:
    told = submitted(receiver, "opennote", "--script", script(receiver, "Thunder."))

    assert (told["state"], told["video"]["id"]) == ("accepted", told["video_id"])
    (event,) = receiver.settled(count=1, of=[told["video_id"]], seconds=60)
    assert receiver.show(event["id"])["deliveries"][0]["via"] == "callback"
    assert [watch["ending"] for watch in watches(receiver, told["video_id"])] == ["completed"]


def script(receiver: Receiver, text: str) -> Path:
    path = receiver.folder / "script.txt"
    path.write_text(text)
    return path


def watches(receiver: Receiver, video_id: str) -> list[dict[str, Any]]:
    return [watch for watch in receiver.look("watch", "--all") if watch["video_id"] == video_id]


def test_a_callback_that_never_comes_is_not_needed(receiver: Receiver, sandbox: Sandbox) -> None:
    with sandbox.misbehaving(drop=1.0):
        told = submitted(receiver, "openai", "--prompt", "Fog", "--no-callback")

    until(lambda: receiver.files(told["video_id"]), seconds=60, what="the video on disk")
    events = receiver.events("--video", told["video_id"])
    arrivals = [arrival for event in events for arrival in receiver.show(event["id"])["deliveries"]]
    assert {arrival["via"] for arrival in arrivals} == {"poll"}


def test_a_picture_goes_along_as_a_form_and_its_url_as_json(receiver: Receiver, sandbox: Sandbox) -> None:
    picture = receiver.folder / "roof.png"
    picture.write_bytes(PNG)
    url = "https://example.com/roof.png"

    for source, reference in (("openai", picture), ("openai", url), ("ope", picture), ("ope", url)):
        options = ["--prompt", f"A roof, {reference}", "--input-reference", reference]
        told = submitted(receiver, source, *options, *(GATEWAY if source == "ope" else ()))
        assert told["state"] == "accepted"


def test_a_remix_is_an_order_like_any(receiver: Receiver) -> None:
    first = submitted(receiver, "openai", "--prompt", "A river", "--wait")["video_id"]
    remixed = submitted(receiver, "openai", "--remix", first, "--prompt", "At night", "--wait")

    assert remixed["state"] == "saved"
    (listed, *_) = receiver.look("submit", "openai", "--list")
    assert listed["request"] == {"remix_of": first, "prompt": "At night"}


def test_a_video_that_fails_ends_the_waiting_with_the_reason(receiver: Receiver, sandbox: Sandbox) -> None:
    with sandbox.misbehaving(failed=1.0):
        told = receiver.run("submit", "openai", "--prompt", "Sleet", "--wait")
        as_json = receiver.run("submit", "ope", "--prompt", "Sleet", *GATEWAY, "--wait", "--json")

    assert (told.status, as_json.status) == (1, 1)
    assert len(told.stdout.splitlines()) == 1, "the video's id"
    assert told.complaints[-1].startswith("receiver: ")
    (said,) = as_json.objects
    assert said["state"] == "failed"
    assert said["error"]
    assert said["path"] is None


@pytest.mark.parametrize(
    ("mishap", "line"),
    [
        ("throttled", r"receiver: openai: 429 Too Many Requests: .+; try again in \d+s"),
        ("broken", r"receiver: openai: 500 Internal Server Error: .+"),
    ],
)
def test_an_error_of_the_provider_is_one_clear_line(
    receiver: Receiver, sandbox: Sandbox, mishap: str, line: str
) -> None:
    before = len(sandbox.jobs())
    with sandbox.misbehaving(**{mishap: 1.0}):
        ended = receiver.run("submit", "openai", "--prompt", f"Drizzle, {mishap}")

    assert (ended.status, ended.stdout) == (1, "")
    assert re.fullmatch(f"{line}\n", ended.stderr)
    assert len(sandbox.jobs()) == before
    retried = receiver.run("submit", "openai", "--prompt", f"Drizzle, {mishap}")
    assert retried.status == 0, "what was refused stands in nobody's way"


@pytest.mark.fault("O1")
@pytest.mark.parametrize("source", ["opennote", "openai", "ope"])
def test_a_wrong_key_is_one_line_and_nothing_of_it_is_told_or_kept(receiver: Receiver, source: str) -> None:
    wrong = "sk-canary-4f1d9c0123456789"
    name = "API_KEYS" if source == "opennote" else "API_KEY"
    value = f'["{wrong}"]' if source == "opennote" else wrong
    other = Receiver(
        receiver.folder,
        {**(receiver.environment or {}), f"RECEIVER_SOURCES__{source.upper()}__{name}": value},
    )

    more = GATEWAY if source == "ope" else ()
    (told,) = other.run("submit", source, "--prompt", "A secret", *more, "--json").objects
    assert (told["state"], told["error"][:3], told["video_id"]) == ("refused", "401", None)
    ended = other.run("submit", source, "--prompt", "A secret", *more)
    listed = other.run("submit", "--list", "--json")

    said = f"receiver: {source}: 401 Unauthorized: the provider does not accept this source's API key\n"
    assert (ended.status, ended.stdout, ended.stderr) == (1, "", said)
    kept = b"".join(
        path.read_bytes() for path in (receiver.folder / "data").glob("receiver.db*") if path.is_file()
    )
    for text in (ended.stderr, listed.stdout, kept.decode("latin-1")):
        assert wrong[:14] not in text
        assert KEY not in text


def test_the_same_is_paid_twice_only_when_that_is_meant(receiver: Receiver, sandbox: Sandbox) -> None:
    told = submitted(receiver, "openai", "--prompt", "Once", "--seconds", "4")
    before = len(sandbox.jobs())

    again = receiver.run("submit", "openai", "--seconds", "4", "--prompt", "Once")

    assert (again.status, again.stdout) == (1, "")
    assert re.fullmatch(
        rf"receiver: the same was submitted \d+s ago \({told['submission']}\): "
        rf"it is video {told['video_id']}; "
        r"nothing was sent now\. To pay for it a second time: --again\n",
        again.stderr,
    )
    assert len(sandbox.jobs()) == before
    assert (
        submitted(receiver, "openai", "--prompt", "Once", "--seconds", "4", "--again")["state"] == "accepted"
    )
    assert submitted(receiver, "openai", "--prompt", "Once", "--seconds", "8")["state"] == "accepted"


def test_ctrl_c_ends_the_waiting_and_not_the_video(receiver: Receiver) -> None:
    command = [*PROGRAM, *receiver._config_option, "submit", "ope", "--prompt", "Wind", *GATEWAY, "--wait"]
    with subprocess.Popen(
        command, cwd=receiver.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(None)
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        video_id = process.stdout.readline().decode().strip()
        process.stderr.readline()  # it waits
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
        assert process.wait(20) == 130

    assert f"the video goes on; see `receiver events --video {video_id}`" in said
    assert "Traceback" not in said
    until(lambda: receiver.files(video_id), seconds=60, what="the video on disk all the same")
