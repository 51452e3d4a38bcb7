"""What a beginner gets wrong, in real files: every message names the file, the function and the mend."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from receiver.errors import HandlerError
from receiver.loading import Loaded, load

Write = Callable[..., Path]

HEAD = "from receiver import Router\nrouter = Router()\n"
GOOD = HEAD + '@router.on("video.completed")\ndef publish(event):\n    """Publish it."""\n'
SETTINGS = """\
    from pathlib import Path
    from pydantic import BaseModel
    from receiver import Router

    class Settings(BaseModel):
        directory: Path = Path("videos")
        extra: Path | None = None
        several: list[Path] = []
        text: str = "plain"
        size: int = 1

    router = Router(settings=Settings)

    @router.on("video.completed")
    def publish(event): ...
"""


@pytest.fixture(autouse=True)
def _imports_are_put_back() -> Iterator[None]:
    modules, path = dict(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - set(modules):
        if not name.startswith(("receiver", "pydantic")):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of the configuration's folder."""

    def written(name: str, text: str = GOOD) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return written


@pytest.fixture
def loading(tmp_path: Path) -> Callable[..., Loaded]:
    """Load with `tmp_path` as the configuration's folder."""

    def loaded(*specs: str, tables: dict[str, Any] | None = None, **options: Any) -> Loaded:
        return load(specs, folder=tmp_path, tables=tables or {}, **options)

    return loaded


Loading = Callable[..., Loaded]


def message(loading: Loading, *specs: str, **options: Any) -> str:
    """The one line that says what is wrong; nothing of the failed load stays behind."""
    path, modules = list(sys.path), set(sys.modules)
    with pytest.raises(HandlerError) as caught:
        loading(*specs, **options)
    assert sys.path == path
    # Packages on the way to a module are loaded completely, and may stay.
    new = [name for name in sys.modules if name not in modules and name.startswith("my_")]
    assert all(hasattr(sys.modules[name], "__path__") for name in new)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(loaded: Loaded) -> list[str]:
    return [handler.name for handler in loaded.handlers]


def test_a_file_is_loaded_by_its_path_and_importable_by_its_stem(write: Write, loading: Loading) -> None:
    path = write("my_handlers.py")
    loaded = loading("my_handlers.py")
    (handler,) = loaded.handlers
    assert (handler.name, handler.where) == ("my_handlers.publish", "my_handlers.py:3, function publish")
    assert loaded.settings == {"my_handlers": None}
    assert loaded.warnings == ()
    assert sys.modules["my_handlers"].__file__ == str(path)


def test_whatever_way_a_file_is_named_it_is_loaded_once(
    write: Write, loading: Loading, tmp_path: Path
) -> None:
    path = write("my_handlers.py")
    specs = ["my_handlers.py", "my_handlers", "my_handlers:router", f"{path}", "./my_handlers.py:router"]
    assert names(loading(*specs, *specs)) == ["my_handlers.publish"]
    assert loading("my_handlers").handlers == loading("my_handlers.py").handlers
    assert sys.path.count(str(tmp_path)) == 1


def test_modules_of_the_folder_are_importable_also_by_handlers(write: Write, loading: Loading) -> None:
    write("my_package/__init__.py", "")
    write("my_package/hooks.py", "from my_names import NAME\n" + GOOD)
    write("my_names.py", "NAME = 1")
    (handler,) = loading("my_package.hooks").handlers
    assert (handler.name, handler.where) == ("hooks.publish", "my_package/hooks.py:4, function publish")


def test_a_package_is_named_by_its_own_file(write: Write, loading: Loading) -> None:
    write("my_package/__init__.py")
    (handler,) = loading("my_package").handlers
    assert (handler.name, handler.where) == (
        "my_package.publish",
        "my_package/__init__.py:3, function publish",
    )


def test_all_routers_of_a_module_are_taken_unless_one_is_named(write: Write, loading: Loading) -> None:
    write("my_two.py", GOOD + 'other = Router(name="b")\n@other.on("video.failed")\ndef tell(): ...\n')
    assert names(loading("my_two")) == ["my_two.publish", "b.tell"]
    assert names(loading("my_two:other")) == ["b.tell"]


def test_the_paths_of_a_command_line_start_where_it_is_typed(
    write: Write, loading: Loading, tmp_path: Path
) -> None:
    write("here/my_handlers.py")
    assert names(loading("my_handlers.py", relative_to=tmp_path / "here")) == ["my_handlers.publish"]


def test_an_entry_point_goes_before_a_module_of_its_name(
    write: Write, loading: Loading, tmp_path: Path
) -> None:
    write("my_dist-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: my-dist\nVersion: 1.0\n")
    write("my_dist-1.0.dist-info/entry_points.txt", "[receiver.handlers]\nmy_films = my_inner.films:router\n")
    write("my_inner/films.py")
    assert names(loading("my_films")) == ["films.publish"]
    sys.path.append(str(tmp_path))
    assert message(loading, "my_film") == (
        'my_film: there is no module and no shipped handler of this name; did you mean "my_films"?'
    )


def test_a_second_load_reads_the_settings_afresh_and_runs_nothing_again(
    write: Write, loading: Loading
) -> None:
    write("my_handlers.py", SETTINGS)
    first = loading("my_handlers.py", tables={"my_handlers": {"size": 1}})
    second = loading("my_handlers.py", tables={"my_handlers": {"size": 2}})
    assert first.handlers[0].function is second.handlers[0].function
    assert [getattr(each.settings["my_handlers"], "size", None) for each in (first, second)] == [1, 2]


def test_a_mended_file_is_read_afresh(write: Write, loading: Loading) -> None:
    write("my_handlers.py", "x = 1\n")
    assert "there is no router in it" in message(loading, "my_handlers.py")
    write("my_handlers.py")
    assert names(loading("my_handlers.py")) == ["my_handlers.publish"]


# Specs that name nothing.


def test_a_missing_file_is_answered_with_the_nearest(write: Write, loading: Loading, tmp_path: Path) -> None:
    write("my_handlers.py")
    assert message(loading, "my_handler.py") == (
        f'{tmp_path}/my_handler.py: there is no such file; did you mean "my_handlers.py"?'
    )
    assert message(loading, "no/my_handlers.py") == (
        f"{tmp_path}/no/my_handlers.py: there is no such folder; correct the path"
    )
    (tmp_path / "empty").mkdir()
    assert message(loading, "empty/a.py").endswith(f"no such file; {tmp_path}/empty holds no .py file")


def test_a_missing_suffix_is_named(write: Write, loading: Loading, tmp_path: Path) -> None:
    write("sub/my_handlers.py")
    assert message(loading, "sub/my_handlers") == (
        f"{tmp_path}/sub/my_handlers: the suffix is missing; write my_handlers.py"
    )
    assert message(loading, "my_handlers", relative_to=tmp_path / "sub") == (
        "my_handlers: there is no such module; write my_handlers.py, with the suffix, to mean the file"
    )


def test_a_module_that_is_not_there_is_told_from_one_that_its_import_needs(
    write: Write, loading: Loading
) -> None:
    write("my_package/__init__.py", "")
    write("my_package/hooks.py", GOOD + "\nimport my_missing_dependency.part\n")
    assert message(loading, "my_package.hook") == (
        'my_package.hook: the package my_package has no module hook; did you mean "hooks"?'
    )
    assert message(loading, "my_package.hooks") == (
        "my_package/hooks.py:7: there is no module my_missing_dependency; "
        "install it beside receiver, or correct the name"
    )
    write("my_handlers.py")
    with pytest.raises(HandlerError) as caught:
        loading("my_handlers.router")
    assert str(caught.value) == (
        "my_handlers.router: my_handlers is a module, not a package; did you mean my_handlers:router?"
    )


def test_a_folder_that_an_installed_package_hides_is_named(write: Write, loading: Loading) -> None:
    write("json/my_hooks.py")
    assert message(loading, "json.my_hooks") == (
        "json.my_hooks: the folder json is hidden by the installed package json; rename the folder"
    )


@pytest.mark.parametrize("name", ["json", "pydantic", "receiver"])
def test_a_file_that_would_hide_a_module_is_refused(name: str, write: Write, loading: Loading) -> None:
    write(f"{name}.py")
    whose = "Python's own" if name == "json" else "another"
    assert message(loading, f"{name}.py") == (
        f"{name}.py: there is {whose} module {name}, and one would hide the other; "
        f"rename it, for example to {name}_handlers.py"
    )


def test_two_files_of_one_name_are_refused(write: Write, loading: Loading) -> None:
    write("a/my_handlers.py")
    write("b/my_handlers.py")
    assert "there is another module my_handlers" in message(loading, "a/my_handlers.py", "b/my_handlers.py")


def test_a_file_name_that_is_no_module_name_is_refused(write: Write, loading: Loading) -> None:
    write("my-handlers.py")
    assert message(loading, "my-handlers.py") == (
        "my-handlers.py: a module's name has only letters, digits and underscores; "
        "rename it, for example my_handlers.py"
    )


@pytest.mark.parametrize("spec", ["", " ", "my-handlers", "a..b", ":router"])
def test_a_spec_that_can_name_nothing_is_refused(spec: str, loading: Loading) -> None:
    assert "names no handlers; write a file (my_handlers.py), a module" in message(loading, spec)


# Modules that can't be imported.


def test_a_syntax_error_is_named_with_its_line(write: Write, loading: Loading) -> None:
    write("my_handlers.py", HEAD + "def publish(event)\n    pass\n")
    assert message(loading, "my_handlers.py") == (
        "my_handlers.py:3: SyntaxError: expected ':'; correct this line"
    )
    write("my_package/hooks.py", HEAD + "def publish(event):\npass\n")
    assert message(loading, "my_package.hooks") == (
        "my_package/hooks.py:4: IndentationError: expected an indented block after function definition "
        "on line 3; correct this line"
    )


def test_an_exception_while_importing_is_named_with_the_innermost_own_line(
    write: Write, loading: Loading
) -> None:
    write("my_handlers.py", GOOD + "import json\ndef read():\n    return json.loads('{')\nread()\n")
    assert message(loading, "my_handlers.py") == (
        "my_handlers.py:8, function read: json.decoder.JSONDecodeError: Expecting property name enclosed in "
        "double quotes: line 1 column 2 (char 1); correct what this line does while the module is loaded"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("raise Nasty", "Nasty: <exception str() failed>"),
        ("raise ValueError('a\\n  b')", "ValueError: a b"),
    ],
)
def test_whatever_a_module_raises_is_one_line(line: str, said: str, write: Write, loading: Loading) -> None:
    write("my_handlers.py", f"class Nasty(Exception):\n    __str__ = None\n{line}\n")
    expected = f"{said}; correct what this line does while the module is loaded"
    assert (
        message(loading, "my_handlers.py").removeprefix("my_handlers.py:3: ").removeprefix("my_handlers.")
        == expected
    )


def test_a_wrong_name_from_receiver_is_answered_with_the_nearest(write: Write, loading: Loading) -> None:
    write("my_handlers.py", "from receiver import Event, Ruoter\n")
    assert message(loading, "my_handlers.py") == (
        'my_handlers.py:1: receiver has no Ruoter; did you mean "Router"?'
    )
    write("my_handlers.py", "import receiver.handler\n")
    assert message(loading, "my_handlers.py") == (
        "my_handlers.py:1: there is no module receiver.handler; "
        'handlers import what they need "from receiver" itself'
    )


def test_other_failing_imports_say_what_to_write(write: Write, loading: Loading) -> None:
    write("my_package/hooks.py", "from . import names\n")
    assert message(loading, "my_package/hooks.py") == (
        "hooks.py:1: attempted relative import with no known parent package; name the module "
        "(my_package.hooks) instead of its path, or import without the dot"
    )
    write("my_handlers.py", "from json import lods\n")
    assert message(loading, "my_handlers.py").startswith(
        "my_handlers.py:1: ImportError: cannot import name 'lods' from 'json'"
    )


def test_a_wrong_declaration_reaches_the_operator_as_it_is(write: Write, loading: Loading) -> None:
    write("my_handlers.py", HEAD + '@router.on("video.complete")\ndef publish(event): ...\n')
    assert message(loading, "my_handlers.py").startswith(
        'my_handlers.py:3, function publish: there is no event type "video.complete"; did you mean'
    )


def test_a_module_without_a_router_is_told_how_to_make_one(write: Write, loading: Loading) -> None:
    write("my_handlers.py", "from receiver import Router\ndef publish(event): ...\n")
    assert message(loading, "my_handlers.py") == (
        "my_handlers.py: there is no router in it; add router = Router() and put "
        '@router.on("video.completed") above a function'
    )
    write("my_handlers.py", "from receiver import Router\nrouter = Router\n")
    assert message(loading, "my_handlers.py") == (
        "my_handlers.py: there is no router in it; router is the class itself, write router = Router()"
    )


def test_a_wrong_router_name_is_answered_with_the_nearest(write: Write, loading: Loading) -> None:
    write("my_handlers.py", GOOD + "Wrong = Router\n")
    assert message(loading, "my_handlers:routr") == (
        'my_handlers.py: it has no routr; did you mean "router"?'
    )
    assert message(loading, "my_handlers:publish").startswith(
        "my_handlers.py: publish is not a Router but a function; add router = Router()"
    )
    assert message(loading, "my_handlers:Wrong").endswith("the class Router; write Wrong = Router()")


# Handlers that do not fit together.


def test_two_handlers_of_one_name_are_refused(write: Write, loading: Loading) -> None:
    again = '@router.on("video.failed")\ndef publish(event): ...\n'
    write("my_handlers.py", GOOD + again)
    assert message(loading, "my_handlers") == (
        "my_handlers.py:6, function publish: two handlers are named my_handlers.publish; "
        "rename one; the other is at my_handlers.py:3, function publish"
    )


def test_a_function_that_is_declared_twice_is_told_how_to_do_it_once(write: Write, loading: Loading) -> None:
    stacked = '@router.on("video.failed")\n@router.on("video.completed")\ndef publish(event): ...\n'
    write("my_handlers.py", HEAD + stacked)
    assert message(loading, "my_handlers") == (
        "my_handlers.py:3, function publish: it is declared twice as my_handlers.publish; "
        "put all its event types into one @router.on(…)"
    )


@pytest.mark.parametrize(
    "text",
    [
        'router = Router(name="receiver")\n',
        'router = Router(name="receiver")\n\n@router.on("video.failed")\ndef tell(event): ...\n',
    ],
)
def test_the_name_of_the_receivers_own_jobs_is_refused(write: Write, loading: Loading, text: str) -> None:
    write("hooks.py", f"from receiver import Router\n{text}")
    assert message(loading, "hooks") == (
        "hooks.py: the name receiver is that of the receiver's own jobs; "
        'give yours another one: Router(name="…")'
    )


def test_two_routers_of_one_name_are_refused(write: Write, loading: Loading) -> None:
    write("my_a/hooks.py")
    write("my_b/hooks.py", GOOD.replace("publish", "tell"))
    assert message(loading, "my_a.hooks", "my_b.hooks") == (
        "my_a/hooks.py and my_b/hooks.py: two routers are named hooks; "
        'give one of them a name of its own: Router(name="…")'
    )


def after(**links: str) -> str:
    lines = [
        f'@router.on("video.completed", after="{link}")\ndef {name}(): ...\n' for name, link in links.items()
    ]
    return GOOD + "".join(lines)


def test_after_must_name_a_loaded_handler(write: Write, loading: Loading) -> None:
    write("my_handlers.py", after(tell="publish"))
    assert message(loading, "my_handlers") == (
        'my_handlers.py:6, function tell: after="publish" names no loaded handler; '
        'did you mean "my_handlers.publish"?'
    )
    write("my_others.py", after(tell="save_video"))
    assert message(loading, "my_others") == (
        'my_others.py:6, function tell: after="save_video" names no loaded handler; '
        "valid are: my_others.publish"
    )
    write("my_third.py", HEAD + '@router.on("video.completed", after="x")\ndef my_third(): ...\n')
    assert message(loading, "my_third").endswith("; there is no other, load it or remove after=")


def test_a_handler_that_waits_for_itself_is_refused(write: Write, loading: Loading) -> None:
    write("my_handlers.py", after(tell="my_handlers.tell"))
    assert message(loading, "my_handlers") == (
        "my_handlers.py:6, function tell: it waits for itself; remove an after="
    )


def test_handlers_that_wait_for_each_other_are_refused(write: Write, loading: Loading) -> None:
    write("my_h.py", after(a="my_h.b", b="my_h.c", c="my_h.b"))
    assert message(loading, "my_h") == (
        "my_h.py:8, function b: handlers wait for each other (my_h.b after my_h.c after my_h.b); "
        "remove an after="
    )


def test_a_handler_may_wait_for_one_of_another_module(write: Write, loading: Loading) -> None:
    write("my_first.py", GOOD.replace("publish", "my_first"))
    write("my_second.py", after(tell="my_first.my_first"))
    assert loading("my_second", "my_first").handlers[1].after == "my_first"


def test_a_handler_that_would_always_be_cancelled_is_a_warning(write: Write, loading: Loading) -> None:
    tell = '@router.on("video.failed", "video.completed", after="my_h.one")\ndef tell(): ...\n'
    one = '@router.on("video.completed", source="opennote")\ndef one(): ...\n'
    write("my_h.py", HEAD + tell + one)
    assert loading("my_h").warnings == (
        "my_h.py:3, function tell: never runs on video.failed, as my_h.one does not, which it comes after",
        "my_h.py:3, function tell: runs on events of opennote only, as my_h.one does, which it comes after",
    )


def test_a_source_must_be_configured_when_sources_are_known(write: Write, loading: Loading) -> None:
    write("my_handlers.py", HEAD + '@router.on("video.completed", source="opennot")\ndef publish(): ...\n')
    assert message(loading, "my_handlers", sources=["opennote"]) == (
        'my_handlers.py:3, function publish: the source "opennot" is not configured; did you mean "opennote"?'
    )
    assert message(loading, "my_handlers", sources=[]).endswith("no source is configured, add [sources.NAME]")
    assert len(loading("my_handlers", sources=["opennot"]).handlers) == 1
    assert len(loading("my_handlers").handlers) == 1


# Settings.


def test_settings_reach_the_model_and_paths_start_from_the_folder(
    write: Write, loading: Loading, tmp_path: Path
) -> None:
    write("my_handlers.py", SETTINGS)
    table = {"extra": "a/b", "several": ["c", "/d"], "text": "e", "size": 3}
    settings = loading("my_handlers", tables={"my_handlers": table}).settings["my_handlers"]
    assert settings is not None
    assert settings.model_dump() == {
        "directory": tmp_path / "videos",
        "extra": tmp_path / "a/b",
        "several": [tmp_path / "c", Path("/d")],
        "text": "e",
        "size": 3,
    }


def test_settings_with_defaults_need_no_table(write: Write, loading: Loading, tmp_path: Path) -> None:
    write("my_handlers.py", SETTINGS)
    settings = loading("my_handlers").settings["my_handlers"]
    assert isinstance(settings, BaseModel)
    assert settings.model_dump(include={"directory", "extra"}) == {
        "directory": tmp_path / "videos",
        "extra": None,
    }


def test_an_unknown_key_is_an_error_though_the_model_would_ignore_it(write: Write, loading: Loading) -> None:
    write("my_handlers.py", SETTINGS)
    assert message(loading, "my_handlers", tables={"my_handlers": {"directry": "x"}}) == (
        '[handlers.my_handlers]: unknown key directry; did you mean "directory"? (settings of my_handlers.py)'
    )


def test_a_bad_value_is_named_by_its_key_and_never_shown(write: Write, loading: Loading) -> None:
    write("my_handlers.py", SETTINGS)
    assert message(loading, "my_handlers", tables={"my_handlers": {"size": "hunter2"}}) == (
        "[handlers.my_handlers]: size: Input should be a valid integer, unable to parse string as an integer "
        "(settings of my_handlers.py); correct it"
    )


def test_required_settings_without_a_table_are_named(write: Write, loading: Loading) -> None:
    write("my_handlers.py", SETTINGS.replace("size: int = 1", "size: int\n        url: str"))
    assert message(loading, "my_handlers") == (
        "[handlers.my_handlers]: my_handlers.py needs the setting size and url; "
        "add size = …, url = … to [handlers.my_handlers] in the configuration"
    )


def test_a_table_for_a_router_without_settings_is_an_error(write: Write, loading: Loading) -> None:
    write("my_handlers.py")
    assert message(loading, "my_handlers", tables={"my_handlers": {"a": 1}}) == (
        "[handlers.my_handlers]: the router in my_handlers.py declares no settings; "
        "declare them with Router(settings=Settings), or remove the table"
    )


def test_a_table_for_a_router_that_is_not_loaded_is_a_warning(write: Write, loading: Loading) -> None:
    write("my_handlers.py", SETTINGS)
    assert loading("my_handlers", tables={"my_handler": {"a": 1}}).warnings == (
        '[handlers.my_handler]: no such router is loaded; did you mean "my_handlers"?',
    )


def test_a_setting_that_is_no_table_is_an_error(write: Write, loading: Loading) -> None:
    write("my_handlers.py", SETTINGS)
    assert message(loading, "my_handlers", tables={"my_handlers": "x"}) == (
        "handlers.my_handlers: it holds the settings of my_handlers.py, so it must be a table; "
        "write [handlers.my_handlers]"
    )


def test_a_router_without_handlers_is_a_warning(write: Write, loading: Loading) -> None:
    write("my_handlers.py", HEAD)
    loaded = loading("my_handlers")
    assert (loaded.handlers, loaded.settings) == ((), {"my_handlers": None})
    assert loaded.warnings == (
        "my_handlers.py: the router my_handlers has no handlers; put @router.on(…) above a function",
    )


def test_nested_aliased_and_checked_settings_work(write: Write, loading: Loading, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    write(
        "my_handlers.py",
        """\
        from pydantic import BaseModel, ConfigDict, DirectoryPath, Field, field_validator
        from receiver import Router

        class Inner(BaseModel):
            folder: DirectoryPath | None = None
            either: str | DirectoryPath = "x"

        class Settings(BaseModel):
            inner: Inner = Inner()
            kept: int = Field(1, alias="keep")
            odd: int = 1

            @field_validator("odd")
            @classmethod
            def _odd(cls, value: int) -> int:
                if value % 2 == 0:
                    raise [ValueError("must be odd"), KeyError("oh")][value > 2]
                return value

        router = Router(settings=Settings)
        """,
    )

    def settings(**table: Any) -> dict[str, Any]:
        loaded = loading("my_handlers", tables={"my_handlers": table}).settings["my_handlers"]
        assert loaded is not None
        return loaded.model_dump()

    assert settings(inner={"folder": "there"})["inner"]["folder"] == tmp_path / "there"
    assert settings(inner={"either": "there"})["inner"]["either"] == "there"
    assert settings(keep=5)["kept"] == 5
    with pytest.raises(
        HandlerError, match=r"^\[handlers.my_handlers\]: unknown key kept; did you mean \"keep\""
    ):
        settings(kept=5)
    with pytest.raises(
        HandlerError, match=r"^\[handlers.my_handlers\] inner: unknown key fold; did you mean"
    ):
        settings(inner={"fold": "x"})
    with pytest.raises(HandlerError, match=r"^\[handlers.my_handlers\]: odd: must be odd \(settings of my_"):
        settings(odd=2)
    with pytest.raises(
        HandlerError, match=r"^my_handlers.py:17, function _odd: KeyError: 'oh'; correct what"
    ):
        settings(odd=4)
    with pytest.raises(HandlerError, match=r"inner.folder: Path does not point to a directory"):
        settings(inner={"folder": "nowhere"})


def test_what_a_module_prints_never_stands_on_standard_output(
    write: Write, loading: Loading, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = ["print('by hand')", "import subprocess, sys", "subprocess.run(['echo', 'by a program'])"]
    write("my_hooks.py", "\n".join([*lines, "sys.__stdout__.write('past it')", GOOD]))

    loading("my_hooks.py")
    print("afterwards")
    output = capfd.readouterr()

    assert output.out == "afterwards\n"
    assert all(text in output.err for text in ("by hand\n", "by a program\n", "past it"))


OPTIONS = "valid are: source, attempts, timeout, concurrency, after, name"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("retries=3", f"has no option retries; {OPTIONS}"),
        ("attemps=3", f'has no option attemps; did you mean "attempts"? {OPTIONS}'),
    ],
)
def test_an_unknown_option_is_answered_with_those_there_are(
    option: str, said: str, write: Write, loading: Loading
) -> None:
    write("my_hooks.py", f"{HEAD}\n@router.on('video.completed', {option})\ndef publish(event): ...\n")

    assert message(loading, "my_hooks.py") == f"my_hooks.py:4: @router.on(…) {said}"


def test_an_unknown_option_of_a_router_is_answered_with_those_there_are(
    write: Write, loading: Loading
) -> None:
    write("my_hooks.py", "from receiver import Router\nrouter = Router(nmae='x')\n")

    assert message(loading, "my_hooks.py") == (
        'my_hooks.py:2: Router(…) has no option nmae; did you mean "name"? valid are: name, settings'
    )


@pytest.mark.parametrize("name", ["lambda", "class"])
def test_a_file_that_is_named_like_a_word_of_python_is_not_told_to_keep_its_name(
    name: str, write: Write, loading: Loading
) -> None:
    write(f"{name}.py")

    assert message(loading, f"{name}.py").endswith("; rename it, for example my_handlers.py")
