"""The endpoint through its ASGI interface, with a real store: what is answered, in which order, and kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from structlog.testing import CapturingLogger

from receiver.bodies import Bodies
from receiver.ingress import Ingress
from receiver.peers import BadCredentials
from receiver.rejections import Rejections
from receiver.router import HandlerCard
from receiver.store.service import Service
from receiver.store.values import EventFilter, Row
from tests.samples.reading import API_KEY, Sample, opennote, sample

NOW = 1_700_000_000_000
PATH = "/webhooks/opennote"
BURST = 100
CARDS = [
    HandlerCard("save_video", ("video.completed",), None, 20, 600, None, None, ""),
    HandlerCard("tell", ("video.completed",), None, 20, 600, None, "save_video", ""),
    HandlerCard("log", ("video.failed",), "another", 20, 600, None, None, ""),
]
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Response:
    """What a sender got."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed


@dataclass(slots=True)
class Upload:
    """The body of a request; it knows how often it was asked for."""

    chunks: Iterable[bytes]
    breaks_off: bool = False
    asked: int = 0
    _messages: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in self.chunks]
        if self.breaks_off:
            self._messages.append({"type": "http.disconnect"})
        else:
            self._messages[-1]["more_body"] = False

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        return self._messages.pop(0)


class Endpoint:
    """An ingress with all that it needs, and a sender in front of it."""

    def __init__(self, folder: Path, *, reserve: int = 0, **source: Any) -> None:
        self.log = CapturingLogger()
        self.clock = 0.0
        self.store = Service(folder / "receiver.db", run="r", lease_seconds=60)
        self.bodies = Bodies(folder / "bodies", reserve=reserve)
        self.rejections = Rejections(self.store, wall=lambda: NOW, log=self.log)
        self._ids = iter(range(10**6))
        self.ingress = Ingress(
            {"opennote": opennote(**source)},
            cards=CARDS,
            intake=self.store,
            bodies=self.bodies,
            rejections=self.rejections,
            bad_credentials=BadCredentials(clock=lambda: self.clock, burst=BURST, per_second=1),
            wall=lambda: NOW,
            random=lambda count: next(self._ids).to_bytes(count, "big"),
            log=self.log,
        )

    async def send(
        self,
        upload: Upload,
        headers: Headers,
        *,
        path: str = PATH,
        method: str = "POST",
        peer: str = "192.0.2.1",
    ) -> Response | None:
        """Send a request; None when there was no answer."""
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": (peer, 5)}
        messages: list[Any] = []

        async def send(message: Any) -> None:
            messages.append(message)

        await self.ingress(scope, upload.receive, send)
        if not messages:
            return None
        start, body = messages
        return Response(start["status"], dict(start["headers"]), body["body"])

    async def post(self, request: Sample, **how: Any) -> Response:
        """Send a sample, or something like it, in one piece."""
        response = await self.send(Upload([request.body]), request.headers, **how)
        assert response is not None
        return response

    async def events(self) -> list[Row]:
        return await self.store.events(EventFilter(), limit=100, before=None)

    async def rejected(self) -> list[Row]:
        await self.rejections.close()
        return await self.store.rejections(limit=2000)


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[Endpoint]:
    made = Endpoint(tmp_path)
    yield made
    await made.rejections.close()
    await made.store.close()
    made.bodies.close()


COMPLETED = sample("opennote", "completed_s3")


def altered(request: Sample, *without: bytes, **headers: bytes) -> Sample:
    """The same request, with other values of some headers and without some."""
    changes = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    kept = [(name, changes.pop(name, value)) for name, value in request.headers if name not in without]
    return replace(request, headers=[*kept, *changes.items()])


def saying(**payload: Any) -> Sample:
    """A believed request with such a body."""
    return with_body(orjson.dumps(payload))


def with_body(body: bytes) -> Sample:
    headers = [
        (name, value) for name, value in COMPLETED.headers if name not in (b"content-length", b"x-request-id")
    ]
    return Sample([*headers, (b"content-length", b"%d" % len(body))], body)


WRONG_KEY = altered(COMPLETED, x_api_key=b"canary-wrong")


@pytest.mark.anyio
async def test_a_callback_is_recorded_with_its_event_and_its_jobs(endpoint: Endpoint) -> None:
    response = await endpoint.post(COMPLETED)

    assert response.status == 200
    assert list(response.content) == ["status", "event"]
    assert response.content["status"] == "accepted"
    event = await endpoint.store.event(response.content["event"])
    assert event["source"] == "opennote"
    assert event["type"] == "video.completed"
    assert event["video_id"] == COMPLETED.payload["video_id"]
    assert event["title"] == "Photosynthesis in Plants"
    assert event["received_at"] == NOW
    assert event["bytes"] == len(COMPLETED.body)
    assert event["body"].encode() == COMPLETED.body
    assert [(job["handler"], job["state"]) for job in event["jobs"]] == [
        ("save_video", "ready"),
        ("tell", "waiting"),
    ]


@pytest.mark.anyio
@pytest.mark.fault("O1")
async def test_what_is_kept_of_the_headers_holds_no_credential(endpoint: Endpoint) -> None:
    request = altered(
        COMPLETED, authorization=API_KEY.encode(), cookie=b"canary-cookie", x_other=API_KEY.encode()
    )
    event = await endpoint.store.event((await endpoint.post(request)).content["event"])

    [delivery] = event["deliveries"]
    kept = dict(delivery["headers"])
    assert set(kept) == {name.decode() for name, _ in request.headers}
    assert kept["x-api-key"].startswith("redacted:")
    assert kept["x-organization-id"] == "org_example"
    assert (delivery["method"], delivery["path"], delivery["via"]) == ("POST", PATH, "callback")
    assert API_KEY not in str(event)
    assert "canary" not in str(event)
    assert API_KEY not in str(endpoint.log.calls)


@pytest.mark.fault("O1")
def test_no_file_of_the_store_holds_a_credential(tmp_path: Path) -> None:
    async def run() -> None:
        endpoint = Endpoint(tmp_path)
        await endpoint.post(altered(COMPLETED, authorization=API_KEY.encode(), x_other=API_KEY.encode()))
        await endpoint.post(altered(COMPLETED, x_api_key=b"canary-wrong"))
        await endpoint.rejected()
        await endpoint.store.close()
        endpoint.bodies.close()

    asyncio.run(run())

    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert COMPLETED.payload["video_id"].encode() in kept
    assert API_KEY.encode() not in kept
    assert b"canary" not in kept


# The order: 404, 405, 401, 415, 413, then the body. Each request below has every fault from its own on.
FAULTS: list[tuple[int, dict[str, Any]]] = [
    (404, {"path": "/webhooks/nobody"}),
    (405, {"method": "GET"}),
    (401, {"x_api_key": b"wrong"}),
    (415, {"content_type": b"text/plain"}),
    (413, {"content_length": b"9999999999"}),
    (400, {"body": b"not json"}),
]


@pytest.mark.anyio
@pytest.mark.fault("P9")
@pytest.mark.parametrize("first", range(len(FAULTS)), ids=[str(status) for status, _ in FAULTS])
async def test_of_several_faults_the_first_in_the_order_is_answered(first: int, endpoint: Endpoint) -> None:
    faults = {key: value for _, fault in FAULTS[first:] for key, value in fault.items()}
    how = {key: faults.pop(key) for key in ("path", "method") if key in faults}
    body = faults.pop("body")
    upload = Upload([body])
    request = altered(replace(COMPLETED, body=body), **faults)

    response = await endpoint.send(upload, request.headers, **how)

    assert response is not None
    assert response.status == FAULTS[first][0]
    assert upload.asked == (response.status == 400)
    assert response.headers[b"connection"] == b"close"
    assert set(response.content) == {"status", "error"}
    assert await endpoint.events() == []


@pytest.mark.anyio
@pytest.mark.fault("P9")
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "post"])
async def test_only_post_is_answered(method: str, endpoint: Endpoint) -> None:
    response = await endpoint.post(COMPLETED, method=method)

    assert (response.status, response.headers[b"allow"]) == (405, b"POST")


@pytest.mark.anyio
@pytest.mark.fault("P9")
@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/",
        "/webhooks/opennote/",
        "/webhooks/Opennote",
        "/webhooks//opennote",
        "/webhooks/./opennote",
        "/webhooks/opennote/../opennote",
        "/webhooks/opennote\x00",
        "/webhooks/opennote ",
        "//webhooks/opennote",
        "/",
    ],
)
async def test_only_the_exact_path_of_a_source_is_known(path: str, endpoint: Endpoint) -> None:
    assert (await endpoint.post(COMPLETED, path=path)).status == 404


@pytest.mark.anyio
@pytest.mark.fault("A1", "B3")
async def test_every_way_to_be_denied_gets_one_identical_answer_before_any_body_byte(
    endpoint: Endpoint,
) -> None:
    names = ("x-webhook-platform", "x-origin", "x-organization-id", "x-api-key")
    requests = [altered(COMPLETED, name.encode()) for name in names]
    for value in (b"", b"wrong", b"\xff", b"x" * 10_000):
        requests += [altered(COMPLETED, **{name.replace("-", "_"): value}) for name in names]
    requests += [
        replace(COMPLETED, headers=[*COMPLETED.headers, header])
        for header in COMPLETED.headers
        if header[0].decode() in names
    ]
    answers = set()
    for request in requests:
        upload = Upload([request.body])
        response = await endpoint.send(upload, request.headers)
        assert response is not None
        assert upload.asked == 0
        answers.add((response.status, tuple(response.headers.items()), response.body))

    assert len(requests) == 24
    [(status, _, body)] = answers
    assert status == 401
    assert orjson.loads(body) == {"status": "rejected", "error": "the credentials are missing or wrong"}
    assert await endpoint.events() == []


@pytest.mark.anyio
@pytest.mark.fault("O1")
async def test_a_rejection_names_the_failing_check_and_no_value(endpoint: Endpoint) -> None:
    await endpoint.post(altered(COMPLETED, b"x-origin", x_api_key=b"canary-key", x_organization_id=b""))

    [entry] = await endpoint.rejected()

    assert entry == {
        "at": NOW,
        "source": "opennote",
        "status": 401,
        "reason": "x-origin is missing, x-organization-id is empty, x-api-key is wrong",
        "peer": "192.0.2.1",
        "repeated": 1,
    }
    assert "canary" not in str(endpoint.log.calls)


@pytest.mark.anyio
async def test_an_unknown_path_is_answered_without_a_rejection(endpoint: Endpoint) -> None:
    await endpoint.post(COMPLETED, path="/webhooks/x")
    await endpoint.post(COMPLETED, method="GET")

    assert await endpoint.rejected() == []


@pytest.mark.anyio
@pytest.mark.fault("P6")
@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"Application/JSON",
        b"application/json; charset=utf-8",
        b'application/json;charset="UTF-8"',
        b"application/vnd.opennote+json",
        b'application/json ;  charset="utf-8" ; x="a;charset=utf-16"; y=z;',
        b" application/json ",
    ],
)
async def test_json_is_accepted_under_any_of_its_names(content_type: bytes, endpoint: Endpoint) -> None:
    assert (await endpoint.post(altered(COMPLETED, content_type=content_type))).status == 200


@pytest.mark.anyio
@pytest.mark.fault("P6", "P10", "B7")
@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": b""},
        {"content_type": b"text/json"},
        {"content_type": b"text/plain"},
        {"content_type": b"application/jsonp"},
        {"content_type": b"application/json-seq"},
        {"content_type": b"application/x-www-form-urlencoded"},
        {"content_type": b"multipart/form-data; boundary=x"},
        {"content_type": b"application/json; charset=utf-16"},
        {"content_type": b"application/json; charset=latin1"},
        {"content_type": b"image/svg+json"},
        {"content_type": b"application/+json"},
        {"content_type": b"application/json; charset=utf-8-foo"},
        {"content_type": b"application/json; charset=utf-8;charset=utf-16"},
        {"content_type": b"application/json; charset=utf-16; x=charset=utf-8"},
        {"content_type": b"application/json; charset"},
        {"content_type": b"application/json, application/json"},
        {"content_type": b"application/json" + b" ; " * 1000 + b"\x00"},
        {"content_type": b"\xff"},
        {"content_encoding": b"gzip"},
        {"content_encoding": b"identity"},
        {"content_encoding": b"br, gzip"},
        {"content_encoding": b"gzip, gzip"},
        {"content_encoding": b"zstd"},
        {"content_encoding": b"x-gzip"},
        {"content_encoding": b"deflate"},
        {"content_encoding": b""},
    ],
    ids=str,
)
async def test_anything_else_than_plain_json_is_415_and_not_read(
    headers: dict[str, bytes], endpoint: Endpoint
) -> None:
    upload = Upload([COMPLETED.body])
    response = await endpoint.send(upload, altered(COMPLETED, **headers).headers)

    assert response is not None
    assert (response.status, upload.asked) == (415, 0)
    assert [entry["status"] for entry in await endpoint.rejected()] == [415]


@pytest.mark.anyio
@pytest.mark.fault("P6")
@pytest.mark.parametrize("second", [b"application/json", b"text/plain"])
async def test_two_content_types_are_415(second: bytes, endpoint: Endpoint) -> None:
    headers = [(b"content-type", second), *COMPLETED.headers]
    response = await endpoint.send(Upload([COMPLETED.body]), headers)

    assert response is not None
    assert response.status == 415


@pytest.mark.anyio
@pytest.mark.fault("P6")
async def test_a_body_without_a_content_type_is_415(endpoint: Endpoint) -> None:
    assert (await endpoint.post(altered(COMPLETED, b"content-type"))).status == 415


@pytest.mark.anyio
@pytest.mark.fault("B1")
@pytest.mark.parametrize(("excess", "status"), [(-1, 200), (0, 200), (1, 413)])
@pytest.mark.parametrize("is_declared", [True, False])
async def test_the_limit_of_the_body_is_exact(
    excess: int, status: int, is_declared: bool, tmp_path: Path
) -> None:
    endpoint = Endpoint(tmp_path, max_body=len(COMPLETED.body))
    body = COMPLETED.body + b" " * excess if excess >= 0 else COMPLETED.body.replace(b": ", b":", 1)
    request = with_body(body) if is_declared else altered(with_body(body), b"content-length")
    upload = Upload([body])

    response = await endpoint.send(upload, request.headers)

    assert response is not None
    assert response.status == status
    assert upload.asked == (0 if status == 413 and is_declared else 1)
    await endpoint.store.close()
    endpoint.bodies.close()


@pytest.mark.anyio
@pytest.mark.fault("B1")
async def test_an_undeclared_body_over_the_limit_is_413_while_it_is_streamed(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path, max_body=100_000)
    upload = Upload([b'{"a":"', *[b"x" * 30_000] * 10, b'"}'])

    response = await endpoint.send(upload, altered(COMPLETED, b"content-length").headers)

    assert response is not None
    assert response.status == 413
    assert upload.asked == 5
    assert [file for file in (tmp_path / "bodies").rglob("*") if file.is_file()] == []
    await endpoint.store.close()
    endpoint.bodies.close()


@pytest.mark.anyio
@pytest.mark.fault("P1", "P2", "P3", "P4", "P11")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"canary",
        b"[]",
        b"null",
        b'"canary"',
        b'{"canary": 1',
        b'{"canary": 1}{}',
        b'{"canary": 1, "canary": 2}',
        b'{"status": "completed", "status": "failed"}',
        b'{"canary": NaN}',
        b'{"canary": 1e999}',
        b'{"canary": 123456789012345678901234567890}',
        b'{"canary": "\\ud800"}',
        b'{"canary": "\\u0000"}',
        b'{"canary": "\xff"}',
        b"\xef\xbb\xbf{}",
        '{"canary": 1}'.encode("utf-16"),
        b'{"canary":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"canary":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"canary": "a\nb"}',
        b'{"video_id": "canary\\u001b"}',
        b'{"video_id": "' + b"canary" * 2000 + b'"}',
        b'{"status": "canary\\u202e"}',
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_what_is_not_one_strict_object_is_400_without_an_echo(body: bytes, endpoint: Endpoint) -> None:
    response = await endpoint.post(with_body(body))

    assert response.status == 400
    assert response.content["status"] == "error"
    assert response.content["error"]
    assert b"canary" not in response.body
    assert len(response.body) < 300
    assert await endpoint.events() == []
    [entry] = await endpoint.rejected()
    assert entry["status"] == 400
    assert "canary" not in str(entry)
    assert "canary" not in str(endpoint.log.calls)


@pytest.mark.anyio
@pytest.mark.fault("P5")
@pytest.mark.parametrize(
    "payload",
    [{}, {"x": 1}, {"status": None}, {"status": "novel"}, {"video_id": 7}, {"response": []}, {"set_id": "s"}],
    ids=str,
)
async def test_a_believed_object_of_any_shape_is_kept(payload: dict[str, Any], endpoint: Endpoint) -> None:
    response = await endpoint.post(saying(**payload))

    assert response.content["status"] == "accepted"
    event = await endpoint.store.event(response.content["event"])
    assert event["type"] == "video.unknown"
    assert orjson.loads(event["body"]) == payload


@pytest.mark.anyio
async def test_the_same_again_is_a_duplicate_of_the_first(endpoint: Endpoint) -> None:
    first = await endpoint.post(COMPLETED)
    again = await endpoint.post(COMPLETED)

    assert again.content == {"status": "duplicate", "event": first.content["event"]}
    [event] = await endpoint.events()
    assert (event["duplicates"], event["conflict"], len(event["jobs"])) == (1, 0, 2)
    deliveries = (await endpoint.store.event(event["id"]))["deliveries"]
    assert [delivery["verdict"] for delivery in deliveries] == ["accepted", "duplicate"]


@pytest.mark.anyio
@pytest.mark.fault("D1")
async def test_of_64_equal_callbacks_at_once_one_is_an_event(endpoint: Endpoint) -> None:
    responses = await asyncio.gather(*(endpoint.post(COMPLETED) for _ in range(64)))

    assert {response.status for response in responses} == {200}
    assert sorted(response.content["status"] for response in responses) == ["accepted"] + ["duplicate"] * 63
    assert len({response.content["event"] for response in responses}) == 1
    [event] = await endpoint.events()
    assert (event["duplicates"], len(event["jobs"])) == (63, 2)


@pytest.mark.anyio
async def test_failed_after_completed_gets_the_answer_of_a_duplicate_and_no_job(endpoint: Endpoint) -> None:
    first = await endpoint.post(saying(video_id="v", status="completed"))
    response = await endpoint.post(saying(video_id="v", status="failed"))

    assert response.content == {"status": "duplicate", "event": first.content["event"]}
    [event] = await endpoint.events()
    assert (event["conflict"], event["type"]) == (1, "video.completed")


@pytest.mark.anyio
async def test_another_link_is_a_conflict_and_another_signature_is_not(endpoint: Endpoint) -> None:
    def linked(url: str) -> Sample:
        return saying(video_id="v", status="completed", response={"s3_url": url})

    await endpoint.post(linked("https://s3/v.mp4?sig=1"))
    await endpoint.post(linked("https://s3/v.mp4?sig=2"))
    [before] = await endpoint.events()
    answer = await endpoint.post(linked("https://s3/other.mp4?sig=1"))
    [after] = await endpoint.events()

    assert (before["duplicates"], before["conflict"]) == (1, 0)
    assert after["conflict"] == 1
    assert answer.content == {"status": "duplicate", "event": before["id"]}


@pytest.mark.anyio
async def test_completed_after_failed_is_a_second_event_with_a_warning(endpoint: Endpoint) -> None:
    await endpoint.post(saying(video_id="v", status="failed"))
    response = await endpoint.post(saying(video_id="v", status="completed"))

    assert response.content["status"] == "accepted"
    newest, oldest = await endpoint.events()
    assert (newest["type"], newest["warnings"]) == ("video.completed", ["after_failure"])
    assert (oldest["type"], oldest["warnings"]) == ("video.failed", [])


@pytest.mark.anyio
async def test_pending_before_completed_is_an_event_of_its_own(endpoint: Endpoint) -> None:
    for progress in (10, 60):
        await endpoint.post(saying(video_id="v", status="pending", progress=progress))
    await endpoint.post(saying(video_id="v", status="completed"))
    late = await endpoint.post(saying(video_id="v", status="pending", progress=90))

    completed, pending = await endpoint.events()
    assert (pending["type"], pending["duplicates"], pending["progress"]) == ("video.progress", 2, 60)
    assert (completed["type"], completed["conflict"]) == ("video.completed", 0)
    assert late.content == {"status": "duplicate", "event": pending["id"]}


@pytest.mark.anyio
async def test_a_rewritten_request_id_is_a_warning_and_not_another_event(endpoint: Endpoint) -> None:
    behind = sample("opennote", "completed_s3_behind_a_proxy")
    first = await endpoint.post(behind)
    again = await endpoint.post(altered(behind, x_request_id=b"yet another"))

    assert again.content["event"] == first.content["event"]
    [event] = await endpoint.events()
    assert event["warnings"] == ["request_id_rewritten"]


@pytest.mark.anyio
@pytest.mark.fault("D2")
async def test_a_denied_request_reserves_no_id(endpoint: Endpoint) -> None:
    await endpoint.post(WRONG_KEY)

    assert (await endpoint.post(COMPLETED)).content["status"] == "accepted"


def large(size: int) -> bytes:
    return (
        b'{"video_id":"big","status":"completed","response":{"b64_video":"' + b"QUJD" * (size // 4) + b'"}}'
    )


@pytest.mark.anyio
@pytest.mark.parametrize("size", [64 * 1024, 3 * 2**20])
async def test_a_body_over_64_kib_becomes_a_body_file(size: int, endpoint: Endpoint) -> None:
    body = large(size)
    request = with_body(body)
    chunks = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]

    response = await endpoint.send(Upload(chunks), request.headers)

    assert response is not None
    event = await endpoint.store.event(response.content["event"])
    sha256 = hashlib.sha256(body).hexdigest()
    assert (event["body"], event["body_sha256"], event["bytes"]) == (None, sha256, len(body))
    assert endpoint.bodies.path(sha256).read_bytes() == body
    long = size > 64 * 1024
    payload = event["payload"]
    assert payload["response"]["b64_video"] == (
        {"$long_string": {"bytes": size}} if long else "QUJD" * (size // 4)
    )
    assert len(event["strings"]) == long
    [file] = [file for file in endpoint.bodies.directory.rglob("*") if file.is_file()]
    assert file.name == sha256


@pytest.mark.anyio
async def test_a_body_of_64_kib_stays_in_the_row(endpoint: Endpoint) -> None:
    body = large(65_000).ljust(64 * 1024)

    event = await endpoint.store.event((await endpoint.post(with_body(body))).content["event"])

    assert (event["body"].encode(), event["body_sha256"]) == (body, None)
    assert not endpoint.bodies.directory.exists()


@pytest.mark.anyio
async def test_another_inline_video_is_a_conflict(endpoint: Endpoint) -> None:
    body = large(2**20)
    await endpoint.post(with_body(body))
    await endpoint.post(with_body(body.replace(b"QUJD", b"QUJE", 1)))

    [event] = await endpoint.events()
    assert event["conflict"] == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "chunks", [[], [b'{"a":'], [b'{"a":"', b"x" * 100_000]], ids=["none", "small", "large"]
)
async def test_a_sender_that_goes_away_gets_no_answer_and_leaves_nothing(
    chunks: list[bytes], endpoint: Endpoint
) -> None:
    response = await endpoint.send(
        Upload(chunks, breaks_off=True), altered(COMPLETED, b"content-length").headers
    )

    assert response is None
    assert await endpoint.events() == []
    assert await endpoint.rejected() == []
    assert [file for file in endpoint.bodies.directory.rglob("*") if file.is_file()] == []
    assert [call.args for call in endpoint.log.calls] == [("delivery.abandoned",)]


@pytest.mark.anyio
@pytest.mark.parametrize("body", [COMPLETED.body, large(200_000)], ids=["small", "large"])
async def test_without_a_store_the_sender_is_asked_to_come_again(body: bytes, tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path)
    await endpoint.store.close()

    response = await endpoint.post(with_body(body))

    assert response.status == 503
    assert int(response.headers[b"retry-after"]) > 0
    assert response.headers[b"connection"] == b"close"
    assert response.content == {"status": "refused", "error": "the delivery can't be recorded right now"}
    assert [call.args for call in endpoint.log.calls] == [("delivery.refused",)]
    endpoint.bodies.close()


@pytest.mark.anyio
async def test_without_space_a_large_body_is_refused_and_a_small_one_is_not(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path)
    endpoint.bodies.room.reserve = 2**62

    assert (await endpoint.post(with_body(large(200_000)))).status == 503
    assert (await endpoint.post(COMPLETED)).status == 200
    await endpoint.store.close()
    endpoint.bodies.close()


@pytest.mark.anyio
async def test_denials_are_always_answered_even_without_a_store(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path)
    await endpoint.store.close()

    assert (await endpoint.post(WRONG_KEY)).status == 401
    await endpoint.rejections.close()
    endpoint.bodies.close()


@pytest.mark.anyio
async def test_after_the_burst_a_peer_is_asked_to_wait_until_it_has(endpoint: Endpoint) -> None:
    statuses = [(await endpoint.post(WRONG_KEY)).status for _ in range(BURST)]
    limited = await endpoint.post(WRONG_KEY)
    other = await endpoint.post(WRONG_KEY, peer="192.0.2.2")
    endpoint.clock += 1
    later = await endpoint.post(WRONG_KEY)

    assert set(statuses) == {401}
    assert limited.status == 429
    assert int(limited.headers[b"retry-after"]) >= 1
    assert limited.content == {"status": "rejected", "error": "too many requests with bad credentials"}
    assert limited.headers[b"connection"] == b"close"
    assert (other.status, later.status) == (401, 401)


@pytest.mark.anyio
@pytest.mark.fault("A13")
async def test_valid_credentials_are_never_limited(endpoint: Endpoint) -> None:
    for _ in range(BURST + 5):
        await endpoint.post(WRONG_KEY)

    responses = [await endpoint.post(saying(video_id=f"v{number}")) for number in range(BURST + 5)]

    assert {response.status for response in responses} == {200}


@pytest.mark.anyio
@pytest.mark.fault("A13")
async def test_the_forwarded_peer_counts_only_behind_a_trusted_proxy(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path)
    for number in range(BURST):
        await endpoint.post(altered(WRONG_KEY, x_forwarded_for=b"198.51.100.%d" % (number % 250)))

    assert (await endpoint.post(altered(WRONG_KEY, x_forwarded_for=b"198.51.100.251"))).status == 429
    await endpoint.rejections.close()
    await endpoint.store.close()


@pytest.mark.anyio
async def test_what_was_recorded_is_logged_with_its_ids(endpoint: Endpoint) -> None:
    await endpoint.post(COMPLETED)
    await endpoint.post(COMPLETED)
    await endpoint.post(saying(video_id=COMPLETED.payload["video_id"], status="failed"))

    assert [call.args[0] for call in endpoint.log.calls] == [
        "event.recorded",
        "delivery.repeated",
        "delivery.conflicted",
    ]
    [event] = await endpoint.events()
    assert all(call.kwargs["event_id"] == event["id"] for call in endpoint.log.calls)
    assert all(call.kwargs["video"] == COMPLETED.payload["video_id"] for call in endpoint.log.calls)


@pytest.mark.anyio
async def test_every_event_has_an_id_of_its_own_that_begins_with_its_time(endpoint: Endpoint) -> None:
    for number in range(20):
        await endpoint.post(saying(video_id=f"v{number}"))

    ids = [event["id"] for event in await endpoint.events()]
    assert len(set(ids)) == 20
    assert len({event_id[:12] for event_id in ids}) == 1
