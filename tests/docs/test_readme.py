"""The README, taken at its word: its handlers run, its commands exist, its promises are the code's."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

import receiver
from receiver import dispatch, logs, settings
from receiver.cli import COMMANDS, cli, sample
from receiver.context import Context
from receiver.event import Event, StoredBody
from receiver.fetch import Fetcher
from receiver.loading import Loaded, load
from receiver.model import Video
from receiver.outcome import Cancel, Done, Fail, Outcome, Retry
from receiver.sources import opennote
from receiver.units import duration
from tests.file_server import serving_files

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def rows() -> list[list[str]]:
    """The cells of all tables, without their heads."""
    lines = re.findall(r"^\| (.*) \|$", README, flags=re.MULTILINE)
    return [re.split(r" \| ", line) for line in lines]


def spans(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def section(title: str) -> str:
    """The text below a heading."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


# The handlers that it shows.


@dataclass
class Stage:
    """The README's handlers, loaded as the program would, in a folder of their own."""

    folder: Path
    loaded: Loaded
    fetcher: Fetcher
    threads: ThreadPoolExecutor

    async def run(self, name: str, *, kind: str, results: dict[str, Any] | None = None) -> Outcome:
        """Run one of them on a sample event."""
        handler = next(handler for handler in self.loaded.handlers if handler.name == name)
        video = sample.packaged_video() if kind == "completed" else None
        raw = b"".join(sample.opennote(kind, video_id="v1", video=video, url=None, timestamp=NOW.isoformat()))
        payload = json.loads(raw)
        event = Event(
            id="evt_aaaaaaaaaaaaaaaa",
            source="opennote",
            type="video.completed" if kind == "completed" else "video.failed",
            key=f"v1@org:{kind}",
            received_at=NOW,
            warnings=(),
            video=opennote.video_of(payload),
            payload=payload,
            body=StoredBody(raw=raw),
        )
        assert event.type in handler.types
        assert handler.source in (None, event.source)
        context = Context(
            event=event,
            place=opennote.place_of(payload),
            fetcher=self.fetcher,
            folder=self.folder,
            log=logs.get(),
            attempt=1,
            attempts=handler.attempts,
            idempotency_key=f"{event.id}:{name}",
            replay=None,
            settings=self.loaded.settings[handler.router_name],
            results=results or {},
            deadline=datetime.now(UTC) + timedelta(minutes=1),
        )
        ran = await dispatch.run(
            handler, event, context, timeout_seconds=30, threads=self.threads, log=logs.get()
        )
        return ran.outcome


@asynccontextmanager
async def staged(folder: Path, **tables: dict[str, Any]) -> AsyncIterator[Stage]:
    """Write every Python block to the file that its first line names, and load them all."""
    files = []
    for block in blocks("python"):
        name = block.splitlines()[0].removeprefix("# ")
        (folder / name).write_text(block, "utf-8")
        files.append(name)
    known, path = set(sys.modules), sys.path.copy()
    fetcher = Fetcher(max_bytes=10**7)
    try:
        loaded = load(files, folder=folder, tables=tables, sources=["opennote"])
        with ThreadPoolExecutor(1) as threads:
            yield Stage(folder, loaded, fetcher, threads)
    finally:
        await fetcher.aclose()
        sys.path[:] = path
        for name in {file.removesuffix(".py") for file in files} - known:
            sys.modules.pop(name, None)


@pytest.mark.anyio
async def test_the_first_handler_is_ten_lines_and_saves_the_video(tmp_path: Path) -> None:
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 10

    async with staged(tmp_path) as stage:
        with capture_logs() as told:
            outcome = await stage.run("my_handler.shelve", kind="completed")

    assert stage.loaded.warnings == ()
    assert isinstance(outcome, Done)
    saved = Path(outcome.result["path"])
    assert saved.parent == tmp_path / "shelf"
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in (saved, sample.packaged_video())]
    assert digests[0] == digests[1]
    assert told[-1]["event"] == "video.shelved"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "expected"),
    [("200 OK", Done), ("503 Service Unavailable", Retry), ("422 Unprocessable Content", Fail)],
)
async def test_the_second_handler_decides_by_what_the_catalogue_says(
    tmp_path: Path, status: str, expected: type
) -> None:
    async with serving_files() as catalogue:
        catalogue.give("/videos", b"{}", status=status, headers="Connection: close\r\n")
        async with staged(tmp_path, announce={"url": f"{catalogue.base}/videos"}) as stage:
            with capture_logs():
                shelved = await stage.run("my_handler.shelve", kind="completed")
                assert isinstance(shelved, Done)
                outcome = await stage.run(
                    "announce", kind="completed", results={"my_handler.shelve": shelved.result}
                )

    assert type(outcome) is expected
    assert [request.split()[0] for request in catalogue.requests] == ["POST"]
    if isinstance(outcome, Retry):
        assert outcome.after == timedelta(minutes=5)


@pytest.mark.anyio
async def test_the_plain_function_cancels_with_the_providers_reason(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        outcome = await stage.run("announce.lament", kind="failed")

    assert isinstance(outcome, Cancel)
    assert outcome.reason == "nothing to announce: a sample failure"


# The names and commands that it shows.


def test_the_readme_lists_exactly_the_public_names() -> None:
    (line,) = re.findall(r"^- \*\*All names\*\* .*$", README, flags=re.MULTILINE)

    assert sorted(spans(line)) == sorted([*receiver.__all__, "receiver"])


@pytest.mark.parametrize("model", [Event, Context], ids=["Event", "Context"])
def test_every_attribute_of_what_a_handler_gets_is_in_the_readme(model: type) -> None:
    names = {name for name in (*vars(model), *model.__annotations__) if not name.startswith("_")}
    names.discard("body")  # how an event keeps it; handlers have open_body()
    word = f"`{model.__name__.lower()}."
    table = " ".join(span for row in rows() if row[0].startswith(word) for span in spans(row[0]))

    assert len(names) > 5
    assert {name for name in names if not re.search(rf"\b{name}\b", table)} == set()


def test_the_readme_lists_exactly_the_fields_of_a_video() -> None:
    (listed,) = [span for row in rows() for span in spans(row[-1]) if span.startswith("id status ")]

    assert listed.split() == list(Video.model_fields)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of the README as written, and its words."""
    shown = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    for text in (*shown, *spans(PROSE)):
        if re.match(r"receiver [a-z]", text):
            yield text, shlex.split(re.sub(r"[\[\]]", " ", text))[1:]


def test_every_command_that_the_readme_shows_exists_with_those_options() -> None:
    context = click.Context(cli)
    seen = 0
    for text, (name, *words) in commands():
        command = cli.get_command(context, name)
        assert command is not None, text
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, text
        seen += 1

    assert seen > len(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_each_of_its_options_is_in_the_readme(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    shown = " ".join(text for text, words in commands() if words[0] == name)
    options = {
        max(parameter.opts, key=len)
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
    }
    # These are said once for all commands.
    options -= {"--config", "--json", "--help", "--handlers"}

    assert shown
    assert {option for option in options if not re.search(rf"{option}\b", shown)} == set()
    assert all(f"`{option}" in README for option in ("--config FILE", "--json", "--handlers SPEC"))


def test_the_commands_to_try_do_what_stands_behind_them(tmp_path: Path) -> None:
    block = next(block for block in blocks("sh") if "receiver init" in block)
    order = [
        shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.startswith("receiver")
    ]
    assert [words[0] for words in order] == ["init", "serve", "send", "events"]
    init, serve, send, events = ([sys.executable, "-m", "receiver", *words] for words in order)
    with socket.create_server(("127.0.0.1", 0)) as free:
        environ = {**os.environ, "RECEIVER_SERVER__PORT": str(free.getsockname()[1])}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True, timeout=30, check=True
        )
        return done.stdout

    run(*init)
    assert (tmp_path / "receiver.toml").stat().st_mode & 0o777 == 0o600
    with subprocess.Popen(serve, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert "is ready at" in server.stdout.readline()
            assert '"accepted"' in run(*send)
            deadline = time.monotonic() + 20
            while "save_video:done" not in (shown := run(*events)):
                assert time.monotonic() < deadline, shown
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0

    saved = list((tmp_path / "videos").glob("*.mp4"))
    assert [path.read_bytes() for path in saved] == [sample.packaged_video().read_bytes()]
    assert saved[0].with_suffix(".json").exists()


# The settings and answers that it lists.


def documented_settings() -> dict[str, dict[str, str | None]]:
    """Table → key → its default as TOML, or None where the README names none."""
    found: dict[str, dict[str, str | None]] = {}
    for row in rows():
        names = [name.strip("[]") for name in spans(row[0]) if re.fullmatch(r"\[[a-z_]+(\.NAME)?\]", name)]
        if not names or len(row) != 2:
            continue
        parts = row[1].split("; ") if len(names) > 1 else [row[1]]
        for name, part in zip(names, parts, strict=False):
            table = found.setdefault(name, {})
            for span in spans(part):
                key, _, value = span.partition(" = ")
                table[key] = value or None
    return found


def real_settings() -> dict[str, type[BaseModel]]:
    """Table → its model, as far as it has keys of its own."""
    tables = {
        name: field.annotation
        for name, field in settings.Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }
    return {**tables, "sources.NAME": settings.OpennoteSettings}


def test_every_setting_and_no_other_is_in_the_readme() -> None:
    documented = documented_settings()
    documented.pop("handlers.NAME", None)

    real = {name: set(model.model_fields) for name, model in real_settings().items()}
    assert {name: set(keys) for name, keys in documented.items()} == real


def test_the_defaults_in_the_readme_are_the_real_ones() -> None:
    compared = 0
    for name, keys in documented_settings().items():
        if name == "handlers.NAME":
            continue
        fields = real_settings()[name].model_fields
        for key, text in keys.items():
            if text is None or fields[key].is_required():
                continue
            shown = tomllib.loads(f"value = {text}")["value"]
            parsed = real_settings()[name].model_validate(
                {**required(name), key: shown}
            )  # a size or duration is read as the program reads it
            assert getattr(parsed, key) == fields[key].default, f"[{name}] {key}"
            compared += 1

    assert compared > 15


def required(table: str) -> dict[str, Any]:
    """What a table can't do without."""
    if table != "sources.NAME":
        return {}
    return {"kind": "opennote", "organization_id": "org", "api_keys": ["key"]}


def test_the_shipped_handlers_settings_are_in_the_readme() -> None:
    from handlers.save_video import Settings

    assert {key for key in Settings.model_fields if f"`{key}`" not in section("Configure")} == set()


def test_the_environment_variable_of_the_readme_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (assignment,) = [span for span in spans(section("Configure")) if span.startswith("RECEIVER_")]
    name, _, value = assignment.partition("=")
    file = tmp_path / "receiver.toml"
    file.write_text("[server]\nport = 1\n", "utf-8")
    monkeypatch.setenv(name, value)

    assert settings.load(str(file)).server.port == int(value)


def test_the_durations_and_sizes_of_the_readme_can_be_read() -> None:
    said = section("Configure").partition("Durations are written")[2].partition("sizes")[0]

    assert [duration(text).total_seconds() for text in spans(said)] == [90, 600, 30 * 86400]


def test_the_four_headers_of_the_readme_are_those_that_are_checked() -> None:
    shown = {span.lower().encode() for span in spans(section("Configure")) if span.startswith("X-")}

    assert shown == set(opennote.CHECKED)


def test_the_guarantee_is_said_in_the_same_words_everywhere() -> None:
    promise = (
        "acknowledged means committed; each handler runs at least once per event until it is done, dead "
        "or cancelled; order is not promised."
    )

    architecture = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    for text in (README, architecture, cli.help or ""):
        assert promise in " ".join(text.split()).replace("Acknowledged means", "acknowledged means")
