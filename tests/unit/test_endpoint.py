"""What is answered beside callbacks: who may see the metrics."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import CapturingLogger

from receiver.answers import RawHeaders
from receiver.bodies import Bodies
from receiver.endpoint import Application
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


@pytest.fixture
async def application(tmp_path: Path) -> AsyncIterator[Application]:
    """The whole application, over a store."""
    store = Service(tmp_path / "receiver.db", run="r", lease_seconds=60)
    log, bodies = CapturingLogger(), Bodies(tmp_path / "bodies", reserve=0)
    ingress = Ingress(
        {},
        cards=[],
        intake=store,
        bodies=bodies,
        rejections=Rejections(store, wall=lambda: 0, log=log),
        bad_credentials=BadCredentials(clock=lambda: 0.0),
        wall=lambda: 0,
        random=os.urandom,
        log=log,
    )
    metrics = Metrics(Meter(), figures=store.figures, folders={"store": tmp_path})
    yield Application(ingress, store=store, needs_worker=False, metrics=metrics, admin=WITH_TOKEN)
    await store.close()
    bodies.close()


async def ask(application: Application, *headers: tuple[bytes, bytes], method: str = "GET") -> Answered:
    """Ask for the metrics; give status, headers and body."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        return await asyncio.Future()

    fields: RawHeaders = list(headers)
    scope = {"type": "http", "method": method, "path": "/metrics", "headers": fields, "client": ("::1", 5)}
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
