"""Requests that are hard to read, against the running program: it lives, and nothing passes unchecked."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from urllib.parse import unquote

import httpx
import pytest

from tests.acceptance.by_hand import exchange
from tests.acceptance.conftest import FileHost, Receiver, a_video, callback, headers, peak_memory
from tests.invariant import Ledger, assert_balanced
from tests.unit.test_scanner import nested

PATH = "/webhooks/opennote"
MEBIBYTE = 1024 * 1024


def ask(
    receiver: Receiver, method: str, target: str, lines: dict[str, str], body: bytes
) -> tuple[int, bytes]:
    """Send a request as it is spelled here, on a connection of its own; give status and body."""
    head = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items())]
    request = "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body
    return exchange(receiver, request, method=method)


def assert_unharmed(receiver: Receiver, pid: int, ledger: Ledger) -> None:
    """The process that was attacked still lives and takes callbacks, and its books balance."""
    assert receiver.pid == pid
    good = receiver.post(callback("afterwards"))
    assert ledger.told(good.status_code, good.content) == 200
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)
    assert receiver.log("server.failed") == []


@pytest.mark.fault("P1", "P2", "P3", "P4")
def test_a_body_that_is_nested_however_deep_or_is_no_object_leaves_the_server_alive(
    receiver: Receiver,
) -> None:
    pid, ledger = receiver.start("--no-worker").pid, Ledger()
    deep = {depth: nested(depth) for depth in (63, 64, 65, 30_000, 100_000, 1_000_000)}
    bodies = [
        *((body, 200 if depth <= 64 else 400) for depth, body in deep.items()),
        (b'{"a":' * 700_000, 400),
        (b'{"a":' + b"9" * 1_000_000 + b"}", 400),
        (b'{"video_id":"a","video_id":"b"}', 400),
        (b'{"video_id":"' + b"a" * 100_000 + b'","video_id":"b"}', 400),
        ("{}".encode("utf-16"), 400),
        (b'{"a":"' + b"x" * 100_000 + b'\xed\xa0\x80"}', 400),
    ]
    for body, status in bodies:
        answer = receiver.post(body)
        assert ledger.told(answer.status_code, answer.content) == status, body[:20]

    assert_unharmed(receiver, pid, ledger)


@pytest.mark.fault("P6", "P10", "B7")
def test_forms_and_compressed_bodies_are_415_and_never_unpacked(receiver: Receiver) -> None:
    pid, ledger = receiver.start("--no-worker").pid, Ledger()
    assert ledger.told(*answered(receiver.post(callback("before")))) == 200
    before = peak_memory(pid)
    bomb = compressed(b"{" + b" " * 50 * MEBIBYTE)
    forms = [
        ({"content_type": "application/x-www-form-urlencoded"}, b"video_id=v1&status=completed"),
        (
            {"content_type": "multipart/form-data; boundary=b"},
            b'--b\r\nname="video_id"\r\n\r\nv1\r\n--b--\r\n',
        ),
        ({"content_type": "text/plain"}, json.dumps(callback("v1")).encode()),
        *(
            ({"content_encoding": coding}, body)
            for coding in ("gzip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "identity")
            for body in (bomb, compressed(bomb))
        ),
    ]
    for changes, body in forms:
        assert ledger.told(*answered(receiver.post(body, **changes))) == 415, changes
    # What doesn't say that it is compressed isn't unpacked either.
    assert ledger.told(*answered(receiver.post(bomb))) == 400

    assert_unharmed(receiver, pid, ledger)
    assert peak_memory(pid) - before < 16 * MEBIBYTE


def answered(response: httpx.Response) -> tuple[int, bytes]:
    return response.status_code, response.content


def compressed(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


METHODS = ("POST", "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "post", "NONSENSE")
TARGETS = [
    *(
        PATH,
        f"{PATH}?x=/../y",
        f"{PATH}#x",
        "/webhooks/%6fpennote",
        "/%77ebhooks/opennote",
        "/webhooks%2Fopennote",
    ),
    *(
        f"{PATH}/",
        f"/{PATH}",
        "/webhooks//opennote",
        "/./webhooks/opennote",
        "/webhooks/./opennote",
        f"{PATH}/.",
    ),
    *(
        f"/webhooks/x/..{PATH}",
        "/webhooks/x/../opennote",
        "/webhooks/%2e/opennote",
        f"{PATH}%00",
        f"{PATH}%20",
    ),
    *(
        f"{PATH}%0a",
        f"{PATH};x",
        f"{PATH}.json",
        "/Webhooks/opennote",
        "/webhooks/Opennote",
        "/webhooks/OPENNOTE",
    ),
    *(
        "/webhooks\\opennote",
        "/webhooks/opennot%C3%A9",
        "/webhooks/%256fpennote",
        "/webhooks/",
        "/webhooks",
        "/",
    ),
    *(
        "/%",
        "/%zz",
        "/healthz",
        "/healthz/",
        "/HEALTHZ",
        f"/healthz/..{PATH}",
        f"/healthz%2f..{PATH}",
        "/api/v1",
    ),
]


def expected(method: str, target: str, *, is_right: bool) -> int:
    """What the rules say, by the path alone."""
    path = unquote(target.partition("?")[0].partition("#")[0])
    if method in ("post", "NONSENSE"):
        return 400
    if path == PATH:
        return 405 if method != "POST" else 200 if is_right else 401
    if path == "/healthz":
        return 200 if method in ("GET", "HEAD") else 405
    return 404


@pytest.mark.fault("P9")
def test_no_spelling_of_a_path_and_no_method_goes_round_the_check(receiver: Receiver) -> None:
    pid, ledger = receiver.start("--no-worker").pid, Ledger()
    for is_right in (True, False):
        lines = {"Host": "x", **(headers() if is_right else headers(X_API_Key="wrong"))}
        for target in TARGETS:
            for method in METHODS:
                status, body = ask(receiver, method, target, lines, b"{}")
                assert status == expected(method, target, is_right=is_right), (method, target, is_right)
                if unquote(target).startswith(PATH) and method == "POST":
                    ledger.told(status, body)
                elif status >= 400:
                    ledger.told(status, b"")
    assert len(ledger.acknowledged) == 6
    assert ledger.by_status[401] == 6

    assert_unharmed(receiver, pid, ledger)


HOSTS = [
    *(
        "x",
        "",
        "evil.example",
        "a:99999",
        "a:-1",
        "[::1",
        "]",
        "evil.example/webhooks/opennote",
        "evil.example?x",
    ),
    *(
        "evil.example#",
        "user:pass@evil.example",
        "..",
        "a b",
        "a,b",
        "http://evil.example/",
        PATH,
        "/healthz",
        "%2f",
    ),
    *("\xff", "\t", "x" * 300, '"', "<script>", "127.0.0.1:22", "localhost\\@evil.example"),
]


@pytest.mark.fault("P8")
def test_nothing_is_decided_by_the_host_that_a_request_names(receiver: Receiver) -> None:
    pid, ledger = receiver.start("--no-worker").pid, Ledger()
    right, wrong = headers(), headers(X_API_Key="wrong")
    requests = [
        ("POST", PATH, right, 200),
        ("POST", PATH, wrong, 401),
        ("GET", PATH, right, 405),
        ("POST", "/webhooks/nobody", right, 404),
        ("GET", "/healthz", {}, 200),
        ("GET", "/", {}, 404),
        ("POST", f"http://evil.example{PATH}", right, 200),
        ("POST", f"http://evil.example{PATH}", wrong, 401),
    ]
    for host in HOSTS:
        for method, target, lines, status in requests:
            answer = ask(receiver, method, target, {"Host": host, "X-Forwarded-Host": host, **lines}, b"{}")
            assert answer[0] == status, (host, method, target)
            assert b"evil" not in answer[1]
            if target != "/healthz":
                ledger.told(*answer)

    assert_unharmed(receiver, pid, ledger)


@pytest.mark.fault("B9", "B10")
def test_base64_that_is_none_is_dead_with_its_place_and_one_of_two_videos_is_taken(
    receivers: Callable[..., Receiver], file_host: FileHost
) -> None:
    receiver, ledger = receivers(s3_base_url=file_host.base).start(), Ledger()
    small, large = a_video(), a_video(padding=100_000)
    link = file_host.give("linked.mp4", a_video("linked"))
    spoiled = {"small": (small, 400), "large": (large, 90_001)}
    bodies = {
        "both": callback("both", video=small, url=link),
        "neither": callback("neither"),
        "linked": callback("linked", url=link),
        **{name: with_text(name, spoil(video, at)) for name, (video, at) in spoiled.items()},
        **{
            f"{name}-cut": with_text(f"{name}-cut", encoded(video)[:-3])
            for name, (video, _) in spoiled.items()
        },
    }
    for payload in bodies.values():
        answer = receiver.post(payload)
        assert ledger.told(*answered(answer)) == 200

    events = {event["video_id"]: event for event in receiver.settled(count=len(bodies))}
    jobs = {video: event["jobs"][0] for video, event in events.items()}
    assert {video for video, job in jobs.items() if job["state"] == "done"} == {"both", "linked"}
    assert [job["attempts"] for job in jobs.values()] == [1] * len(bodies)
    for name, (_, at) in spoiled.items():
        assert f"not base64, at byte {at}" in jobs[name]["last_error"]
        assert "ends within a base64 group" in jobs[f"{name}-cut"]["last_error"]
        raw = receiver.run("show", events[name]["id"], "--raw").stdout
        assert json.loads(raw) == bodies[name]
    assert "names no video" in jobs["neither"]["last_error"]
    assert set(receiver.files("both").values()) == {small}
    assert len(receiver.files()) == 2
    assert receiver.halves() == []
    assert file_host.asked == ["/videofs/linked.mp4"]
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)


def encoded(video: bytes) -> str:
    return base64.b64encode(video).decode()


def spoil(video: bytes, at: int) -> str:
    text = encoded(video)
    return f"{text[:at]}!{text[at + 1 :]}"


def with_text(video_id: str, text: str) -> dict[str, object]:
    payload = callback(video_id, video=b"")
    payload["response"]["b64_video"] = text
    return payload
