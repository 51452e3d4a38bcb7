"""Where callbacks may go, and when one counts as not delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from receiver.sandbox.callbacks import Callbacks, Message
from receiver.sandbox.jobs import CallbackTry, Order, VideoJob
from receiver.sandbox.loopback import problem_with
from receiver.sandbox.mischief import Luck
from receiver.sandbox.options import Behaviour, silent

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Answer = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


async def tries(url: str, answer: Answer, *, timeout_seconds: float = 5.0) -> list[CallbackTry]:
    """Deliver one callback, with no second try, over a network that answers as told."""
    behaviour = Behaviour(retry_seconds=(), timeout_seconds=timeout_seconds)
    job = VideoJob("v1", Order("t", "t", "picasso"), "key", behaviour, created_at=NOW)
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(answer), timeout=httpx.Timeout(None)
    ) as client:
        await Callbacks(client, clock=lambda: NOW, luck=Luck(), tell=silent).deliver(
            job, Message(url, {}, b"{}")
        )
    return job.callbacks


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/webhooks/opennote",
        "http://127.0.0.1/",
        "https://localhost:8443/hook?x=1",
        "http://[::1]:8000/",
    ],
)
def test_a_loopback_url_is_fine(url: str) -> None:
    assert problem_with(url) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://hooks.example.com/", "loopback"),
        ("http://10.1.2.3/", "loopback"),
        ("http://0.0.0.0:8000/", "loopback"),
        ("http://[::]:8000/", "loopback"),
        ("http://169.254.169.254/latest", "loopback"),
        ("http://localhost@example.com/", "loopback"),
        ("http://example.com#@127.0.0.1/", "loopback"),
        ("http://127.0.0.1.example.com/", "loopback"),
        ("http://127.1/", "loopback"),
        ("ftp://127.0.0.1/", "absolute"),
        ("file:///etc/passwd", "absolute"),
        ("/webhooks/opennote", "absolute"),
        ("127.0.0.1:8000", "absolute"),
        ("", "absolute"),
        ("http://127.0.0.1:0/", "port"),
        ("http://127.0.0.1:99999/", "port"),
        ("http://127.0.0.1:port/", "not a URL"),
        ("http://127.0.0.1/\x00", "not a URL"),
    ],
)
def test_any_other_url_is_a_problem(url: str, problem: str) -> None:
    assert problem in (problem_with(url) or "no problem")


@pytest.mark.anyio
async def test_nothing_is_sent_to_an_address_beyond_loopback() -> None:
    sent: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    [beyond] = await tries("http://192.0.2.1:8000/", answer)
    assert "does not lead to loopback" in (beyond.error or "")
    assert sent == []
    [within] = await tries("http://127.0.0.1:8000/", answer)
    assert (within, len(sent)) == (CallbackTry(NOW, status=200), 1)


@pytest.mark.anyio
async def test_a_receiver_that_does_not_answer_in_time_is_an_error() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    assert await tries("http://127.0.0.1:8000/", never, timeout_seconds=0.01) == [
        CallbackTry(NOW, error="no answer within 0.01s")
    ]


@pytest.mark.anyio
async def test_each_try_has_credentials_of_its_own_moment() -> None:
    moments = iter(NOW + timedelta(minutes=number) for number in range(100))
    sent: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["moment"])
        return httpx.Response(200 if len(sent) == 3 else 500)

    behaviour = Behaviour(retry_seconds=(0.0, 0.0))
    job = VideoJob("v1", Order("t", "t", "picasso"), "key", behaviour, created_at=NOW)
    message = Message("http://127.0.0.1:8000/", {}, b"{}", credentials=lambda at: {"moment": at.isoformat()})
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        callbacks = Callbacks(client, clock=lambda: next(moments), luck=Luck(), tell=silent)
        await callbacks.deliver(job, message)
    assert sent == sorted(set(sent))
    assert len(sent) == 3
