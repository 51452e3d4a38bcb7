"""A callback that is posted on to several targets, each with a story of its own, by the real program."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import httpx
import pytest
from standardwebhooks import Webhook

from tests.acceptance.conftest import KEY, ORGANIZATION, Receiver, callback, headers
from tests.forwarding import SENT
from tests.sink import said, sinking

SECRET = "whsec_" + base64.b64encode(b"what the targets have in common.").decode()
WORDS = "words-of-the-target"


def a_target(name: str, url: str) -> str:
    return f'[[handlers.forward.targets]]\nname = "{name}"\nurl = "{url}"\nsecret_file = "secret"\n'


@pytest.mark.fault("R8", "R10", "S14")
def test_one_target_that_fails_costs_the_others_nothing(receivers: Callable[..., Receiver]) -> None:
    body = json.dumps(callback("vid", url="https://x.example/", transcript="ü" * 70_000)).encode()
    leaks = {"Authorization": "Bearer leak", "Cookie": "leak=1", "X-Leak": "leak", "Webhook-Id": "leak"}
    with sinking() as sink:
        urls = {
            "fine": sink.answer("/fine", said("200 OK")),
            "flaky": sink.answer("/flaky", said(f"500 {WORDS}", "", WORDS.encode()), said("202 Accepted")),
            "gone": sink.answer("/gone", said(f"410 {WORDS}", "", WORDS.encode())),
        }
        tables = "".join(a_target(name, f"{url}?token=hidden") for name, url in urls.items())
        receiver = receivers(f'[handlers]\nload = ["handlers.forward"]\n{tables}')
        (receiver.folder / "secret").write_text(SECRET)
        receiver.start().ready()
        answer = httpx.post(
            f"{receiver.url}/webhooks/opennote",
            content=body,
            headers=headers("vid") | leaks,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        (event,) = receiver.settled(count=1)
        receiver.stop()

    requests = {
        name: [each for each in sink.requests if each.line.startswith(f"POST /{name}?")] for name in urls
    }
    assert {name: len(each) for name, each in requests.items()} == {"fine": 1, "flaky": 2, "gone": 1}
    for request in sink.requests:
        assert request.body == body
        Webhook(SECRET).verify(body.decode(), request.named)
        assert request.header("webhook-id") == event["id"]
        assert {name.lower() for name, _ in request.headers} == SENT
        assert not [word for word in ("leak", KEY, ORGANIZATION) if word in str(request.headers)]
    first, second = (request.header("idempotency-key") for request in requests["flaky"])
    assert first == second != requests["fine"][0].header("idempotency-key")

    jobs = {job["handler"]: job for job in event["jobs"]}
    assert {name: (job["state"], job["attempts"]) for name, job in jobs.items()} == {
        "forward.fine": ("done", 1),
        "forward.flaky": ("done", 2),
        "forward.gone": ("dead", 1),
    }
    assert jobs["forward.gone"]["last_error"].startswith("the target answered 410 Gone")
    told = receiver.log_file.read_text() + json.dumps(receiver.show(event["id"]))
    assert "the target answered 500 Internal Server Error" in told
    assert not [word for word in (SECRET[6:], "hidden", WORDS) if word in told]


def test_targets_are_listed_as_handlers(receivers: Callable[..., Receiver]) -> None:
    tables = a_target("one", "https://a.example/?hidden") + a_target("two", "https://b.example/?hidden")
    receiver = receivers(f'[handlers]\nload = ["handlers.forward"]\n{tables}')
    (receiver.folder / "secret").write_text(SECRET)

    assert [handler["name"] for handler in receiver.look("handlers")] == ["forward.one", "forward.two"]
    (receiver.folder / "secret").write_text("no secret")
    ended = receiver.run("check")
    assert ended.status != 0
    assert "a secret is base64" in ended.stdout + ended.stderr
    assert "no secret" not in ended.stdout + ended.stderr
