"""Answers are small JSON objects; those that come early also end the connection."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from receiver import answers
from receiver.answers import Answer, Receipted, retry_after

FIXED = {name: value for name, value in vars(answers).items() if isinstance(value, Answer)}


async def sent(answer: Answer) -> tuple[int, dict[bytes, bytes], bytes]:
    """What goes to the server: status, headers, body."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    await answer.send(send)
    start, body = messages
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    assert len(dict(start["headers"])) == len(start["headers"])
    return start["status"], dict(start["headers"]), body["body"]


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(FIXED))
async def test_a_fixed_answer_is_a_json_object_and_closes(name: str) -> None:
    status, headers, body = await sent(FIXED[name])

    content = orjson.loads(body)
    assert set(content) == {"status", "error"}
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == b"%d" % len(body)
    assert headers[b"connection"] == b"close"
    assert status == FIXED[name].status
    assert 400 <= status <= 503
    assert status not in (410, 500)
    assert len(body) < 200


@pytest.mark.anyio
async def test_the_statuses_are_those_of_the_table() -> None:
    assert {name: answer.status for name, answer in FIXED.items()} == {
        "UNKNOWN_PATH": 404,
        "ONLY_POST": 405,
        "ONLY_GET": 405,
        "UNAUTHORIZED": 401,
        "NOT_JSON": 415,
        "TOO_LARGE": 413,
        "OUT_OF_ORDER": 503,
    }


@pytest.mark.anyio
async def test_405_says_what_is_allowed_and_503_when_to_come_again() -> None:
    assert (await sent(answers.ONLY_POST))[1][b"allow"] == b"POST"
    assert (await sent(answers.ONLY_GET))[1][b"allow"] == b"GET"
    assert int((await sent(answers.OUT_OF_ORDER))[1][b"retry-after"]) == answers.RETRY_SECONDS


@pytest.mark.anyio
@pytest.mark.parametrize("status", ["accepted", "duplicate"])
async def test_a_receipt_names_the_event_and_keeps_the_connection(status: str) -> None:
    code, headers, body = await sent(Receipted(status, "evt_0123"))

    assert code == 200
    assert orjson.loads(body) == {"status": status, "event": "evt_0123"}
    assert headers == {b"content-type": b"application/json", b"content-length": b"%d" % len(body)}


@pytest.mark.anyio
@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("answer", [Receipted("accepted", "evt_0123"), *FIXED.values()])
async def test_the_bytes_of_an_answer_say_the_same_as_its_messages(answer: Answer, closes: bool) -> None:
    status, headers, body = await sent(answer)
    headers.pop(b"connection", None)

    head, _, rest = answer.raw(b"date: today\r\n", closes=closes).partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")

    assert start.split(b" ", 2)[:2] == [b"HTTP/1.1", b"%d" % status]
    expected = {**headers, b"date": b"today", **({b"connection": b"close"} if closes else {})}
    assert dict(line.split(b": ", 1) for line in lines) == expected
    assert len(lines) == len(expected)
    assert rest == body


@pytest.mark.anyio
async def test_an_answer_can_be_sent_many_times() -> None:
    assert await sent(answers.UNAUTHORIZED) == await sent(answers.UNAUTHORIZED)


@pytest.mark.parametrize(("seconds", "said"), [(0, b"1"), (0.05, b"1"), (5, b"5"), (59.6, b"60")])
def test_the_wait_is_told_in_whole_seconds_and_never_zero(seconds: float, said: bytes) -> None:
    assert retry_after(seconds) == [(b"retry-after", said)]
