"""One event out of a capture, for a test of a handler: in one line."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import tarfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from receiver.capture import layout
from receiver.capture.layout import FORMAT, Manifest
from receiver.capture.writing import written
from receiver.errors import BadCapture, HandlerError
from receiver.testing import Done, RecordingContext, from_capture, run, sample_video

LINK = "https://videofs-opennote-us-east-1.s3.us-east-1.amazonaws.com/v.mp4"
SAVES = """\
from receiver import Router
router = Router()

@router.on("video.completed")
async def save(event, context):
    saved = await context.save_video("{title}")
    return {"sha256": saved.sha256, "name": saved.path.name}
"""


def line(number: int, body: bytes, *, verdict: str = "accepted", **more: Any) -> dict[str, Any]:
    delivery: dict[str, Any] = {
        "event": f"evt_{number:028x}",
        "verdict": verdict,
        "source": "opennote",
        "kind": "opennote",
        "via": "callback",
        "received_at": "2026-01-31T12:00:00.000+00:00",
        "method": "POST",
        "path": "/webhooks/opennote",
        "headers": [],
        "bytes": len(body),
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }
    if len(body) <= 65536:
        delivery["body"] = body.decode()
    if verdict == "accepted":
        news: dict[str, Any] = {"type": "video.completed", "what": "completed", "video_id": f"v{number}"}
        news |= {"identity": f"v{number}@org", "status": "completed", "progress": None}
        delivery["news"] = news | {"title": "Cells", "warnings": ["no_id"], "content": None}
    return delivery | more


def completed(**response: Any) -> bytes:
    return json.dumps({"status": "completed", "response": {"title": "Cells", **response}}).encode()


def captured(path: Path, *lines: dict[str, Any], members: dict[str, bytes] | None = None) -> Path:
    """Write a capture of these deliveries."""
    text = "".join(f"{json.dumps(each)}\n" for each in lines).encode()
    files = members or {}
    manifest = Manifest(
        format=FORMAT,
        events=sum("news" in each for each in lines),
        deliveries=len(lines),
        bodies=sum(name.startswith("bodies/") for name in files),
        videos=sum(name.startswith("videos/") for name in files),
        bytes=len(text) + sum(map(len, files.values())),
        filter={},
    )
    with written(path, is_compressed=False) as writer:
        for name, content in {
            layout.MANIFEST: layout.manifest_text(manifest),
            layout.DELIVERIES: text,
            **files,
        }.items():
            writer.add(name, content, size=len(content))
        writer.finish()
    return path


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """A file with a handler that saves."""
    path = tmp_path / "hooks.py"
    path.write_text(SAVES)
    return path


def test_the_only_event_of_a_capture_is_meant(tmp_path: Path) -> None:
    file = captured(tmp_path / "a.tar", line(1, completed()), line(1, b"{}", verdict="duplicate"))

    event = from_capture(file)

    assert (event.id, event.key, event.video.id) == (f"evt_{1:028x}", "v1@org:completed", "v1")
    assert (event.warnings, event.received_at.isoformat()) == (("no_id",), "2026-01-31T12:00:00+00:00")
    assert event.open_body().read() == completed()


def test_one_of_several_is_named_by_its_id_or_the_beginning_of_it(tmp_path: Path) -> None:
    file = captured(tmp_path / "a.tar", line(1, completed()), line(0x10, completed()))

    assert from_capture(file, f"evt_{1:028x}").video.id == "v1"
    for unclear in ("", "evt_", "evt_f"):
        with pytest.raises(LookupError, match="there are: "):
            from_capture(file, unclear)


def test_an_inline_video_is_decoded_from_a_large_body(tmp_path: Path, hooks: Path) -> None:
    video = sample_video() + bytes(range(256)) * 400
    body = completed(b64_video=b64encode(video).decode())
    name = f"bodies/{hashlib.sha256(body).hexdigest()}"
    file = captured(tmp_path / "a.tar", line(1, body), members={name: body})

    event = from_capture(file)
    context = RecordingContext(event, folder=tmp_path)
    outcome = run(hooks, event, context)

    assert isinstance(outcome, Done)
    assert outcome.result == {"sha256": hashlib.sha256(video).hexdigest(), "name": "Cells.mp4"}
    with event.open_body() as original:
        assert original.read() == body


def test_a_linked_video_comes_from_the_capture_and_nothing_is_asked_for(tmp_path: Path, hooks: Path) -> None:
    video = sample_video("mine")
    kept = {"sha256": hashlib.sha256(video).hexdigest(), "bytes": len(video)}
    file = captured(
        tmp_path / "a.tar",
        line(1, completed(s3_url=LINK), video=kept),
        members={f"videos/evt_{1:028x}": video},
    )

    event = from_capture(file)
    context = RecordingContext(event, folder=tmp_path)

    outcome = run(hooks, event, context)
    assert isinstance(outcome, Done)
    assert outcome.result["sha256"] == kept["sha256"]
    assert context.asked == []


def test_without_the_video_in_it_a_link_leads_to_the_sample(tmp_path: Path, hooks: Path) -> None:
    event = from_capture(captured(tmp_path / "a.tar", line(1, completed(s3_url=LINK))))
    context = RecordingContext(event, folder=tmp_path)

    outcome = run(hooks, event, context)
    assert isinstance(outcome, Done)
    assert outcome.result["sha256"] == hashlib.sha256(sample_video()).hexdigest()
    assert [asked.url for asked in context.asked] == [LINK]


def test_what_was_unpacked_goes_with_the_event(tmp_path: Path) -> None:
    body = completed(transcript="x" * 70_000)
    name = f"bodies/{hashlib.sha256(body).hexdigest()}"
    event = from_capture(captured(tmp_path / "a.tar", line(1, body), members={name: body}))
    path = event.body.path
    assert path is not None
    assert path.exists()

    del event
    gc.collect()

    assert not path.parent.exists()


def test_a_damaged_capture_is_refused_unless_a_part_will_do(tmp_path: Path) -> None:
    file = captured(tmp_path / "a.tar", line(1, completed()))
    content = file.read_bytes()
    file.write_bytes(content[: content.rindex(b"SHA256SUMS")])

    with pytest.raises(BadCapture, match="unfinished"):
        from_capture(file)
    assert from_capture(file, partial=True).video.id == "v1"


def test_a_video_and_a_line_that_are_damaged_stand_in_no_other_ones_way(tmp_path: Path) -> None:
    video = sample_video("mine")
    kept = {"sha256": hashlib.sha256(video).hexdigest(), "bytes": len(video)}
    file = captured(
        tmp_path / "a.tar",
        line(1, completed(s3_url=LINK), video=kept),
        line(2, completed()) | {"via": "nonsense"},
        members={f"videos/evt_{1:028x}": video},
    )
    file.write_bytes(file.read_bytes()[:-20_000])

    event = from_capture(file, partial=True)

    assert (event.id, event.video.url, event.video_file) == (f"evt_{1:028x}", LINK, None)


def test_a_handler_that_does_not_want_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(
        "from receiver import Router\nrouter = Router()\n@router.on('video.failed')\ndef f(): ...\n"
    )
    event = from_capture(captured(tmp_path / "a.tar", line(1, completed())))
    with pytest.raises(HandlerError, match=r"no handler wants a video\.completed"):
        run(tmp_path / "other.py", event)


def test_what_we_write_is_what_tar_reads(tmp_path: Path) -> None:
    captured(tmp_path / "a.tar", line(1, completed()))
    with tarfile.open(tmp_path / "a.tar") as archive:
        member = archive.extractfile("deliveries.jsonl")
        assert isinstance(member, io.BufferedReader)
        assert json.loads(member.read())["event"] == f"evt_{1:028x}"
