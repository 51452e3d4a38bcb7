"""Deliveries posted again: byte for byte, freshly signed, to where credentials may go."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.acceptance.conftest import KEY, ORGANIZATION, PROGRAM, Receiver, a_video, callback, sha256
from tests.sink import said, sinking

ROTATED = "key_rotated_9876543210"
GROWTH_BYTES = 64 * 2**20


@pytest.fixture
def recorded(receiver: Receiver) -> Receiver:
    """Three events of four deliveries: small, large, and one that was repeated; the key is another by now."""
    receiver.start("--no-worker")
    receiver.accepted(callback("small", title="Ü"))
    receiver.post(callback("large", video=a_video("large", padding=200_000)), X_Request_Id="req-1")
    receiver.accepted(callback("twice", "failed"))
    assert receiver.post(callback("twice", "failed") | {"more": 1}).json()["status"] == "duplicate"
    receiver.config.write_text(receiver.config.read_text().replace(KEY, ROTATED))
    return receiver


def bodies(receiver: Receiver) -> list[str]:
    """The checksums of the first bodies, oldest first."""
    ids = [event["id"] for event in receiver.events()][::-1]
    return [sha256(receiver.run("show", event, "--raw").stdout.encode()) for event in ids]


def test_deliveries_go_out_as_they_came_in_with_the_headers_of_the_sender(recorded: Receiver) -> None:
    with sinking() as sink:
        url = sink.answer("/hook", said("200 OK", "", b"{}"))
        lines = recorded.look("replay", "--all", "--yes", "--to", f"{url}?a=b")

    small, large, twice, again = sink.requests
    assert [request.sha256 for request in (small, large, twice)] == bodies(recorded)
    assert json.loads(again.body)["more"] == 1
    assert small.line == "POST /hook?a=b HTTP/1.1"
    for request in sink.requests:
        assert request.header("content-type") == "application/json"
        assert request.header("x-api-key") == ROTATED
        assert request.header("x-organization-id") == ORGANIZATION
        assert request.header("x-webhook-platform") == "opennote-api"
        assert request.header("x-origin") == "https://video.api.opennote.com"
        assert KEY not in str(request.headers)
    assert (small.header("x-request-id"), large.header("x-request-id")) == ("small", "req-1")
    assert [line["status"] for line in lines[:-1]] == [200] * 4
    assert [(line["delivery"], line["verdict"]) for line in lines[:-1]] == [
        (1, "accepted"),
        (1, "accepted"),
        (1, "accepted"),
        (2, "duplicate"),
    ]
    assert all(line["seconds"] >= 0 for line in lines[:-1])
    assert lines[-1]["jobs"] == 4
    (row,) = recorded.look("replays")
    assert (row["target"], row["status"], row["events"], row["jobs"], row["failed"]) == (
        url,
        "finished",
        3,
        4,
        0,
    )


def test_what_is_not_accepted_is_shown_and_tried_again_only_when_that_is_asked(recorded: Receiver) -> None:
    event = recorded.events("--video", "small")[0]["id"]
    with sinking() as sink:
        flaky = sink.answer("/flaky", said("503 Not now", "Retry-After: 0\r\n"), said("200 OK"))
        gone = sink.answer("/gone", said("410 Gone"))
        once = recorded.run("replay", event, "--to", flaky)
        sink.answer("/flaky", said("503 Not now", "Retry-After: 0\r\n"), said("200 OK"))
        twice = recorded.run("replay", event, "--to", flaky, "--retry", "2")
        refused = recorded.run("replay", event, "--to", gone, "--retry", "2")
        asked = [request.line.split()[1] for request in sink.requests]
    nobody = recorded.run("replay", event, "--to", f"http://127.0.0.1:{sink.port}/")

    assert (once.status, twice.status, refused.status, nobody.status) == (1, 0, 1, 1)
    assert asked == ["/flaky", "/flaky", "/flaky", "/gone"]
    assert "503 Service Unavailable" in once.stdout
    assert "200" in twice.stdout
    assert "after 2 requests" in twice.stdout
    assert "410 Gone" in refused.stdout
    assert "the connection failed" in nobody.stdout
    assert [row["failed"] for row in recorded.look("replays")] == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("target", "options", "complaint"),
    [
        ("https://example.com/hook", [], "would get your credentials"),
        ("http://example.com/hook", ["--send-credentials"], "plain http"),
        ("ftp://127.0.0.1/", [], "not https"),
        ("http://user@127.0.0.1/", [], "user name"),
        ("http://127.0.0.1/", ["--handler", "save_video"], "runs no handler"),
        ("http://127.0.0.1/", ["--again"], "runs no handler"),
    ],
)
def test_credentials_go_to_this_machine_or_where_somebody_says_so(
    recorded: Receiver, target: str, options: list[str], complaint: str
) -> None:
    ended = recorded.run("replay", "--all", "--yes", "--to", target, *options)

    assert ended.status == 2
    assert complaint in ended.stderr
    assert recorded.look("replays") == []


def test_a_dry_run_says_what_would_be_posted(recorded: Receiver) -> None:
    with sinking() as sink:
        lines = recorded.look("replay", "--all", "--to", sink.base, "--dry-run")
        for file in (recorded.folder / "data" / "bodies").glob("*/*"):
            file.unlink()
        shown = recorded.run("replay", "--all", "--to", sink.base, "--dry-run")
        assert sink.requests == []
    assert {line["error"] for line in lines} == {None}
    assert "no: the body is gone" in shown.stdout
    assert shown.stderr == "would be posted: 3 deliveries of 3 events\n"
    assert [(line["verdict"], line["delivery"]) for line in lines][-2:] == [("accepted", 1), ("duplicate", 2)]


def test_what_another_machine_recorded_is_signed_with_the_credentials_of_this_one(
    recorded: Receiver, tmp_path: Path
) -> None:
    assert recorded.run("export", tmp_path / "a.tar").status == 0
    foreign = tmp_path / "foreign.toml"
    foreign.write_text('[sources.other]\nkind = "opennote"\norganization_id = "o"\napi_keys = ["k"]\n')
    with sinking() as sink:
        ended = recorded.run("replay", tmp_path / "a.tar", "--to", sink.base, "--yes")
        unknown = recorded.run("--config", foreign, "replay", tmp_path / "a.tar", "--to", sink.base, "--yes")

    assert ended.status == 0, ended.stderr
    assert {request.header("x-api-key") for request in sink.requests} == {ROTATED}
    assert unknown.status == 1
    assert "no source opennote of kind opennote is configured here to sign for" in unknown.stdout
    assert len(sink.requests) == 4


@pytest.mark.fault("W6")
def test_nothing_that_a_sender_says_makes_a_delivery_a_replay(recorded: Receiver) -> None:
    event = recorded.events("--video", "small")[0]["id"]
    claims = {"X-Replay": "rpl_1", "X-Receiver-Replay": event, "Replay": "true", "Webhook-Replay": "1"}

    wrong = recorded.post(callback("small"), X_API_Key="wrong", **claims)
    again = recorded.post(callback("small", title="Ü"), **claims)

    assert wrong.status_code == 401
    assert again.json() == {"status": "duplicate", "event": event}
    assert recorded.look("replays") == []


def test_a_receiver_takes_what_is_posted_to_it_again_as_duplicates(recorded: Receiver) -> None:
    recorded.stop()
    recorded.start("--no-worker")

    ended = recorded.run("replay", "--all", "--yes", "--to", f"{recorded.url}/webhooks/opennote")

    assert ended.status == 0, ended.stdout
    assert [event["duplicates"] for event in recorded.events()] == [3, 1, 1]


def test_ctrl_c_ends_it_after_the_request_under_way_and_says_where(recorded: Receiver) -> None:
    with sinking() as sink:
        command = [
            "replay",
            "--all",
            "--yes",
            "--to",
            sink.base,
            "--rate",
            "1/h",
            "--config",
            recorded.config,
        ]
        with subprocess.Popen(
            [*PROGRAM, *map(str, command)],
            cwd=recorded.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            line = process.stdout.readline()  # of the first request; the next one is an hour away
            process.send_signal(signal.SIGINT)
            told, complaint = process.communicate(timeout=20)
    assert process.returncode == 130
    assert line.startswith("204 ")
    assert "1 requests of 1 of 3 events" in told
    assert f"stopped before event {recorded.events('--video', 'large')[0]['id']}" in complaint
    assert recorded.look("replays")[0]["status"] == "stopped"


def test_signed_sources_are_signed_afresh(receivers: Callable[..., Receiver]) -> None:
    secrets = [
        "whsec_" + base64.b64encode(text).decode() for text in (b"the secret of old" * 2, b"the new one" * 3)
    ]
    table = '[sources.sora]\nkind = "openai"\napi_key = "k"\nwebhook_secrets = ["{}"]\n'
    receiver = receivers(table.format(secrets[0])).start("--no-worker")
    assert receiver.run("send", "sora", "--id", "video_1", "--to", receiver.url).status == 0
    assert (
        receiver.run("send", "sora", "--type", "unknown", "--id", "video_2", "--to", receiver.url).status == 0
    )
    receiver.config.write_text(receiver.config.read_text().replace(secrets[0], secrets[1]))
    raw = [receiver.run("show", event["id"], "--raw").stdout for event in receiver.events()]

    with sinking() as sink:
        assert receiver.run("replay", "--all", "--yes", "--to", sink.base).status == 0

    assert [request.body.decode() for request in sink.requests] == raw[::-1]
    for request in sink.requests:
        Webhook(secrets[1]).verify(request.body.decode(), request.named)
        assert request.header("webhook-id").startswith("wh_")
        assert abs(time.time() - int(request.header("webhook-timestamp"))) < 60
    kept = dict(receiver.show(receiver.events("--video", "video_1")[0]["id"])["deliveries"][0]["headers"])
    assert sink.requests[0].header("webhook-id") == kept["webhook-id"]


# Memory.


@pytest.mark.slow
def test_a_large_body_goes_everywhere_in_flat_memory(receiver: Receiver, tmp_path: Path) -> None:
    """200 MB of callback with 150 MB of video: exported, imported, replayed, posted."""
    receiver.configure(top='[bodies]\nreserve = "1MiB"\n').start("--no-worker")
    video = tmp_path / "large.mp4"
    with video.open("wb") as target:
        target.write(a_video())
        for number in range(150):
            target.write(os.urandom(1000) * 1000 + bytes([number]))
    receiver.handler(
        "from receiver import Router\nrouter = Router()\n@router.on('video.completed')\n"
        "async def count(event, context):\n"
        "    return sum([len(piece) async for piece in context.open_video()])\n"
    )
    assert receiver.run("send", "opennote", "--id", "small", "--to", receiver.url).status == 0
    sent = receiver.run("send", "opennote", "--id", "large", "--video", video, "--to", receiver.url)
    assert sent.status == 0, sent.stderr
    laptop = Receiver(tmp_path / "laptop").configure()

    def peak(of: Receiver, *arguments: str | Path) -> int:
        """The most memory that a command had."""
        command = [
            sys.executable,
            "-c",
            _MEASURED,
            *PROGRAM,
            "--config",
            str(of.config),
            *map(str, arguments),
        ]
        ended = subprocess.run(command, cwd=of.folder, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return int(ended.stderr.splitlines()[-1]) * 1024

    with sinking() as sink:
        peaks: dict[str, list[int]] = {}
        for name in ("small", "large"):
            file = tmp_path / f"{name}.tar"
            steps: list[tuple[str, Receiver, list[str | Path]]] = [
                ("export", receiver, ["export", file, "--video", name]),
                ("import", laptop, ["import", file]),
                ("replay", receiver, ["replay", file, "--handlers", "hooks.py"]),
                ("post", receiver, ["replay", "--video", name, "--to", sink.base]),
            ]
            for step, of, arguments in steps:
                peaks.setdefault(step, []).append(peak(of, *arguments))
        assert sink.requests[-1].length > 200_000_000
        (event,) = receiver.events("--video", "large")
        assert sink.requests[-1].sha256 == receiver.show(event["id"])["body_sha256"]
    for step, (small, large) in peaks.items():
        assert large - small < GROWTH_BYTES, f"{step} grew by {(large - small) / 2**20:.0f} MiB"


_MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], check=False).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""
