"""The README, taken at its word: its handlers run, its commands exist, its promises are the code's."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

import receiver.testing
from receiver import settings
from receiver.cli import COMMANDS, cli, sample
from receiver.context import Context
from receiver.event import Event
from receiver.loading import Loaded, load
from receiver.model import Video
from receiver.outcome import Cancel, Done, Fail, Outcome, Retry
from receiver.sources import opennote
from receiver.testing import RecordingContext, by_link, failed, inline, run_async, sample_video
from receiver.units import duration

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
REFERENCE = (ROOT / "deploy" / "REFERENCE.md").read_text("utf-8")
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL) + REFERENCE


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def rows(text: str = README) -> list[list[str]]:
    """The cells of all tables of a document, without their heads."""
    lines = re.findall(r"^\| (.*) \|$", text, flags=re.MULTILINE)
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

    def context(self, event: Event, **options: Any) -> RecordingContext:
        """Give an event a context; its settings are those of the configuration."""
        return RecordingContext(event, folder=self.folder, **options)

    async def run(self, name: str, context: RecordingContext) -> Outcome:
        """Run one of the handlers."""
        handler = next(handler for handler in self.loaded.handlers if handler.name == name)
        context.settings = self.loaded.settings[handler.router_name]
        return await run_async(handler, context.event, context)


@contextmanager
def staged(folder: Path, **tables: dict[str, Any]) -> Iterator[Stage]:
    """Write every Python block to the file that its first line names, and load them all."""
    files = []
    for block in blocks("python"):
        name = block.splitlines()[0].removeprefix("# ")
        (folder / name).write_text(block, "utf-8")
        files.append(name)
    known, path = set(sys.modules), sys.path.copy()
    try:
        yield Stage(folder, load(files, folder=folder, tables=tables, sources=["opennote"]))
    finally:
        sys.path[:] = path
        for name in {file.removesuffix(".py") for file in files} - known:
            sys.modules.pop(name, None)


@pytest.mark.anyio
async def test_the_first_handler_is_ten_lines_and_saves_the_video(tmp_path: Path) -> None:
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 10

    with staged(tmp_path) as stage:
        context = stage.context(by_link(title="Cells"))
        outcome = await stage.run("my_handler.shelve", context)

    assert stage.loaded.warnings == ()
    assert isinstance(outcome, Done)
    (saved,) = context.saved
    assert outcome.result == {"path": str(tmp_path / "shelf" / "Cells-vid_sample.mp4")}
    assert (str(saved.path), saved.bytes) == (outcome.result["path"], len(sample_video()))
    assert context.lines[-1].event == "video.shelved"


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "expected"), [(200, Done), (503, Retry), (422, Fail)])
async def test_the_second_handler_decides_by_what_the_catalogue_says(
    tmp_path: Path, status: int, expected: type
) -> None:
    catalogue = "https://elsewhere.example.com/videos"
    with staged(tmp_path, announce={"url": catalogue}) as stage:
        event = inline(title="Cells")
        shelved = await stage.run("my_handler.shelve", stage.context(event))
        assert isinstance(shelved, Done)
        context = stage.context(event, results={"my_handler.shelve": shelved.result})
        context.answer("POST", catalogue, status=status)
        outcome = await stage.run("announce", context)

    assert type(outcome) is expected
    (asked,) = context.asked
    assert json.loads(asked.content) == {"title": "Cells", **shelved.result}
    if isinstance(outcome, Retry):
        assert outcome.after == timedelta(minutes=5)


@pytest.mark.anyio
async def test_the_plain_function_cancels_with_the_providers_reason(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        outcome = await stage.run("announce.lament", stage.context(failed(message="too long a script")))

    assert isinstance(outcome, Cancel)
    assert outcome.reason == "nothing to announce: too long a script"


HANDLERS = (ROOT / "handlers" / "README.md").read_text("utf-8")


@pytest.fixture
def author(tmp_path: Path) -> Path:
    """A project of somebody who has written the README's handler and the tests that are shown for it."""
    shown = re.findall(r"^```python\n(.*?)^```$", HANDLERS, flags=re.MULTILINE | re.DOTALL)
    (block,) = [text for text in shown if text.startswith("# test_my_handler.py\n")]
    for text in (blocks("python")[0], block):
        (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text, "utf-8")
    fixtures = """
        from receiver.testing import Done, inline

        def test_fixtures(run_handler, receiver_context, tmp_path):
            assert isinstance(run_handler("my_handler.py", inline()), Done)
            assert len(list(tmp_path.glob("shelf/*.mp4"))) == 1
            assert receiver_context(inline(), attempt=3).attempt == 3
        """
    (tmp_path / "test_fixtures.py").write_text(textwrap.dedent(fixtures), "utf-8")
    return tmp_path


def test_the_tests_that_are_shown_to_authors_pass_in_a_project_of_theirs(author: Path) -> None:
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=author, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_every_name_of_the_kit_for_tests_is_explained() -> None:
    names = set(receiver.testing.__all__) - {"Line", "Asked", "Outcome"}  # told by what has them

    assert {name for name in names if not re.search(rf"\b{name}\b", HANDLERS)} == set()


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
    """Every command of README and reference as written, and its words."""
    shown = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    for text in (*shown, *spans(PROSE)):
        if re.match(r"receiver [a-z]", text):
            yield text, shlex.split(re.sub(r"[\[\]]", " ", text))[1:]


def test_every_command_that_the_documents_show_exists_with_those_options() -> None:
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
def test_every_command_and_each_of_its_options_is_in_the_reference(name: str) -> None:
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
    """Table → key → its default as TOML, or None where the reference names none."""
    found: dict[str, dict[str, str | None]] = {}
    for row in rows(REFERENCE):
        names = [name.strip("[]") for name in spans(row[0]) if re.fullmatch(r"\[[a-z_]+(\.NAME)?\]", name)]
        if not names or len(row) != 2:
            continue
        parts = row[1].split("; ") if len(names) > 1 else [row[1]]
        if names == ["sources.NAME"]:
            names = [f"sources.NAME of {tomllib.loads(spans(row[1])[0])['kind']}"]
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
    return {**tables, **{f"sources.NAME of {kind}": model for kind, model in settings.SOURCES.items()}}


def test_every_setting_and_no_other_is_in_the_reference() -> None:
    documented = documented_settings()
    documented.pop("handlers.NAME", None)

    real = {name: set(model.model_fields) for name, model in real_settings().items()}
    assert {name: set(keys) for name, keys in documented.items()} == real


def test_the_defaults_in_the_reference_are_the_real_ones() -> None:
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
    if not table.startswith("sources.NAME"):
        return {}
    kind = table.rpartition(" ")[2]
    given = {"organization_id": "org", "api_keys": ["key"], "api_key": "key", "webhook_secrets": ["c2VjcmV0"]}
    given |= {"api_url": "https://api.example.com/v1"}
    return {
        key: {"kind": kind, **given}[key]
        for key, field in real_settings()[table].model_fields.items()
        if field.is_required()
    }


def test_the_shipped_handlers_settings_are_in_the_readme() -> None:
    from handlers.save_video import Settings

    assert {key for key in Settings.model_fields if f"`{key}`" not in REFERENCE} == set()


def test_the_settings_of_a_target_of_forward_are_beside_it() -> None:
    from handlers.forward import Settings, Target

    assert {key for key in Settings.model_fields if f"`{key}`" not in REFERENCE} == set()
    shown = (ROOT / "handlers/README.md").read_text("utf-8").partition("\n## forward\n")[2]
    assert {key for key in Target.model_fields if not re.search(rf"\b{key}(`| = )", shown)} == set()


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
