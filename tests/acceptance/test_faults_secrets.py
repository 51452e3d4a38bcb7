"""Credentials on every way into the program, through every way to fail: none of them ever comes out."""

from __future__ import annotations

import base64
import json
import os
import signal
import urllib.parse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.by_hand import exchange
from tests.acceptance.conftest import Receiver, a_video, callback, children_of, headers, until
from tests.invariant import Ledger, assert_balanced

LIVE_KEY, FILE_KEY, ADMIN_TOKEN = "canary-live-7f3a", "canary-file-51be", "canary-admin-c0de"
WRONG = {
    "X-API-Key": "canary-key-a001",
    "Authorization": "Bearer canary-bearer-a002",
    "Proxy-Authorization": "Basic " + base64.b64encode(b"user:canary-basic-a003").decode(),
    "Cookie": "session=canary-cookie-a004",
    "Webhook-Signature": "v1,canary-signature-a005",
    "X-Hub-Signature-256": "sha256=canary-hub-a006",
    "X-Amz-Security-Token": "canary-amz-a007",
    "X-Forwarded-Access-Token": "canary-forwarded-a008",
    "X-Something-Else": "canary-else-a009",
    "Referer": "https://user:canary-user-a010@example.com/?token=canary-referer-a011",
}
QUERY = "token=canary-query-a012&X-Amz-Signature=canary-link-a013"
CONTENT = "canary-content-b001"
"""Stands in a body, which is kept: it has to be found, or the search is blind."""
IN_LINK = "canary-linked-b002"
"""A link's signature: kept with the body, said nowhere else."""
FAILS = """\
import os
from pathlib import Path
from receiver import Router

router = Router()

@router.on("video.failed", attempts=1)
def fail(event, context):
    raise RuntimeError("the handler failed")

@router.on("video.progress")
def crash(event, context):
    once = Path(__file__).with_name("once")
    if not once.exists():
        once.touch()
        os._exit(1)
"""


def needles() -> dict[str, list[bytes]]:
    """Every canary, and what it looks like when it was encoded on its way."""
    words = [word.strip("=,") for value in (*WRONG.values(), QUERY) for word in _canaries_in(value)]
    return {word: _forms(word) for word in [LIVE_KEY, FILE_KEY, ADMIN_TOKEN, *words]}


def _canaries_in(value: str) -> Iterable[str]:
    if value.startswith("Basic "):
        value = base64.b64decode(value.removeprefix("Basic ")).decode()
    for part in urllib.parse.unquote(value).replace("&", " ").replace("@", " ").replace(",", " ").split():
        at = part.find("canary-")
        if at >= 0:
            yield part[at:]


def _forms(word: str) -> list[bytes]:
    coded = [base64.b64encode(prefix + word.encode()).rstrip(b"=")[:-2] for prefix in (b"", b"user:")]
    return [word.encode(), word.encode().hex().encode(), *coded]


@pytest.mark.fault("O1", "O10")
def test_no_credential_comes_out_whatever_fails(receiver: Receiver) -> None:
    """Every sender's header, wrong and right keys, queries and settings; every status; crashes of all."""
    (receiver.folder / "keys").write_text(FILE_KEY)
    receiver.configure(f'[admin]\ntoken = "{ADMIN_TOKEN}"\n', top='[server]\nmax_body = "200kB"\n')
    live = receiver.config.read_text().replace("key_acceptance_0123456789", LIVE_KEY)
    receiver.config.write_text(live)
    receiver.handler(FAILS)
    receiver.start("--handlers", "hooks.py", "--handlers", "save_video").ready()
    ledger, said = Ledger(), [b""]
    good = headers(X_API_Key=LIVE_KEY) | {name: value for name, value in WRONG.items() if name != "X-API-Key"}
    bad = good | {"X-API-Key": WRONG["X-API-Key"]}

    def post(sent: dict[str, str], content: bytes, path: str = "/webhooks/opennote") -> int:
        url = f"{receiver.url}{path}?{QUERY}"
        answer = httpx.post(url, content=content, headers=sent, trust_env=False, timeout=60)
        said.append(repr(answer.headers).encode() + answer.content)
        ledger.told(answer.status_code, answer.content)
        return answer.status_code

    def news(video_id: str, status: str = "completed", **more: Any) -> bytes:
        return json.dumps(callback(video_id, status, **more) | {"note": CONTENT}).encode()

    link = f"http://127.0.0.1:9/videofs/a.mp4?X-Amz-Signature={IN_LINK}"
    assert post(good, news("linked", url=link)) == 200
    assert post(good, news("saved", video=a_video())) == 200
    assert post(good, news("failing", "failed")) == 200
    assert post(good, news("crashing", "pending")) == 200
    assert post(good, news("large", video=a_video(padding=80_000))) == 200
    assert post(good, news("saved", video=a_video())) == 200
    assert post(bad, news("denied")) == 401
    assert post(good, b'{"status": "failed", "n": NaN}') == 400
    assert post(good | {"Content-Type": "text/plain"}, b"{}") == 415
    assert post(good | {"Content-Encoding": "gzip"}, b"{}") == 415
    assert post(good, b'"' + b"x" * 300_000) == 413
    assert post(good, b"{}", f"/webhooks/{urllib.parse.quote(WRONG['X-API-Key'])}") == 404
    lines = "\r\n".join(f"{name}: {value}" for name, value in bad.items())
    start = f"POST /webhooks/opennote?{QUERY} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode()
    chunked = (
        start.replace(WRONG["X-API-Key"].encode(), LIVE_KEY.encode()) + b"Transfer-Encoding: chunked\r\n\r\n"
    )
    for request in (
        start + b"Bad Name: x\r\n\r\n",
        start.replace(b"Cookie", b"Coo\0kie") + b"\r\n",
        chunked + b"zz\r\n",
        f"GET {WRONG['Cookie']}\r\n\r\n".encode(),
    ):
        status, answer = exchange(receiver, request)
        said.append(answer)
        assert ledger.told(status, answer) == 400, request
    store = receiver.child("receiver.store.process")
    os.kill(store, signal.SIGSTOP)
    os.kill(store, signal.SIGKILL)
    while post(good, news("refused")) != 503:
        assert len(ledger.answers) < 100, "the store was killed, but nothing was ever refused"
    until(lambda: post(good, news("after")) == 200, what="the store is back")
    for broken in (
        f'api_keys = "{WRONG["X-API-Key"]}"',
        f'api_keyz = ["{WRONG["X-API-Key"]}"]',
        f'api_keys = ["{WRONG["X-API-Key"]} \\u00e9"]',
        f"api_keys = [{WRONG['X-API-Key']}",
    ):
        receiver.config.write_text(live.replace(f'api_keys = ["{LIVE_KEY}"]', broken))
        refusals = len(receiver.log("settings.refused"))
        os.kill(receiver.pid, signal.SIGHUP)
        receiver.logged("settings.refused", count=refusals + 1)
    said += [receiver.run("check").stderr.encode()]
    receiver.config.write_text(live.replace(f'api_keys = ["{LIVE_KEY}"]', 'api_keys_file = "keys"'))
    os.kill(receiver.pid, signal.SIGHUP)
    receiver.logged("settings.reloaded")
    assert post(good | {"X-API-Key": FILE_KEY}, news("with-the-key-of-the-file", "failed")) == 200
    receiver.logged("job.failed", count=2)
    receiver.logged("job.retried")
    commands = [" ".join(children_of(receiver.pid).values()).encode()]
    visitor = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    pages = [f"{receiver.url}{path}" for path in ("/healthz", "/readyz", "/metrics", "/")]
    said += [httpx.get(url, headers=visitor, trust_env=False).content for url in pages]
    receiver.stop()
    shown = [receiver.show(event["id"]) for event in receiver.events() if event["video_id"] == "linked"]
    rejections = receiver.look("rejections", "--limit", "1000")
    looked = [json.dumps([shown, rejections]).encode(), receiver.run("events").stdout.encode()]

    # The faults did happen, with the canaries in them.
    assert {200, 400, 401, 404, 413, 415, 503} <= set(ledger.by_status)
    assert "x-api-key is wrong" in {row["reason"] for row in rejections}
    kept = dict(shown[0]["deliveries"][0]["headers"])
    for name in WRONG:
        assert kept[name.lower()].startswith("redacted:"), name
    assert len(set(kept.values())) > len(WRONG), "each has a fingerprint of its own"
    assert receiver.log("handler.raised", "delivery.refused", "process.died")

    files = {path: path.read_bytes() for path in _made(receiver)}
    everything = b"\0".join([*files.values(), *said, *commands, *looked])
    assert CONTENT.encode() in everything, "the search would find one"
    found = {name for name, forms in needles().items() if any(form in everything for form in forms)}
    assert found == set()
    told = b"\0".join([receiver.log_file.read_bytes(), *said, *commands])
    assert IN_LINK.encode() not in told, "the query of a link is a credential, too"
    assert IN_LINK not in json.dumps([shown[0]["jobs"], shown[0]["attempts"]])
    assert CONTENT.encode() not in told
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)


HOSTILE = 'x\r\n{"event": "forged.line", "level": "info"}\n\x1b[2J\x1b]0;owned\x07\u202e\u2028\x9b31m\x00'
ECHOES = f"""\
from receiver import Retry, Router

router = Router()
HOSTILE = {HOSTILE!r}

@router.on("video.completed", attempts=1)
def complete(event, context):
    context.log.info("echo.said", title=event.video.title, **{{HOSTILE: HOSTILE}})
    raise RuntimeError(HOSTILE + event.video.title)

@router.on("video.failed")
def fail(event, context):
    raise Retry(HOSTILE + event.video.error.message, after="1h")
"""


@pytest.mark.fault("O2")
def test_nothing_that_is_sent_forges_a_line_or_drives_a_terminal(receiver: Receiver) -> None:
    receiver.handler(ECHOES)
    receiver.start("--handlers", "hooks.py").ready()
    hostile = HOSTILE.replace("\x00", "")
    odd = hostile.encode("unicode_escape").decode()
    named = {"X-Request-Id": odd, "User-Agent": odd, "X-Webhook-Platform": "\x85\x9b31m"}
    sent: list[tuple[dict[str, Any], dict[str, str], int]] = [
        (callback("titled", title=hostile), headers("titled", User_Agent=odd), 200),
        (callback("named", "failed") | {"message": hostile}, headers(odd), 200),
        (callback("status", hostile), headers(), 400),
        (callback(hostile, "failed"), headers(), 400),
        ({"video_id": "odd", "status": "odd", hostile: hostile}, headers(), 200),
        (callback("denied"), headers(**named), 401),
    ]
    url = f"{receiver.url}/webhooks/opennote"
    with httpx.Client(trust_env=False, timeout=30) as client:
        for payload, given, status in sent:
            raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
            answer = client.post(url, content=json.dumps(payload), headers=raw_headers)
            assert answer.status_code == status, (payload, answer.text)
        path = urllib.parse.quote(hostile)
        assert client.post(f"{url}{path}").status_code == 404
    receiver.logged("job.failed")
    receiver.logged("job.retried")
    receiver.stop()
    said = receiver.log_file.read_bytes()
    lines = [json.loads(line) for line in said.decode().split("\n")[:-1]]
    assert {"echo.said", "handler.raised", "event.recorded", "delivery.rejected"} <= {
        line["event"] for line in lines
    }
    assert "forged.line" not in {line["event"] for line in lines}
    assert b"forged.line" in said, "the hostile text did arrive in the log"
    harmful = [byte for byte in said.decode() if byte != "\n" and not byte.isprintable()]
    assert harmful == []
    told = receiver.run("events").stdout + receiver.run("rejections").stdout
    assert [letter for letter in told if letter != "\n" and not letter.isprintable()] == []


def _made(receiver: Receiver) -> list[Path]:
    """Every file that the program wrote."""
    given = {receiver.config, receiver.folder / "keys", receiver.folder / "hooks.py"}
    return [path for path in receiver.folder.rglob("*") if path.is_file() and path not in given]
