"""The API of the real program: who may ask, what is answered, and what never is."""

from __future__ import annotations

import http.client
import json
import os
import signal
from contextlib import closing

import httpx
import pytest

from receiver.api.operations import OPERATIONS, ROOT
from tests.acceptance.asking import BEARER, TOKEN, Asking
from tests.acceptance.conftest import (
    KEY,
    NO_TLS,
    Receiver,
    a_video,
    callback,
    together,
)

GUARDS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
}
LINE = b"GET /api/v1/events/x/raw HTTP/1.1\r\n"
PATHS = [
    *(operation.path.format(id="evt_1") for operation in OPERATIONS),
    *("/", "", "/nothing", "/events/", "/../healthz", "/events/evt_1/raw/more", "/%65vents"),
]


# Who may ask.


@pytest.mark.fault("W1")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_is_open_without_the_token_but_health(open_receiver: Receiver, method: str) -> None:
    bodies = set()
    with httpx.Client(base_url=open_receiver.url, verify=NO_TLS, trust_env=False) as client:
        for path in PATHS:
            url = httpx.URL(open_receiver.url).copy_with(raw_path=f"{ROOT}{path}".encode())
            answer = client.request(method, url)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
            assert GUARDS.items() <= dict(answer.headers).items()
            bodies.add(answer.content)
        assert client.request("GET", "/healthz").status_code == 200
        assert client.request("GET", "/metrics").status_code == 401
    assert len(bodies) == 1


@pytest.mark.fault("W1")
def test_without_a_token_configured_there_is_no_api(receiver: Receiver) -> None:
    receiver.start()
    for path in PATHS:
        for headers in ({}, BEARER, {"Authorization": "Bearer"}):
            answer = httpx.get(f"{receiver.url}{ROOT}{path}", headers=headers, verify=NO_TLS, trust_env=False)
            assert answer.status_code == 404, path


@pytest.mark.fault("W9")
def test_a_token_counts_in_its_header_only_and_only_once(open_receiver: Receiver) -> None:
    url = f"{open_receiver.url}{ROOT}/events"
    with httpx.Client(verify=NO_TLS, trust_env=False) as client:
        for query in (f"?token={TOKEN}", f"?access_token={TOKEN}", f"?authorization=Bearer%20{TOKEN}"):
            assert client.get(url + query).status_code == 401
        twice = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")]
        assert client.get(url, headers=[(b"Authorization", b"Bearer \xff\xfe")]).status_code == 401
        for headers in (
            twice,
            [("Authorization", f"Basic {TOKEN}")],
            [("Authorization", TOKEN)],
            [("Authorization", f"Bearer {TOKEN[:-1]}")],
            [("Authorization", f"Bearer {TOKEN} x")],
            [("Cookie", f"token={TOKEN}"), ("X-API-Key", TOKEN)],
        ):
            assert client.get(url, headers=headers).status_code == 401
        assert client.get(url, headers=BEARER).status_code == 200


@pytest.mark.fault("W9")
def test_who_guesses_tokens_is_slowed_down_and_who_has_it_is_not(open_receiver: Receiver) -> None:
    url = f"{open_receiver.url}{ROOT}/events"

    def guess() -> list[int]:
        """As fast as one can be here: the limit is one of time."""
        statuses = []
        with closing(http.client.HTTPConnection(httpx.URL(url).netloc.decode(), timeout=30)) as connection:
            for number in range(700):
                connection.request("GET", f"{ROOT}/events", headers={"Authorization": f"Bearer {number}"})
                with connection.getresponse() as answer:
                    statuses.append(answer.status)
                    answer.read()
        return statuses

    statuses = [status for some in together([guess] * 3) for status in some]
    assert set(statuses) == {401, 429}
    with httpx.Client(verify=NO_TLS, trust_env=False) as client:
        answers = [client.get(url) for _ in range(50)]  # one in 50 ms is forgiven
    limited = next(answer for answer in answers if answer.status_code == 429)
    assert int(limited.headers["retry-after"]) >= 1
    assert GUARDS.items() <= dict(limited.headers).items()
    assert httpx.get(url, headers=BEARER, verify=NO_TLS, trust_env=False).status_code == 200
    assert (
        httpx.get(f"{open_receiver.url}/metrics", headers=BEARER, verify=NO_TLS, trust_env=False).status_code
        == 200
    )
    assert open_receiver.post(callback("v1"), X_API_Key="wrong").status_code == 401  # is counted apart
    told = open_receiver.logged("delivery.rejected")
    assert {line["source"] for line in told} >= {"/api"}
    reasons = {line["reason"] for line in told if line["source"] == "/api"}
    assert reasons == {"the admin token is missing or wrong"}


def test_a_token_may_be_changed_while_it_runs_and_who_has_the_old_one_is_out(
    open_receiver: Receiver,
) -> None:
    with Asking(open_receiver).stream() as reading:
        config = open_receiver.config.read_text().replace(TOKEN, "another_token_0123456789")
        open_receiver.config.write_text(config)
        os.kill(open_receiver.pid, signal.SIGHUP)
        with pytest.raises(EOFError):
            reading.message()
    assert Asking(open_receiver).get("/events").status_code == 401
    assert Asking(open_receiver, token="another_token_0123456789").get("/events").status_code == 200


# What is answered.


def test_the_command_and_the_api_say_the_same_in_the_same_bytes(
    open_receiver: Receiver, asking: Asking
) -> None:
    open_receiver.accepted(callback("v1", video=a_video()) | {"title": "a → b \u0007 \u2028"})
    open_receiver.accepted(callback("v2", "failed"))
    open_receiver.settled(count=2)
    lines = open_receiver.run("events", "--json").stdout.encode().splitlines()
    assert asking.get("/events").content == b'{"events":[' + b",".join(lines) + b'],"next":null}'
    rejected = open_receiver.run("rejections", "--json").stdout.encode().splitlines()
    assert asking.get("/rejections").content == b'{"rejections":[' + b",".join(rejected) + b"]}"
    (shown,) = open_receiver.run("show", json.loads(lines[0])["id"], "--json").stdout.splitlines()
    assert asking.json(f"/events/{json.loads(lines[0])['id']}") == json.loads(shown)


def test_every_page_follows_the_one_before_whatever_comes_meanwhile(
    open_receiver: Receiver, asking: Asking
) -> None:
    ids = [open_receiver.accepted(callback(f"v{number}", "failed")) for number in range(7)]
    first = asking.json("/events", limit=3)
    open_receiver.accepted(callback("new", "failed"))
    second = asking.json("/events", limit=3, cursor=first["next"])
    third = asking.json("/events", limit=3, cursor=second["next"])
    found = [event["id"] for page in (first, second, third) for event in page["events"]]
    assert found == ids[::-1]
    assert third["next"] is None
    assert asking.json("/events", limit=8)["next"] is None  # a full page may be the last one
    newest = asking.json("/events", limit=1)["events"][0]
    assert asking.json("/events", since=newest["received_at"])["events"][0] == newest
    failed = asking.events(limit=2, type="video.failed", source="opennote", since="1h")
    assert len(failed) == 8
    assert asking.events(video="v3")[0]["id"] == ids[3]
    assert asking.events(until="1h") == asking.events(type="video.progress") == []


@pytest.mark.fault("W8")
def test_a_parameter_that_is_wrong_is_named_and_never_repeated(asking: Asking) -> None:
    poison = "x' OR '1'='1"
    for parameters, name in (
        ({"sourc": "opennote"}, "sourc: unknown parameter; known are source, type"),
        ({"source": poison}, "source: "),
        ({"type": poison}, "type: "),
        ({"state": "finished"}, "state: "),
        ({"since": "yesterday"}, "since: must be an age such as 1h, or a date and time such as 2026-01-31T"),
        ({"until": "2026-02-30T00:00:00Z"}, "until: "),
        ({"limit": "0"}, "limit: "),
        ({"limit": "1001"}, "limit: "),
        ({"limit": "1e3"}, "limit: "),
        ({"limit": "-1"}, "limit: "),
        ({"video": ""}, "video: "),
        ({"video": "x" * 300}, "video: "),
        ({"cursor": poison}, "cursor: "),
    ):
        answer = asking.get("/events", params=parameters)
        assert answer.status_code == 400, parameters
        assert answer.json()["error"].startswith(name)
        assert poison not in answer.text
    odd = ["source=a&source=b", "%ff", "a=%ff", "&&", "source", "x" * 5000, "=1", "&".join(["a=1"] * 50)]
    for query in odd:
        assert asking.get(f"/events?{query}").status_code == 400, query
    assert asking.get("/events", params={"video": poison}).json()["events"] == []
    assert asking.get("/events", params={"cursor": "AAAAAAAAAAAAAAAAAAAA"}).status_code == 409
    assert asking.get("/events/evt_1?more=1").json()["error"] == "more: unknown parameter; none is known here"


def test_an_event_is_found_by_the_beginning_of_its_id(open_receiver: Receiver, asking: Asking) -> None:
    ids = [open_receiver.accepted(callback(f"v{number}", "failed")) for number in range(2)]
    assert asking.json(f"/events/{ids[0]}")["id"] == ids[0]
    assert asking.json(f"/events/{ids[0][:-3]}")["id"] == ids[0]
    for unknown, reason in (
        ("evt_", "several events begin with"),
        ("nothing", "no event"),
        ("evt_%00", "there is nothing"),
    ):
        answer = asking.get(f"/events/{unknown}")
        assert answer.status_code == 404
        assert answer.json()["error"].startswith(reason)


def test_other_methods_are_refused_with_those_that_are_answered(asking: Asking) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = asking.request(method, "/events")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    head = asking.request("HEAD", "/events")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(asking.get("/events").content)


def test_every_answer_is_guarded_and_a_small_json_object_when_it_is_an_error(
    open_receiver: Receiver, asking: Asking
) -> None:
    event = open_receiver.accepted(callback("v1", video=a_video()))
    for path in (
        *(operation.path.format(id=event) for operation in OPERATIONS if operation.path != "/stream"),
        *("/nothing", "/events?x=1", "/events/none", "/events/none/video"),
    ):
        answer = asking.get(path)
        assert GUARDS.items() <= dict(answer.headers).items(), path
        if answer.status_code >= 400:
            assert list(answer.json()) == ["status", "error"]
            assert len(answer.content) < 500


# What never is answered.


@pytest.mark.fault("W4")
def test_no_credential_and_no_signed_link_is_in_any_answer_but_an_original(
    open_receiver: Receiver, asking: Asking
) -> None:
    payload = callback("v1", url="http://127.0.0.1:9/videofs/v.mp4?X-Amz-Signature=canary_signature&x=1")
    payload |= {"api_key": "canary_in_payload", "nested": [{"Authorization": "Bearer canary_nested"}]}
    payload["message"] = "see https://example.com/a?token=canary_in_text#there"
    event = open_receiver.post(payload, Authorization="canary_header", Cookie="canary_cookie").json()["event"]
    open_receiver.logged("job.retried")
    open_receiver.post(callback("v2"), X_API_Key="canary_wrong_key")
    open_receiver.logged("delivery.rejected")
    with asking.stream(since="1h") as reading:
        said = [json.dumps(reading.message().data)]
    said += [
        asking.get(path).text
        for path in ("/events", f"/events/{event}", "/rejections", "/openapi.json", "/nothing")
    ]
    for text in said:
        assert "canary" not in text
        assert KEY not in text
    story = asking.json(f"/events/{event}")
    assert story["video"]["url"] == "http://127.0.0.1:9/videofs/v.mp4?redacted"
    assert story["payload"]["nested"] == [{"Authorization": "redacted"}]
    assert story["payload"]["message"] == "see https://example.com/a?redacted"
    headers = dict(story["deliveries"][0]["headers"])
    assert KEY not in headers["x-api-key"]
    assert "canary_signature" in asking.get(f"/events/{event}/raw").text
