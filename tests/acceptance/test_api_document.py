"""The OpenAPI document against a real server: every answer is one that it promises, whatever is asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from receiver.api.operations import OPERATIONS, ROOT
from tests.acceptance.asking import TOKEN, Asking
from tests.acceptance.conftest import Receiver, a_video, callback

ENDLESS = f"{ROOT}/stream"


def ask_all(receiver: Receiver, document: Any, *options: str) -> subprocess.CompletedProcess[str]:
    """Let schemathesis ask whatever the document allows, and what it doesn't."""
    file = receiver.folder / "openapi.json"
    file.write_text(json.dumps(document))
    command = [Path(sys.executable).with_name("schemathesis"), "run", file, "--no-color", *options]
    command += ["--url", receiver.url, "--header", f"Authorization: Bearer {TOKEN}", "--seed", "1"]
    command += ["--exclude-path", ENDLESS, "--continue-on-failure", "--max-examples", "30"]
    return subprocess.run(
        list(map(str, command)), cwd=receiver.folder, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture
def filled(open_receiver: Receiver) -> Receiver:
    """A receiver with a little of everything."""
    open_receiver.accepted(callback("v1", video=a_video()))
    open_receiver.accepted(callback("v2", video=a_video(padding=100_000)))
    open_receiver.accepted(callback("v3", "failed"))
    open_receiver.post(callback("v4"), X_API_Key="wrong")
    open_receiver.settled(count=3)
    return open_receiver


@pytest.mark.slow
@pytest.mark.fault("W8")
def test_every_answer_is_one_that_the_document_promises(filled: Receiver, asking: Asking) -> None:
    ended = ask_all(filled, asking.json("/openapi.json"))

    assert ended.returncode == 0, ended.stdout[-5000:]
    assert f"Tested: {len(OPERATIONS) - 1}" in ended.stdout
    generated = re.search(r"(\d+) generated, (\d+) passed", ended.stdout)
    assert generated
    assert int(generated[1]) == int(generated[2]) > 300
    assert filled.log("server.failed") == []


def test_a_document_that_promises_something_else_is_found_out(filled: Receiver, asking: Asking) -> None:
    document = asking.json("/openapi.json")
    document["components"]["schemas"]["EventView"]["properties"]["duplicates"] = {"type": "string"}

    ended = ask_all(filled, document, "--phases", "coverage", "--include-path", f"{ROOT}/events")

    assert ended.returncode == 1
    assert "duplicates" in ended.stdout


def test_the_document_names_every_operation_with_all_that_may_be_asked(asking: Asking) -> None:
    document = asking.json("/openapi.json")

    assert document["security"] == [{"token": []}]
    for operation in OPERATIONS:
        described = document["paths"][ROOT + operation.path][operation.method.lower()]
        assert described["summary"]
        names = {parameter["name"] for parameter in described["parameters"]}
        assert names == {*operation.question.model_fields, *(["id"] if "{id}" in operation.path else [])}
        assert {"400", "401", "429", "503"} <= described["responses"].keys()
