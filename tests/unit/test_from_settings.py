"""Handlers that the configuration decides on: one module, as many handlers as its settings say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.errors import HandlerError
from receiver.loading import Loaded, load

MODULE = """\
from pathlib import Path
from pydantic import BaseModel
from receiver import Router

class Place(BaseModel):
    name: str
    file: Path = Path("file")

class Settings(BaseModel):
    places: list[Place] = []

router = Router(settings=Settings)

@router.on("video.completed")
def plain(event): ...

@router.from_settings
def declare(configured, settings):
    for place in settings.places:
        def handle(event):
            "Handle it."
        configured.on("video.failed", name=place.name, after=AFTER)(handle)
"""


@pytest.fixture(autouse=True)
def _imports_are_put_back() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.modules.pop("my_places", None)
    sys.path[:] = path


def loaded(folder: Path, *places: Any, after: str = "None", text: str = MODULE) -> Loaded:
    file = folder / "my_places.py"
    if not file.exists():
        file.write_text(text.replace("AFTER", after))
    return load(["my_places.py"], folder=folder, tables={"my_places": {"places": list(places)}})


def names(ready: Loaded) -> list[str]:
    return [handler.name for handler in ready.handlers]


def test_settings_declare_handlers_beside_those_that_are_always_there(tmp_path: Path) -> None:
    ready = loaded(tmp_path, {"name": "north"}, {"name": "south-1"})

    assert names(ready) == ["my_places.plain", "my_places.north", "my_places.south-1"]
    assert ready.handlers[1].where == "my_places.py:20, function handle"
    assert (ready.handlers[1].summary, ready.handlers[1].router_name) == ("Handle it.", "my_places")
    assert ready.handlers[1].types == {"video.failed"}


def test_each_reading_of_the_settings_begins_anew(tmp_path: Path) -> None:
    loaded(tmp_path, {"name": "north"})

    assert names(loaded(tmp_path, {"name": "south"})) == ["my_places.plain", "my_places.south"]
    assert names(loaded(tmp_path)) == ["my_places.plain"]


def test_declared_handlers_can_wait_for_each_other(tmp_path: Path) -> None:
    with pytest.raises(HandlerError, match="names no loaded handler"):
        loaded(tmp_path, {"name": "south"}, after='None if place.name == "north" else "my_places.north"')
    (tmp_path / "my_places.py").unlink()
    ready = loaded(
        tmp_path,
        *({"name": name} for name in ("north", "south")),
        after='None if place.name == "north" else "my_places.north"',
    )
    assert [handler.after for handler in ready.handlers] == [None, None, "my_places.north"]


@pytest.mark.parametrize("name", ["", "a.b", "1st", "ä", "a b", "x\n", "load/../x"])
def test_a_name_that_no_handler_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(HandlerError, match=r"^my_places.py:20, .*: name=.* can't be a handler's name"):
        loaded(tmp_path, {"name": name})


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HandlerError, match="two handlers are named"):
        loaded(tmp_path, {"name": "north"}, {"name": "north"})


def test_whatever_the_function_raises_is_one_line_that_names_its_own(tmp_path: Path) -> None:
    text = MODULE.replace("for place in settings.places:", "for place in settings.plaices:")

    with pytest.raises(HandlerError, match=r"^my_places.py:19, function declare: AttributeError: .*plaices"):
        loaded(tmp_path, {"name": "north"}, text=text)


def test_tables_in_a_list_are_checked_and_their_paths_start_from_the_folder(tmp_path: Path) -> None:
    ready = loaded(tmp_path, {"name": "a", "file": "b/c"}, {"name": "d", "file": "/e"})
    settings: Any = ready.settings["my_places"]

    assert [place.file for place in settings.places] == [tmp_path / "b/c", Path("/e")]
    with pytest.raises(HandlerError, match=r"my_places\] places.1: unknown key naem; did you mean"):
        loaded(tmp_path, {"name": "a"}, {"name": "b", "naem": "c"})
    with pytest.raises(HandlerError, match=r"places\.0: "):
        loaded(tmp_path, "no table")
