"""Original bodies and videos through the API: byte for byte, any part of them, and nothing else."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable

import pytest

from tests.acceptance.asking import ADMIN, Asking
from tests.acceptance.conftest import FileHost, Receiver, a_video, callback

_PLACEHOLDER = base64.b64encode(b"x").decode()


def with_inline(text: str) -> bytes:
    """A callback whose inline video is this text, as it stands in JSON."""
    return json.dumps(callback("v1", video=b"x")).replace(_PLACEHOLDER, text).encode()


def test_an_original_body_is_given_byte_for_byte(open_receiver: Receiver, asking: Asking) -> None:
    small = json.dumps(callback("v1", "failed"), indent=3).encode() + b" \n"
    large = json.dumps(callback("v2", video=random.Random(1).randbytes(300_000))).encode()
    event = ""
    for body in (small, large):
        event = open_receiver.post(body).json()["event"]
        answer = asking.get(f"/events/{event}/raw")
        assert answer.content == body
        assert answer.headers["content-disposition"] == f'attachment; filename="{event}.json"'
        assert answer.headers["content-type"] == "application/json"
    (delivery,) = asking.json(f"/events/{event}")["deliveries"]
    assert asking.get(f"/events/{event}/raw", params={"sha256": delivery["body_sha256"]}).content == large
    assert asking.get(f"/events/{event}/raw", params={"sha256": "0" * 64}).status_code == 404
    assert [line["what"] for line in open_receiver.logged("original.revealed", count=3)] == ["body"] * 3


def test_a_body_that_retention_removed_is_said_to_be_gone(open_receiver: Receiver, asking: Asking) -> None:
    event = open_receiver.accepted(callback("v1", video=a_video(padding=100_000)))
    open_receiver.settled(count=1)
    for file in (open_receiver.folder / "data" / "bodies").glob("??/*"):
        file.unlink()
    for path in ("raw", "video"):
        answer = asking.get(f"/events/{event}/{path}")
        assert (answer.status_code, answer.json()["error"]) == (404, "the body is gone")


def _cut(text: str, length: int) -> list[str]:
    return [text[start : start + length] for start in range(0, len(text), length)]


FORMS: dict[str, Callable[[bytes], str]] = {
    "plain": lambda video: base64.b64encode(video).decode(),
    "with a prefix": lambda video: "data:video/mp4;base64," + base64.b64encode(video).decode(),
    "escaped": lambda video: base64.b64encode(video).decode().replace("/", "\\/"),
    "url-safe, unpadded": lambda video: base64.urlsafe_b64encode(video).decode().rstrip("="),
    "with blanks": lambda video: " ".join(_cut(base64.b64encode(video).decode(), 76)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("padding", [5, 400_001])
def test_any_part_of_an_inline_video_is_decoded_on_the_way(
    open_receiver: Receiver, asking: Asking, form: str, padding: int
) -> None:
    video = a_video("mark", padding=padding)
    path = f"/events/{open_receiver.post(with_inline(FORMS[form](video))).json()['event']}/video"
    whole = asking.get(path)
    assert (whole.status_code, whole.content == video) == (200, True)
    assert (whole.headers["content-type"], whole.headers["accept-ranges"]) == ("video/mp4", "bytes")
    assert whole.headers["content-disposition"].startswith("attachment; filename=")
    size, chance = len(video), random.Random(3)
    spans = [(0, 0), (0, size - 1), (size - 1, size - 1), (1, 2), (2, 300_000)]
    for _ in range(6):
        first, last = sorted(chance.randrange(size) for _ in range(2))
        spans.append((first, last))
    for first, last in spans:
        part = asking.get(path, headers={"Range": f"bytes={first}-{last}", "If-Range": whole.headers["etag"]})
        assert (part.status_code, part.content == video[first : last + 1]) == (206, True), (first, last)
        assert part.headers["content-range"] == f"bytes {first}-{min(last, size - 1)}/{size}"
    assert asking.get(path, headers={"Range": "bytes=-5"}).content == video[-5:]
    assert asking.get(path, headers={"Range": f"bytes={size - 9}-"}).content == video[-9:]
    assert asking.get(path, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status_code == 200
    beyond = asking.get(path, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    head = asking.request("HEAD", path)
    assert (int(head.headers["content-length"]), head.content) == (size, b"")


@pytest.mark.fault("W7")
def test_an_absurd_range_is_refused_before_anything_is_read(open_receiver: Receiver, asking: Asking) -> None:
    event = open_receiver.accepted(callback("v1", video=a_video(padding=2_000_000)))
    asking.get("/events")  # the API is there from now on
    many = "bytes=" + ",".join(f"{number}-{number}" for number in range(2500))
    for said in (many, "bytes=0-0,1-1", "bytes=" + "0-," * 8000 + "0-"):
        took = []
        for _ in range(5):  # the quickest: whatever else the machine was doing
            began = time.perf_counter()
            answer = asking.get(f"/events/{event}/raw", headers={"Range": said})
            assert answer.status_code == 416
            took.append(time.perf_counter() - began)
        assert min(took) < 0.05
    for said in ("bytes=9-1", "bytes=x", "bytes", "words=1-2", "bytes=" + "9" * 70 + "-", "bytes=1-2 3-4"):
        assert asking.get(f"/events/{event}/raw", headers={"Range": said}).status_code == 200


def test_a_linked_video_is_the_file_that_was_saved(
    receivers: Callable[..., Receiver], file_host: FileHost
) -> None:
    receiver = receivers(top=ADMIN, s3_base_url=file_host.base).start()
    video = a_video("linked", padding=200_000)
    event = receiver.accepted(callback("v1", url=file_host.give("v1.mp4", video)))
    gone = receiver.accepted(callback("v2", url=f"{file_host.base}/none.mp4"))
    none = receiver.accepted(callback("v3", "failed"))
    receiver.settled(count=3)
    asking = Asking(receiver)
    answer = asking.get(f"/events/{event}/video")
    assert (answer.status_code, answer.content == video) == (200, True)
    assert answer.headers["content-type"] == "video/mp4"
    assert asking.get(f"/events/{event}/video", headers={"Range": "bytes=7-70000"}).content == video[7:70001]
    for other, reason in ((gone, "the video came as a link"), (none, "the event names no video")):
        answer = asking.get(f"/events/{other}/video")
        assert answer.status_code == 404
        assert answer.json()["error"].startswith(reason)
    next(iter(receiver.videos.glob("*.mp4"))).unlink()
    assert asking.get(f"/events/{event}/video").status_code == 404


LIAR = """
from receiver import Event, Router

router = Router()


@router.on("video.completed")
def lie(event: Event) -> dict:
    return {"path": open("path").read(), "bytes": 1}
"""


@pytest.mark.fault("W7")
def test_a_file_that_was_not_saved_for_the_event_is_not_given_whatever_a_handler_says(
    receivers: Callable[..., Receiver], file_host: FileHost
) -> None:
    handlers = '[handlers]\nload = ["save_video", "liar.py"]\n'
    receiver = receivers(handlers, top=ADMIN, s3_base_url=file_host.base)
    receiver.handler(LIAR, name="liar.py")
    (receiver.folder / "path").write_text("/nowhere")
    asking = Asking(receiver.start())
    mine = receiver.accepted(callback("v1", url=file_host.give("v1.mp4", a_video("mine"))))
    receiver.settled(count=1, of=["v1"])
    other = str(next(receiver.videos.glob("*.mp4")))
    for number, path in enumerate((str(receiver.config), "/etc/passwd", "/", other, "\0")):
        (receiver.folder / "path").write_text(path)
        event = receiver.accepted(callback(f"w{number}", url=f"{file_host.base}/none.mp4"))
        receiver.settled(count=1, of=[f"w{number}"])
        assert asking.get(f"/events/{event}/video").status_code == 404
    assert asking.get(f"/events/{mine}/video").content == a_video("mine")


def test_base64_that_is_none_is_said_to_be_so(open_receiver: Receiver, asking: Asking) -> None:
    event = open_receiver.post(with_inline("A" * 100_000 + "!")).json()["event"]
    answer = asking.get(f"/events/{event}/video")
    assert answer.status_code == 404
    assert "not base64" in answer.json()["error"]


def test_deliveries_are_given_as_lines_that_another_receiver_can_record(
    open_receiver: Receiver, asking: Asking
) -> None:
    payload = callback("v1", video=a_video())
    event = open_receiver.accepted(payload)
    for _ in range(30):
        open_receiver.post(payload)
    lines = [json.loads(line) for line in asking.get(f"/events/{event}/deliveries").text.splitlines()]
    assert [line["verdict"] for line in lines] == ["accepted", *["duplicate"] * 30]
    assert {line["body"] for line in lines} == {json.dumps(payload)}
    other = open_receiver.accepted(callback("v2", "failed"))
    several = asking.get("/deliveries", params={"events": f"{other},evt_0,{event},{other}"})
    assert [json.loads(line)["event"] for line in several.text.splitlines()] == [other, *[event] * 31]
    assert json.loads(several.text.splitlines()[1]) == lines[0]
    for wrong in ({}, {"events": ""}, {"events": f"{event},"}, {"events": ",".join([event] * 101)}):
        assert asking.get("/deliveries", params=wrong).status_code == 400
    assert lines[0]["news"]["video_id"] == "v1"
