"""What is answered beside callbacks: who may see the metrics."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import CapturingLogger

from receiver.answers import RawHeaders
from receiver.bodies import Bodies
from receiver.endpoint import Api, Application
from receiver.gate import Gate
from receiver.ingress import Ingress
from receiver.metrics import Meter, Metrics
from receiver.peers import BadCredentials
from receiver.rejections import Rejections
from receiver.settings.tables import AdminSettings
from receiver.store.service import Service

pytestmark = pytest.mark.anyio
TOKEN = "canary-admin-token-é"
NOBODY: AdminSettings = AdminSettings()
WITH_TOKEN = AdminSettings(token=SecretStr(TOKEN))
PUBLIC = AdminSettings(metrics_public=True)
Answered = tuple[int, dict[bytes, bytes], bytes]


def unasked() -> Api:
    """Nobody here asks for the API, or nobody who may."""
    raise AssertionError("the API was made for somebody who may not ask")


@pytest.fixture
async def application(tmp_path: Path) -> AsyncIterator[Application]:
    """The whole application, over a store."""
    store = Service(tmp_path / "receiver.db", run="r", lease_seconds=60)
    log, bodies = CapturingLogger(), Bodies(tmp_path / "bodies", reserve=0)
    rejections = Rejections(store, wall=lambda: 0, log=log)
    ingress = Ingress(
        {},
        cards=[],
        intake=store,
        bodies=bodies,
        rejections=rejections,
        bad_credentials=BadCredentials(clock=lambda: 0.0),
        wall=lambda: 0,
        random=os.urandom,
        log=log,
    )
    metrics = Metrics(Meter(), figures=store.figures, folders={"store": tmp_path})
    gate = Gate(WITH_TOKEN, bad_tokens=BadCredentials(clock=lambda: 0.0, burst=20), rejections=rejections)
    yield Application(
        ingress,
        store=store,
        needs_worker=False,
        metrics=metrics,
        admin=WITH_TOKEN,
        gate=gate,
        make_api=unasked,
    )
    await rejections.close()
    await store.close()
    bodies.close()


async def ask(
    application: Application, *headers: tuple[bytes, bytes], method: str = "GET", path: str = "/metrics"
) -> Answered:
    """Ask, unless it is said otherwise, for the metrics; give status, headers and body."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        return await asyncio.Future()

    fields: RawHeaders = list(headers)
    scope = {"type": "http", "method": method, "path": path, "headers": fields, "client": ("::1", 5)}
    await application(scope, receive, send)
    start, body = messages
    return start["status"], dict(start["headers"]), body["body"]


def bearer(token: str, scheme: str = "Bearer") -> tuple[bytes, bytes]:
    return (b"authorization", f"{scheme} {token}".encode())


async def test_the_admin_token_opens_the_metrics(application: Application) -> None:
    for scheme in ("Bearer", "bearer"):
        status, headers, body = await ask(application, bearer(TOKEN, scheme))
        assert (status, headers[b"content-type"].partition(b";")[0]) == (200, b"text/plain")
        assert int(headers[b"content-length"]) == len(body)
        assert b"\nreceiver_store_up 1.0\n" in body


WRONG: dict[str, list[tuple[bytes, bytes]]] = {
    "missing": [],
    "empty": [bearer("")],
    "wrong": [bearer("wrong")],
    "too long": [bearer(TOKEN + "x")],
    "cut": [bearer(TOKEN[:-1])],
    "another scheme": [bearer(TOKEN, "Basic")],
    "no scheme": [(b"authorization", TOKEN.encode())],
    "twice": [bearer(TOKEN), bearer(TOKEN)],
    "elsewhere": [(b"x-api-key", TOKEN.encode())],
    "not text": [(b"authorization", b"Bearer \xff\xfe")],
}


@pytest.mark.parametrize("name", WRONG)
async def test_without_the_token_there_is_one_401(application: Application, name: str) -> None:
    status, headers, body = await ask(application, *WRONG[name])

    assert status == 401
    assert headers[b"www-authenticate"] == b"Bearer"
    assert body == b'{"status":"rejected","error":"the admin token is missing or wrong"}'


@pytest.mark.parametrize("nobody", [NOBODY, AdminSettings(token=SecretStr(""))], ids=["none", "empty"])
async def test_without_a_token_configured_there_is_nothing(
    application: Application, nobody: AdminSettings
) -> None:
    application.admit(nobody)

    for headers in ([], [bearer("")], [bearer(TOKEN)]):
        assert (await ask(application, *headers))[0] == 404


async def test_public_metrics_need_no_token(application: Application) -> None:
    application.admit(PUBLIC)

    assert (await ask(application))[0] == 200


async def test_a_new_token_counts_from_the_next_request_on(application: Application) -> None:
    application.admit(AdminSettings(token=SecretStr("new")))

    assert (await ask(application, bearer(TOKEN)))[0] == 401
    assert (await ask(application, bearer("new")))[0] == 200


async def test_the_metrics_are_only_read(application: Application) -> None:
    assert (await ask(application, bearer(TOKEN), method="POST"))[0] == 405


async def test_no_token_is_in_the_metrics(application: Application) -> None:
    _, _, body = await ask(application, bearer(TOKEN))

    assert TOKEN.encode() not in body


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1/events", "/api/v2", "/api/v1/openapi.json"])
async def test_nothing_of_the_api_is_even_imported_for_who_may_not_ask(
    application: Application, path: str
) -> None:
    for name in WRONG:
        assert (await ask(application, *WRONG[name], path=path))[0] == 401
    application.admit(NOBODY)
    assert (await ask(application, bearer(TOKEN), path=path))[0] == 404


async def test_who_guesses_is_told_to_wait_and_who_knows_is_not(application: Application) -> None:
    statuses = [(await ask(application, bearer("guess")))[0] for _ in range(25)]
    assert statuses == [401] * 20 + [429] * 5
    status, headers, _ = await ask(application, path="/api/v1/events")
    assert (status, headers[b"retry-after"]) == (429, b"1")
    assert (await ask(application, bearer(TOKEN)))[0] == 200


async def test_public_metrics_do_not_open_the_api(application: Application) -> None:
    application.admit(AdminSettings(token=SecretStr(TOKEN), metrics_public=True))
    assert (await ask(application))[0] == 200
    assert (await ask(application, path="/api/v1/events"))[0] == 401


def test_the_api_is_not_part_of_the_start() -> None:
    look = "import sys, receiver.app, receiver.front; print(*sorted(sys.modules))"
    command = [sys.executable, "-P", "-c", look]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert "receiver.endpoint" in modules
    late = ("receiver.api", "receiver.views", "receiver.replay", "receiver.copies", "starlette", "httpx")
    assert [module for module in modules if module.startswith(late)] == []
