"""The fast way gives the Scanner's verdict, and takes the Scanner only when it has to."""

from __future__ import annotations

import json

import pytest

from receiver import strict
from receiver.errors import BadBody
from receiver.strict import parse_small


@pytest.mark.fault("P1", "P2", "P3")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b'"text"',
        b'{"a":1,"a":2}',
        b'{"a":1,"a" :2}',
        b'{"a":"x","a":"\\"","b":"\\""}',
        b'{"a":"\\\\","a":"\\\\","b":1}',
        b'{"a":"\\\\","a":"\\\\","b":"\\\\","c":"\\\\"}',
        b'{"a":1,"a":"\\u0022:"}',
        b'{"a":-9223372036854775809}',
        b'{"a":"\\u0000"}',
        b'{"a":18446744073709551616}',
        b'{"a":' + b"0.1" + b"1" * 130 + b"}",
        b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"a":\xff}',
        b"{",
    ],
)
def test_what_the_scanner_refuses_is_refused(body: bytes) -> None:
    with pytest.raises(BadBody):
        parse_small(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":18446744073709551615}',
        b'{"a":"99999999999999999999999999"}',
        b'{"a":"\\\\"}',
        b'{"a":"\\\\u0000"}',
        b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"a":"' + b"{" * 100 + b'"}',
    ],
)
def test_a_doubt_is_settled_in_favour_of_what_is_fine(body: bytes) -> None:
    assert parse_small(body) == json.loads(body)


def test_an_ordinary_callback_never_needs_the_scanner(monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(body: bytes) -> None:
        pytest.fail("the fast way was not taken")

    monkeypatch.setattr(strict, "_scan", scan)
    status = {
        "success": True,
        "status": "completed",
        "completion_percentage": 100,
        "video_id": "3f2b1c58-7f0e-4f0e-9c0e-6b7f5d1a2c3d",
        "response": {
            "s3_url": "https://videos.example.com/3f2b1c58.mp4?X-Amz-Date=20260301T120000Z&X-Amz-Expires=3600",
            "transcript": 'Plants "eat" light: they make sugar.\nÄpfel, 🍎; {braces} [too], and a : colon',
            "sources": [{"url": "https://example.com", "content": None}],
            "cost": 1.25,
            "timestamp": "2026-03-01T12:00:00Z",
        },
    }
    for separators in ((",", ":"), (", ", ": ")):
        assert parse_small(json.dumps(status, separators=separators).encode()) == status
        assert parse_small(json.dumps(status, ensure_ascii=False, indent=2).encode()) == status
