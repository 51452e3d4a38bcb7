"""Whatever a believed sender posts to the endpoint is 400 or stored, and what is stored is what was sent."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.model import EVENT_TYPES
from tests.properties.test_opennote import JSON, OBJECTS
from tests.samples.reading import sample
from tests.unit.test_ingress import Endpoint, Response, altered, with_body

IDS = ("video_id", "set_id", "status")
COMPLETED = sample("opennote", "completed_s3")


class Sender:
    """Posts to one endpoint, on one loop, whatever the examples are."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self.endpoint = self._loop.run_until_complete(self._open(folder))

    async def _open(self, folder: Path) -> Endpoint:
        return Endpoint(folder)

    def post(self, body: bytes, **headers: bytes) -> Response:
        return self._loop.run_until_complete(self.endpoint.post(altered(with_body(body), **headers)))

    def event(self, response: Response) -> dict[str, Any]:
        return self._loop.run_until_complete(self.endpoint.store.event(response.content["event"]))

    async def _close(self) -> None:
        await self.endpoint.rejections.close()
        await self.endpoint.store.close()
        self.endpoint.bodies.close()

    def close(self) -> None:
        self._loop.run_until_complete(self._close())
        self._loop.close()


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    made = Sender(tmp_path_factory.mktemp("endpoint"))
    yield made
    made.close()


def is_fit(text: str) -> bool:
    """Whether an id or a status can be kept and shown."""
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}
    return len(text) <= 256 and all(
        letter == " " or unicodedata.category(letter) not in hidden for letter in text
    )


@pytest.mark.fault("P5")
@given(OBJECTS)
@example({"video_id": [], "status": {}, "response": "x"})
@example({"status": ["completed"], "video_id": None})
@example({"set_id": 2**64 - 1, "progress": -(2**63)})
def test_a_believed_object_of_any_shape_is_stored_unless_its_ids_are_unfit(
    sender: Sender, payload: dict[str, Any]
) -> None:
    body = json.dumps(payload).encode()
    response = sender.post(body)

    assert response.status in (200, 400)
    ids = [payload[key] for key in IDS if isinstance(payload.get(key), str)]
    if b"\\u0000" in body.replace(b"\\\\", b""):
        assert response.status == 400
    elif all(is_fit(text) for text in ids):
        assert response.status == 200
    if response.status == 200:
        event = sender.event(response)
        assert event["type"] in EVENT_TYPES
        if not isinstance(payload.get("status"), str):
            assert event["type"] == "video.unknown"
        if response.content["status"] == "accepted":
            assert event["body"].encode() == body


@pytest.mark.fault("P5")
@given(JSON.filter(lambda value: not isinstance(value, dict)))
def test_what_is_no_object_is_400(sender: Sender, value: Any) -> None:
    response = sender.post(json.dumps(value).encode())

    assert response.status == 400
    assert response.content["status"] == "error"


@pytest.mark.fault("P4", "P11")
@given(
    st.sampled_from(IDS),
    st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=300)
    | st.text("ab\u202e\u2066\x1b\n\x85\u00a0\u2028\ufeff\ue000\U000e0001é😀 ", min_size=1, max_size=12)
    | st.integers(250, 10_240).map("x".__mul__),
)
@example("status", "x" * 256)
@example("status", "x" * 257)
@example("video_id", "\ud83d\ude00")
@example("video_id", "\ud83d")
@example("set_id", "\0")
def test_an_id_of_any_text_is_kept_as_it_is_or_400(sender: Sender, key: str, text: str) -> None:
    # Two escapes that make one character are that character.
    meant = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    is_text = "\ufffd" in text or "\ufffd" not in meant
    response = sender.post(json.dumps({key: text}).encode())

    assert (response.status == 200) == (is_text and is_fit(meant)), response.body
    assert response.status in (200, 400)
    if response.status == 200:
        assert sender.event(response)["status" if key == "status" else "video_id"] == meant
    else:
        assert meant not in response.body.decode() or len(meant) < 3


@pytest.mark.fault("P11")
@given(st.binary(min_size=1, max_size=300) | st.sampled_from([b"x" * 256, b"x" * 257, b"\xc2\x85", b"\xa0"]))
def test_a_request_id_of_any_bytes_is_kept_as_it_is_or_400(sender: Sender, value: bytes) -> None:
    response = sender.post(b'{"status":"novel"}', x_request_id=value)
    text = value.decode("latin-1")

    assert response.status == (200 if is_fit(text) else 400)
    if response.status == 200:
        assert sender.event(response)["video_id"] == text
