"""The main job: a callback comes in, a playable video lies in the folder; nobody else gets in."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import (
    KEY,
    ORGANIZATION,
    FileHost,
    Receiver,
    a_video,
    callback,
    decode,
    headers,
    hosting,
    sha256,
    together,
    until,
)

SECOND = """\
[sources.second]
kind = "opennote"
organization_id = "org_two"
api_keys = ["old-key", "new-key"]
"""


@pytest.fixture(scope="module")
def host() -> Iterator[FileHost]:
    """The file host of this module's receiver."""
    with hosting() as host:
        yield host


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, host: FileHost) -> Iterator[Receiver]:
    """A running receiver of two organisations; each test has videos of its own."""
    folder = tmp_path_factory.mktemp("main_job")
    with Receiver(folder).configure(SECOND, s3_base_url=host.base) as receiver:
        yield receiver.start()


SOURCES = [{"url": "https://example.com/a", "content": "What was read."}]


def test_a_link_and_an_inline_video_become_playable_files_with_descriptions(
    shared: Receiver, host: FileHost
) -> None:
    receiver = shared
    link = host.give("v1.mp4", a_video("linked", padding=300_000))
    told: dict[str, Any] = {
        "transcript": "Once upon a time.",
        "sources": SOURCES,
        "cost": 0.25,
        "model": "picasso",
    }
    posted = {
        "v1": callback("v1", url=link + "?signature=secret-of-the-link", title="By link", **told),
        "v2": callback("v2", video=a_video("inline"), title="Inline", **told),
    }
    ids = {name: receiver.accepted(payload) for name, payload in posted.items()}
    events = {event["video_id"]: event for event in receiver.settled(count=2, of=("v1", "v2"))}
    expected = {"By link-v1": a_video("linked", padding=300_000), "Inline-v2": a_video("inline")}
    assert receiver.files("v1", "v2") == {f"{name}.mp4": content for name, content in expected.items()}
    for name, content in expected.items():
        decode(receiver.videos / f"{name}.mp4")
        described = json.loads((receiver.videos / f"{name}.json").read_text())
        video_id = name[-2:]
        assert described == {
            "file": f"{name}.mp4",
            "bytes": len(content),
            "sha256": sha256(content),
            "title": name[:-3],
            **told,
            "event": ids[video_id],
            "video": video_id,
            "source": "opennote",
            "received_at": described["received_at"],
        }
        shown = receiver.show(ids[video_id])
        assert json.loads(shown["jobs"][0]["result"])["sha256"] == sha256(content)
        assert events[video_id]["title"] == name[:-3]
        raw = receiver.run("show", ids[video_id], "--raw").stdout
        assert raw == json.dumps(posted[video_id])
    assert "secret-of-the-link" not in receiver.log_file.read_text()


def test_inline_comes_before_link_and_the_link_is_not_asked(shared: Receiver, host: FileHost) -> None:
    link = host.give("both.mp4", a_video("linked"))
    shared.accepted(callback("both", url=link, video=a_video("inline")))
    shared.settled(count=1, of=["both"])
    assert list(shared.files("both").values()) == [a_video("inline")]
    assert "/videofs/both.mp4" not in host.asked


@pytest.mark.fault("A1", "A3")
def test_only_all_four_headers_right_and_once_let_anything_in(receiver: Receiver) -> None:
    """Every header missing, wrong, empty, not ASCII and doubled, alone and together with the others."""
    right = {
        b"X-Webhook-Platform": b"opennote-api",
        b"X-Origin": b"https://video.api.opennote.com",
        b"X-Organization-Id": ORGANIZATION.encode(),
        b"X-API-Key": KEY.encode(),
    }
    forms: dict[str, Callable[[bytes, bytes], list[tuple[bytes, bytes]]]] = {
        "": lambda name, value: [(name, value)],
        "is missing": lambda name, value: [],
        "is wrong": lambda name, value: [(name, value[:-1] + b"~")],
        "is empty": lambda name, value: [(name, b"")],
        "is wrong (not ASCII)": lambda name, value: [(name, value + b"\xff\xe9")],
        "is given more than once": lambda name, value: [(name, value), (name, value)],
    }
    short = dict.fromkeys(right, ("", "is missing", "is wrong"))
    tables = [list(itertools.product(*short.values()))]
    tables += [
        [tuple(form if at == place else "" for at in range(4)) for form in forms] for place in range(4)
    ]
    tables += [[(form,) * 4 for form in forms]]
    cases = list(dict.fromkeys(itertools.chain(*tables)))
    receiver.start("--no-worker")
    bodies: dict[bytes, int] = {}
    with httpx.Client(trust_env=False) as client:

        def post(case: tuple[str, ...], number: int) -> httpx.Response:
            sent: list[tuple[bytes, bytes]] = [(b"Content-Type", b"application/json")]
            for form, (name, value) in zip(case, right.items(), strict=True):
                sent += forms[form](name, value)
            body = json.dumps(callback(f"v{number}", "failed"))
            return client.post(f"{receiver.url}/webhooks/opennote", content=body, headers=sent)

        for number, case in enumerate(cases):
            answer = post(case, number)
            if any(case):
                assert answer.status_code == 401, case
                bodies[answer.content] = bodies.get(answer.content, 0) + 1
            else:
                assert answer.status_code == 200
    assert list(bodies.values()) == [len(cases) - 1], "one identical body for every reason"
    assert len(receiver.events()) == 1
    rejections = until(lambda: _all_noted(receiver, len(cases) - 1))
    reasons = {row["reason"] for row in rejections}
    for name, form in itertools.product(right, forms):
        if form:
            assert f"{name.decode().lower()} {form.partition(' (')[0]}" in reasons
    seen = json.dumps(rejections)
    for value in right.values():
        assert value[:-1].decode() not in seen, "a reason names the check, never a value"


def _all_noted(receiver: Receiver, count: int) -> list[dict[str, Any]]:
    rows = receiver.look("rejections", "--limit", "1000")
    return rows if sum(row["repeated"] for row in rows) == count else []


def test_several_keys_and_several_sources_each_let_in_their_own(shared: Receiver) -> None:
    def status(source: str, organization: str, key: str) -> int:
        sent = headers(X_Organization_Id=organization, X_API_Key=key)
        body = json.dumps(callback("same", "failed"))
        url = f"{shared.url}/webhooks/{source}"
        return httpx.post(url, content=body, headers=sent, trust_env=False).status_code

    assert status("second", "org_two", "old-key") == 200
    assert status("second", "org_two", "new-key") == 200
    assert status("opennote", ORGANIZATION, KEY) == 200
    assert status("second", ORGANIZATION, "new-key") == 401
    assert status("second", "org_two", KEY) == 401
    assert status("opennote", "org_two", "new-key") == 401
    assert status("third", ORGANIZATION, KEY) == 404
    found = shared.events("--video", "same")
    assert sorted((event["source"], event["duplicates"]) for event in found) == [
        ("opennote", 0),
        ("second", 1),
    ]


def test_answers_come_in_their_order_and_are_small_json_objects(receiver: Receiver) -> None:
    receiver.configure('[server]\nmax_body = "100kB"\n').start("--no-worker")
    url = receiver.url
    good, bad = headers(), headers(X_API_Key="wrong")
    large = {"content": b"x" * 200_000}
    cases: list[tuple[int, str, str, dict[str, str], dict[str, Any]]] = [
        (404, "GET", "/webhooks/nobody", bad, {}),
        (404, "POST", "/webhooks/opennote/", good, {"content": b"{}"}),
        (405, "GET", "/webhooks/opennote", bad, {}),
        (405, "PUT", "/webhooks/opennote", good, {"content": b"{}"}),
        (401, "POST", "/webhooks/opennote", bad | {"Content-Type": "text/plain"}, large),
        (415, "POST", "/webhooks/opennote", good | {"Content-Type": "text/plain"}, large),
        (415, "POST", "/webhooks/opennote", good | {"Content-Encoding": "gzip"}, {"content": b"{}"}),
        (413, "POST", "/webhooks/opennote", good, large),
        (400, "POST", "/webhooks/opennote", good, {"content": b"not json at all, canary-in-a-body"}),
        (400, "POST", "/webhooks/opennote", good, {"content": b'["a list"]'}),
        (400, "POST", "/webhooks/opennote", good, {"content": b'{"status": "a", "status": "b"}'}),
        (400, "POST", "/webhooks/opennote", good, {"content": b'{"n": NaN}'}),
        (400, "POST", "/webhooks/opennote", good, {"content": b"[" * 100_000}),
        (400, "POST", "/webhooks/opennote", good, {"content": b""}),
        (200, "POST", "/webhooks/opennote", good, {"content": b"{}"}),
    ]
    for status, method, path, sent, more in cases:
        answer = httpx.request(method, url + path, headers=sent, trust_env=False, **more)
        assert answer.status_code == status, (method, path, status, answer.text)
        assert isinstance(answer.json()["status"], str)
        assert len(answer.content) < 500
        assert "canary" not in answer.text
        assert (answer.headers.get("Connection") == "close") is (status != 200)
    assert len(receiver.events()) == 1


@pytest.mark.fault("A13")
def test_a_flood_of_bad_credentials_is_429_and_never_stops_the_good_ones(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    address = httpx.URL(receiver.url)
    assert address.port is not None

    def flood() -> list[int]:
        """Guess keys until the answer is no 401 any more; plain sockets, as this is about thousands."""
        seen = [401]
        head = "".join(f"{name}: {value}\r\n" for name, value in headers(X_API_Key="guess").items())
        request = (
            f"POST /webhooks/opennote HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n{head}\r\n{{}}".encode()
        )
        while seen[-1] == 401 and len(seen) < 10_000:
            with socket.create_connection((address.host, address.port or 0), timeout=10) as attacker:
                attacker.sendall(request)
                seen.append(int(attacker.recv(12)[9:]))
        return seen

    floods = together([flood] * 4)
    assert {seen[-1] for seen in floods} == {429}
    assert sum(map(len, floods)) > 100, "a sender with an old key is told so for a while"
    limited = receiver.post(callback("v"), X_API_Key="guess")
    if limited.status_code == 429:
        assert int(limited.headers["Retry-After"]) > 0
    good = [receiver.post(callback(f"v{number}", "failed")).status_code for number in range(5)]
    assert good == [200] * 5
    assert len(receiver.events()) == 5


def test_videos_and_data_go_where_the_configuration_says(
    receivers: Callable[..., Receiver], tmp_path: Path
) -> None:
    receiver = receivers(
        f'[handlers.save_video]\ndirectory = "{tmp_path}/elsewhere"\n'
        'template = "{date} {title} {event}"\n'
    ).start()
    event = receiver.accepted(callback("v1", video=a_video(), title="One"))
    [settled] = receiver.settled(count=1)
    day = settled["received_at"][:10]
    assert (tmp_path / "elsewhere" / f"{day} One {event}.mp4").read_bytes() == a_video()
