"""Everything that `receiver send` can send, posted to the real program: it is taken as the catalogue says."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from receiver.cli.catalogue import CATALOGUE
from tests.acceptance.conftest import Receiver, each
from tests.sink import said, sinking

OPENAI = f"""
[sources.sora]
kind = "openai"
api_key = "key"
webhook_secrets = ["whsec_{b64encode(b"a secret of thirty-two characters").decode()}"]

[sources.ope]
kind = "openai-compatible"
api_key = "key"
api_url = "http://127.0.0.1:9/v1"
"""
SOURCES = {"opennote": "opennote", "openai": "sora"}
ODDITIES: dict[str, dict[str, Any]] = {
    "no-id": {"warnings": []},
    "no-id-at-all": {"warnings": ["no_id"]},
    "rewritten-id": {"warnings": ["request_id_rewritten"]},
    "foreign": {"type": "video.unknown"},
    "twice": {"duplicates": 1},
    "late-progress": {"duplicates": 1, "conflict": False},
    "contradiction": {"conflict": True},
    "cancelled": {"type": "video.failed"},
    "guide-progress": {"type": "video.progress"},
    "no-data": {"type": "video.unknown"},
}


@pytest.fixture
def running(receivers: Callable[..., Receiver]) -> Receiver:
    return receivers(OPENAI).start("--no-worker")


@pytest.mark.parametrize("kind", CATALOGUE)
def test_whatever_is_listed_is_answered_as_it_says(running: Receiver, kind: str) -> None:
    names = list(CATALOGUE[kind])

    ended = each(
        lambda name: running.run(
            "send", SOURCES[kind], "--type", name, "--id", f"id-{name}", "--to", running.url
        ),
        names,
    )

    assert {name: one.complaints for name, one in zip(names, ended, strict=True) if one.status} == {}
    events = {event["video_id"]: event for event in running.events("--limit", "100")}
    for name in names:
        for key, value in ODDITIES.get(name, {}).items():
            event = events.get(f"id-{name}") or next(
                event for event in events.values() if not event["video_id"].startswith("id-")
            )
            if kind == "opennote" or name in ("twice", "contradiction", "no-data"):
                assert event[key] == value, name
    refused = [row["reason"] for row in running.look("rejections")]
    assert len(refused) == sum("refused with" in CATALOGUE[kind][name].says for name in names)


def test_what_can_be_sent_is_listed_without_a_configuration(tmp_path: Path) -> None:
    from tests.acceptance.conftest import run

    listed = run("send", "--list", "--json", folder=tmp_path)

    assert listed.status == 0
    assert [(line["kind"], line["type"]) for line in listed.objects] == [
        (kind, name) for kind, names in CATALOGUE.items() for name in names
    ]
    assert "guide-progress" in run("send", "--list", folder=tmp_path).stdout


@pytest.mark.parametrize("source", ["opennote", "sora"])
def test_a_body_of_ones_own_is_sent_byte_for_byte_and_believed(
    running: Receiver, source: str, tmp_path: Path
) -> None:
    body = json.dumps({"video_id": "mine", "status": "odd", "x": "é" * 40_000}, ensure_ascii=False, indent=3)
    (tmp_path / "own.json").write_text(body)

    ended = running.run("send", source, "--payload", tmp_path / "own.json", "--id", "m1", "--to", running.url)

    assert ended.status == 0, ended.stderr
    (event,) = running.events("--source", source)
    assert running.run("show", event["id"], "--raw").stdout == body
    piped = ("send", source, "--payload", "-", "--id", "m1", "--to", running.url, "--repeat", "2", "--json")
    again = running.run(*piped, given=body.encode())
    assert [line["answer"]["event"] for line in again.objects] == [event["id"]] * 2
    (refused,) = running.run(*piped[:8], given=b"[]").complaints
    assert refused.endswith("1 of 1 were not accepted")


def test_a_video_may_come_through_a_pipe(running: Receiver) -> None:
    video = b"\x00\x00\x00\x18ftypisom" + bytes(100_000)
    for stream in ("-", "/dev/stdin"):
        sent = running.run("send", "opennote", "--video", stream, "--to", running.url, given=video)
        assert sent.status == 0, sent.stderr
        (event,) = running.events("--limit", "1")
        body = json.loads(running.run("show", event["id"], "--raw").stdout)
        assert b64decode(body["response"]["b64_video"]) == video


@pytest.mark.fault("O2")
def test_an_answer_drives_no_terminal_whoever_gives_it(receivers: Callable[..., Receiver]) -> None:
    with sinking() as sink:
        sink.answer("/webhooks/opennote", said("200 OK", body="\x1b]0;mine\x07 \u202e".encode()))
        sent = receivers(OPENAI).run("send", "opennote", "--type", "failed", "--to", sink.base)

    assert sent.status == 0
    assert sent.stdout.startswith("200 \\x1b]0;mine\\x07 \\u202e  (video ")


def test_a_rate_spaces_what_is_repeated(running: Receiver) -> None:
    began = time.monotonic()
    sent = running.look(
        "send", "opennote", "--type", "failed", "--repeat", "4", "--rate", "2/s", "--to", running.url
    )

    assert [line["status"] for line in sent] == [200] * 4
    assert time.monotonic() - began >= 1.5
    assert len({line["video_id"] for line in sent}) == 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["opennote", "--type", "finished"], "--type: must be one of completed, failed"),
        (["ope"], "never calls"),
        ([], "which source?"),
        (["sora", "--inline"], "carry no video"),
        (["opennote", "--payload", "receiver.toml", "--inline"], "the whole body"),
        (["opennote", "--payload", "receiver.toml", "--type", "failed"], "the whole body"),
        (["opennote", "--type", "failed", "--video", "receiver.toml"], "--type failed carries none"),
        (
            ["opennote", "--type", "expired", "--url", "https://a.example.com/b"],
            "--type expired carries none",
        ),
        (["opennote", "--id", "ünïcode"], "--id: must be"),
        (["opennote", "--id", "a\nb"], "--id: must be"),
        (["opennote", "--id", ""], "--id: must be"),
        (["nobody"], "no source 'nobody'"),
    ],
)
def test_what_can_not_be_sent_is_told(
    receivers: Callable[..., Receiver], arguments: list[str], complaint: str
) -> None:
    ended = receivers(OPENAI).run("send", *arguments)

    assert ended.status == 2
    assert complaint in ended.stderr
