"""Log lines: all events are listed, every line parses, no value forges a line, no secret gets in."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import receiver
from receiver import logs

PACKAGE = Path(receiver.__file__).parent
METHODS = ("debug", "info", "warning", "error", "exception", "critical")
CANARY = "canary-9d3e-secret"

HOSTILE = {
    "CRLF": "a\r\n2025-01-01 server.stopped",
    "LF": "a\nb",
    "ANSI": "a\x1b[2J\x1b[31mb",
    "C1": "a\x9b2Jb",
    "BEL and BS": "a\x07\x08\x08b",
    "NUL": "a\x00b",
    "DEL": "a\x7fb",
    "bidi override": "a\u202eb\u202c",
    "bidi isolate": "a\u2066b\u2069",
    "bidi mark": "a\u061cb\u200f",
    "zero width": "a\u200bb\ufeffc",
    "line separator": "a\u2028b\u2029c",
    "lone surrogate": "a\ud800b",
}
FORBIDDEN = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def parsed(written: str) -> list[dict[str, Any]]:
    """What was written, each line parsed."""
    return [orjson.loads(line) for line in written.splitlines()]


def logged_events() -> dict[str, str]:
    """Every event that is given to a logger as it stands, with its place."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or not node.args:
                continue
            event = node.args[0]
            if node.func.attr in METHODS and isinstance(event, ast.Constant):
                found[str(event.value)] = f"{file.relative_to(PACKAGE)}:{node.lineno}"
    return found


def texts() -> set[str]:
    """Every text in the package but the list itself: some events are picked from a table."""
    return {
        str(node.value)
        for file in PACKAGE.rglob("*.py")
        if file.name != "logs.py"
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant)
    }


def test_every_event_that_is_logged_is_listed() -> None:
    assert {event: place for event, place in logged_events().items() if event not in logs.EVENTS} == {}


def test_every_event_that_is_listed_is_logged_somewhere() -> None:
    assert set(logs.EVENTS) - texts() == set()


def test_the_search_finds_what_is_logged() -> None:
    assert {"server.started", "delivery.rejected", "video.saved", "process.died"} <= set(logged_events())


def test_events_are_a_noun_and_a_past_verb_with_an_explanation() -> None:
    for event, meaning in logs.EVENTS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z]+", event)
        assert meaning
        assert not meaning.endswith(".")


def test_a_line_is_json_with_time_level_and_event_first(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get(worker="w").info(
        "server.started", url="http://x", count=3, ready=True, nothing=None, names=["a", "b"]
    )

    [line] = parsed(capsys.readouterr().err)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "event": "server.started",
        "worker": "w",
        "url": "http://x",
        "count": 3,
        "ready": True,
        "nothing": None,
        "names": ["a", "b"],
    }


@pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_least_severity_decides_what_is_written(
    level: str, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(level=level)
    log = logs.get()
    for method in ("debug", "info", "warning", "error"):
        getattr(log, method)("server.started")

    assert len(parsed(capsys.readouterr().err)) == expected


@pytest.mark.fault("O2")
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("style", ["json", "text"])
def test_no_value_can_forge_a_line_or_drive_a_terminal(
    style: str, hostile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(style=style)
    logs.get(bound=hostile).info(
        hostile,
        text=hostile,
        items=[hostile],
        table={hostile: hostile},
        **{hostile: hostile},
        path=Path(hostile),
        error=ValueError(hostile),
    )

    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert written.endswith("\n")
    assert FORBIDDEN.search(written) is None
    if style == "json":
        assert FORBIDDEN.search(str(parsed(written))) is None


@pytest.mark.fault("O2")
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("style", ["json", "text"])
def test_no_exception_can_either(style: str, hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style=style)
    try:
        raise ValueError(hostile)
    except ValueError as error:
        logs.get().error("handler.raised", exc_info=error)

    written = capsys.readouterr().err
    assert FORBIDDEN.search(written) is None
    first, *rest = written.splitlines()
    assert "handler.raised" in first
    assert all(line.startswith("    ") for line in rest)
    assert "ValueError" in written


@pytest.mark.fault("O2")
@given(
    st.dictionaries(
        st.from_regex(r"x[a-z]{1,8}", fullmatch=True), st.text() | st.integers() | st.floats() | st.binary()
    )
)
def test_whatever_is_logged_is_one_line_of_json(fields: dict[str, Any]) -> None:
    with redirect_stderr(io.StringIO()) as stream:
        logs.configure()
        logs.get().info("server.started", **fields)

    [line] = parsed(stream.getvalue())
    assert set(line) == {"timestamp", "level", "event", *fields}


def test_readable_text_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get().info("video.saved", path="Photosynthesis – “テスト” 🌱 naïve.mp4")

    assert parsed(capsys.readouterr().err)[0]["path"] == "Photosynthesis – “テスト” 🌱 naïve.mp4"


@pytest.mark.fault("O1")
@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "x_apikey",
        "X-API-Key",
        "Authorization",
        "cookie",
        "credentials",
        "password",
        "secret",
        "signature",
        "access_token",
    ],
)
@pytest.mark.parametrize("style", ["json", "text"])
def test_a_field_that_is_named_like_a_secret_is_not_written(
    name: str, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(style=style)
    logs.get().info("server.started", **{name: CANARY}, nested=[{"headers": {name: CANARY}}])

    written = capsys.readouterr().err
    assert CANARY not in written
    assert written.count("redacted") == 2


@pytest.mark.fault("O1")
@pytest.mark.parametrize("style", ["json", "text"])
def test_no_line_says_how_a_link_is_signed(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style=style)
    said = f"403 for https://h/v.mp4?X-Amz-Signature={CANARY}"
    try:
        raise RuntimeError(said)
    except RuntimeError as error:
        logs.get().warning("handler.raised", error=said, frames=[said], exc_info=error)

    written = capsys.readouterr().err
    assert CANARY not in written
    assert written.count("https://h/v.mp4?redacted") == 3


def test_fields_of_our_own_events_are_not_taken_for_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.get().info("job.started", event_key="v@org:completed", idempotency_key="k", monkey="m")

    assert "redacted" not in capsys.readouterr().err


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(style="text")
    logs.get().warning("delivery.rejected", status=401, reason="x-api-key is wrong")

    assert re.fullmatch(
        r"\d\d:\d\d:\d\d warning: delivery\.rejected status=401 reason=x-api-key is wrong\n",
        capsys.readouterr().err,
    )


def test_a_terminal_gets_text_with_colours() -> None:
    with redirect_stderr(Terminal()) as terminal:
        logs.configure()
        logs.get().error("store.failed", reason="\x1b[2J")

    assert "\x1b[31merror: store.failed\x1b[0m" in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()


def test_a_terminal_gets_json_when_json_is_asked_for() -> None:
    with redirect_stderr(Terminal()) as terminal:
        logs.configure(style="json")
        logs.get().error("store.failed")

    assert parsed(terminal.getvalue())[0]["event"] == "store.failed"


@pytest.mark.parametrize(
    ("style", "is_terminal", "begins", "is_coloured"),
    [
        ("auto", True, "", True),
        ("auto-plain", True, "", False),
        ("plain", True, "", False),
        ("text", False, "", False),
        ("auto-plain", False, "{", False),
    ],
)
def test_colours_are_for_terminals_unless_the_style_is_plain(
    monkeypatch: pytest.MonkeyPatch, style: str, is_terminal: bool, begins: str, is_coloured: bool
) -> None:
    stream = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure(style=style)
    logs.get().warning("job.retried", job=1)

    assert stream.getvalue().startswith(begins)
    assert ("\x1b[" in stream.getvalue()) is is_coloured
