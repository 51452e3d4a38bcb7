"""Credentials that are malformed, guessed, stolen, rotated or missing, against the running program."""

from __future__ import annotations

import http.client
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.acceptance.by_hand import address_of, exchange, request_of
from tests.acceptance.conftest import (
    KEY,
    NO_TLS,
    ORGANIZATION,
    Ended,
    Receiver,
    a_video,
    callback,
    each,
    headers,
    together,
    until,
)
from tests.invariant import Ledger, assert_balanced

COUNTS = """\
from pathlib import Path
from receiver import Router

router = Router()

@router.on("video.completed")
def count(event):
    with (Path(__file__).parent / "runs").open("a") as runs:
        runs.write(f"{event.video.id}\\n")
"""


@contextmanager
def connected(receiver: Receiver) -> Iterator[http.client.HTTPConnection]:
    """A connection that is kept."""
    connection = http.client.HTTPConnection(*address_of(receiver), timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def post_on(connection: http.client.HTTPConnection, body: bytes, sent: dict[str, str]) -> tuple[int, bytes]:
    connection.request("POST", "/webhooks/opennote", body=body, headers=sent)
    answer = connection.getresponse()
    return answer.status, answer.read()


FORMS: dict[str, tuple[int, Callable[[bytes, bytes], list[bytes]]]] = {
    "twice": (401, lambda name, value: [name + b": " + value] * 2),
    "right, then wrong": (401, lambda name, value: [name + b": " + value, name + b": no"]),
    "wrong, then right": (401, lambda name, value: [name + b": no", name + b": " + value]),
    "twice, in two spellings": (401, lambda name, value: [name + b": " + value, name.upper() + b": no"]),
    "empty": (401, lambda name, value: [name + b":"]),
    "blanks only": (401, lambda name, value: [name + b": \t "]),
    "a list": (401, lambda name, value: [name + b": " + value + b", " + value]),
    "in quotes": (401, lambda name, value: [name + b': "' + value + b'"']),
    "a byte that is no ASCII": (401, lambda name, value: [name + b": " + value + b"\xff"]),
    "a letter that is no ASCII": (401, lambda name, value: [name + b": \xc3\xa9" + value]),
    "a blank that is no ASCII": (401, lambda name, value: [name + b": " + value + b"\xa0"]),
    "very long": (401, lambda name, value: [name + b": " + value * 500]),
    "an underscore in its name": (
        401,
        lambda name, value: [name.replace(b"-", b"_") + b": " + value],
    ),
    "folded": (400, lambda name, value: [name + b": " + value[:4], b" " + value[4:]]),
    "folded behind its end": (400, lambda name, value: [name + b": " + value, b" and more"]),
    "a blank before the colon": (400, lambda name, value: [name + b" : " + value]),
    "a zero byte": (400, lambda name, value: [name + b": " + value + b"\0"]),
    "a bare carriage return": (400, lambda name, value: [name + b": " + value + b"\rx"]),
}
RIGHT = {name.encode(): value.encode() for name, value in headers().items()}


@pytest.mark.fault("A3")
def test_odd_forms_of_a_credential_open_nothing_and_break_nothing(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    ledger = Ledger()
    seen: dict[tuple[bytes, str], int] = {}
    bodies: dict[int, set[bytes]] = {400: set(), 401: set()}
    for name in RIGHT.keys() - {b"Content-Type"}:
        others = [other + b": " + value for other, value in RIGHT.items() if other != name]
        for form, (_, lines) in FORMS.items():
            status, body = exchange(receiver, request_of([*others, *lines(name, RIGHT[name])], b"{}"))
            seen[name, form] = ledger.told(status, body)
            bodies[status].add(body)
    assert seen == {(name, form): FORMS[form][0] for name, form in seen}
    assert len(seen) == 4 * len(FORMS)
    assert len(bodies[401]) == 1, "one identical body for every reason"
    plain = [name.lower() + b":\t" + value + b" \t" for name, value in RIGHT.items()]
    assert ledger.told(*exchange(receiver, request_of(plain, b"{}"))) == 200, (
        "blanks around it are none of it"
    )
    receiver.stop()
    assert len(ledger.acknowledged) == 1
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)


@pytest.mark.fault("A4")
def test_a_captured_callback_that_is_sent_a_thousand_times_has_one_effect(receiver: Receiver) -> None:
    receiver.handler(COUNTS)
    receiver.start("--handlers", "hooks.py")
    ledger = Ledger()
    body = json.dumps(callback("captured", video=a_video())).encode()

    def send_some() -> None:
        with connected(receiver) as connection:
            for _ in range(125):
                ledger.told(*post_on(connection, body, headers("captured")))

    together([send_some] * 8)
    assert ledger.by_status == {200: 1000}
    assert len(set(ledger.acknowledged)) == 1
    [event] = receiver.settled(count=1)
    assert event["duplicates"] == 999
    assert (receiver.folder / "runs").read_text().split() == ["captured"]
    receiver.stop()
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)


def configure_keys(receiver: Receiver, *keys: str) -> None:
    """Change the live keys of a running receiver."""
    text = receiver.config.read_text()
    before = next(line for line in text.splitlines() if line.startswith("api_keys"))
    receiver.config.write_text(text.replace(before, f"api_keys = {json.dumps(keys)}"))
    reloads = len(receiver.log("settings.reloaded"))
    assert receiver.process is not None
    receiver.process.send_signal(signal.SIGHUP)
    receiver.logged("settings.reloaded", count=reloads + 1)


@pytest.mark.fault("A8")
def test_keys_are_rotated_under_load_without_one_refusal(receiver: Receiver) -> None:
    receiver.start("--no-worker")
    ledger = Ledger()
    key, new_key = KEY, "key_after_the_rotation"
    stop = threading.Event()
    used: dict[int, str] = {}

    def send(sender: int) -> None:
        with connected(receiver) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                used[sender] = key
                body = json.dumps(callback(f"v{sender}.{number}", "failed")).encode()
                ledger.told(*post_on(connection, body, headers(X_API_Key=key)))

    def everybody_sends(count: int = 30) -> None:
        enough = len(ledger.answers) + count
        until(lambda: len(ledger.answers) >= enough, what="callbacks with the keys of now")

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(3)]
    for thread in threads:
        thread.start()
    try:
        everybody_sends()
        configure_keys(receiver, KEY, new_key)
        everybody_sends()
        key = new_key
        until(lambda: set(used.values()) == {new_key}, what="everybody uses the new key")
        configure_keys(receiver, new_key)
        everybody_sends()
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert set(ledger.by_status) == {200}, "every sender with a live key was believed"
    former = receiver.post(callback("late", "failed"))
    assert ledger.told(former.status_code, former.content) == 401, "the old key is over"
    receiver.stop()
    assert_balanced(receiver.folder / "data" / "receiver.db", ledger)


@pytest.mark.fault("A12")
def test_without_a_key_nothing_starts(receivers: Callable[..., Receiver]) -> None:
    line = f'api_keys = ["{KEY}"]'
    changes: dict[str, tuple[str, str]] = {
        'api_keys = [""]': ("api_keys", "empty"),
        'api_keys = [" "]': ("api_keys", "blanks"),
        "api_keys = []": ("api_keys", "at least one"),
        "": ("api_keys", "missing"),
        'api_keys_file = "blank"': ("api_keys", "at least one"),
        "verify = false": ("verify", "unknown key"),
    }

    def start(change: str) -> Ended:
        receiver = receivers()
        (receiver.folder / "blank").write_text("\n")
        keeps_the_key = "keys" not in change and change
        text = receiver.config.read_text().replace(line, f"{line}\n{change}" if keeps_the_key else change)
        receiver.config.write_text(text)
        return receiver.run("serve", "--port", "0")

    for change, ended in zip(changes, each(start, changes), strict=True):
        assert (ended.status, ended.stdout) == (2, ""), (change, ended)
        assert len(ended.complaints) == 1, (change, ended.stderr)
        for word in ("sources.opennote", *changes[change]):
            assert word in ended.complaints[0], change
        assert KEY not in ended.stderr
    emptied = receivers()
    emptied.environment = {"RECEIVER_SOURCES__OPENNOTE__API_KEYS": '[""]'}
    ended = emptied.run("serve", "--port", "0")
    assert (ended.status, len(ended.complaints)) == (2, 1)
    assert "sources.opennote.api_keys" in ended.complaints[0]


def status_of(receiver: Receiver, source: str, credentials: dict[str, Any]) -> int:
    sent = headers(**credentials)
    url = f"{receiver.url}/webhooks/{source}"
    return httpx.post(url, content=b"{}", headers=sent, verify=NO_TLS, trust_env=False).status_code


@pytest.mark.fault("A11")
def test_credentials_open_the_address_of_their_own_source_only(receivers: Callable[..., Receiver]) -> None:
    receiver = receivers(
        '[sources.second]\nkind = "opennote"\norganization_id = "org_two"\napi_keys = ["second-key"]\n'
        f'[sources.third]\nkind = "opennote"\norganization_id = "{ORGANIZATION}"\napi_keys = ["third-key"]\n'
    ).start("--no-worker")
    pairs = {
        "opennote": (ORGANIZATION, KEY),
        "second": ("org_two", "second-key"),
        "third": (ORGANIZATION, "third-key"),
    }
    organizations, keys = {pair[0] for pair in pairs.values()}, {pair[1] for pair in pairs.values()}
    seen = {
        (source, organization, key): status_of(
            receiver, source, {"X_Organization_Id": organization, "X_API_Key": key}
        )
        for source in pairs
        for organization in organizations
        for key in keys
    }
    believed = {case for case, status in seen.items() if status == 200}
    assert believed == {(source, *pair) for source, pair in pairs.items()}
    assert set(seen.values()) == {200, 401}
    assert sorted(event["source"] for event in receiver.events()) == sorted(pairs)
