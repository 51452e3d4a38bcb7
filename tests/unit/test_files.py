"""Finished files appear whole, and nobody's file is ever overwritten."""

from __future__ import annotations

import multiprocessing
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.errors import Hopeless, Unfinished
from receiver.files import OutputDirectory

ONE, OTHER, THIRD = "evt_aaaaaaaa11111111", "evt_bbbbbbbb22222222", "evt_cccccccc33333333"


def save(folder: Path, event: str, name: str, content: bytes = b"x", *, directory: str = "videos") -> Path:
    with OutputDirectory(directory, folder=folder) as output:
        partial = output.begin(event)
        try:
            partial.write(content)
            return partial.commit(name)
        finally:
            partial.discard()


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in (folder / "videos" / ".receiver" / "partial").iterdir()]


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "videos").iterdir() if path.name != ".receiver")


def test_a_file_appears_with_its_content_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert save(tmp_path, ONE, "a.mp4", b"content") == tmp_path / "videos" / "a.mp4"
    assert (tmp_path / "videos" / "a.mp4").read_bytes() == b"content"
    assert leftovers(tmp_path) == []


def test_nothing_is_visible_before_the_commit(tmp_path: Path) -> None:
    with OutputDirectory("videos", folder=tmp_path) as output:
        partial = output.begin(ONE)
        partial.write(b"x" * 100_000)
        assert visible(tmp_path) == []
        partial.discard()
    assert visible(tmp_path) == leftovers(tmp_path) == []


def test_a_file_is_durable_before_it_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def kind(descriptor: int) -> str:
        path = Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path)
        return str(path.with_name("part") if path.suffix == ".part" else path)

    def recorded(name: str, call: Callable[..., None]) -> Callable[..., None]:
        def record(*arguments: object, **options: object) -> None:
            first = arguments[0]
            order.append(f"{name} {kind(first) if isinstance(first, int) else ''}".strip())
            call(*arguments, **options)

        return record

    with OutputDirectory("videos", folder=tmp_path) as output:
        partial = output.begin(ONE)
        partial.write(b"x")
        for name in ("fsync", "link", "rename", "replace"):
            monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
        partial.commit("a.mp4")
    note = "videos/.receiver/a.mp4.owner"
    assert order == [
        "fsync videos/.receiver/partial/part",
        f"fsync {note}",
        "fsync videos/.receiver",
        "link",
        "fsync videos",
    ]


@pytest.mark.fault("F5")
def test_files_are_private(tmp_path: Path) -> None:
    save(tmp_path, ONE, "a.mp4", directory="videos/deep/er")
    for path in [tmp_path / "videos", *(tmp_path / "videos").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.fault("F4")
def test_the_same_event_replaces_its_own_file(tmp_path: Path) -> None:
    save(tmp_path, ONE, "a.mp4", b"first")
    assert save(tmp_path, ONE, "a.mp4", b"second").name == "a.mp4"
    assert (tmp_path / "videos" / "a.mp4").read_bytes() == b"second"
    assert visible(tmp_path) == ["a.mp4"]


def test_the_same_event_writes_a_deleted_file_again(tmp_path: Path) -> None:
    save(tmp_path, ONE, "a.mp4").unlink()
    assert save(tmp_path, ONE, "a.mp4").name == "a.mp4"


@pytest.mark.fault("F4")
def test_another_event_gets_a_suffix_and_keeps_it(tmp_path: Path) -> None:
    save(tmp_path, ONE, "a.mp4", b"one")
    assert save(tmp_path, OTHER, "a.mp4", b"other").name == "a~22222222.mp4"
    assert save(tmp_path, OTHER, "a.mp4", b"again").name == "a~22222222.mp4"
    assert (tmp_path / "videos" / "a.mp4").read_bytes() == b"one"
    assert (tmp_path / "videos" / "a~22222222.mp4").read_bytes() == b"again"


def test_a_name_stays_reserved_when_its_file_is_deleted(tmp_path: Path) -> None:
    save(tmp_path, ONE, "a.mp4").unlink()
    assert save(tmp_path, OTHER, "a.mp4").name == "a~22222222.mp4"


@pytest.mark.fault("F4")
def test_identical_videos_of_different_events_are_two_files(tmp_path: Path) -> None:
    assert len({save(tmp_path, event, "a.mp4", b"same") for event in (ONE, OTHER, THIRD)}) == 3


@pytest.mark.fault("F4")
def test_a_file_of_unknown_owner_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"mine")
    assert save(tmp_path, ONE, "a.mp4").name == "a~11111111.mp4"
    assert save(tmp_path, ONE, "a.mp4").name == "a~11111111.mp4"
    assert (tmp_path / "videos" / "a.mp4").read_bytes() == b"mine"


def test_when_every_name_is_taken_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "a~11111111.mp4", f"a~{ONE}.mp4"):
        (tmp_path / "videos" / name).write_bytes(b"mine")
    with pytest.raises(Hopeless, match="belongs to somebody else"):
        save(tmp_path, ONE, "a.mp4")
    assert leftovers(tmp_path) == []
    assert {path.read_bytes() for path in (tmp_path / "videos").glob("*.mp4")} == {b"mine"}


@pytest.mark.fault("F7")
@pytest.mark.parametrize(
    ("one", "other"), [("Cells.mp4", "CELLS.mp4"), ("é.mp4", "e\u0301.mp4"), ("straße.mp4", "STRASSE.MP4")]
)
def test_names_that_fold_together_count_as_the_same(tmp_path: Path, one: str, other: str) -> None:
    save(tmp_path, ONE, one)
    assert save(tmp_path, OTHER, other).name != other


@pytest.mark.fault("F7")
def test_long_names_that_fold_to_longer_ones_have_owners_too(tmp_path: Path) -> None:
    name = "ŉ" * 98 + ".mp4"
    assert save(tmp_path, ONE, name).name == name
    assert save(tmp_path, ONE, name).name == name
    assert save(tmp_path, OTHER, name).name == "ŉ" * 98 + "~22222222.mp4"


def test_a_claim_that_was_cut_short_does_not_cost_the_name(tmp_path: Path) -> None:
    save(tmp_path, ONE, "b.mp4")
    (tmp_path / "videos" / ".receiver" / "a.mp4.owner").touch()
    assert save(tmp_path, ONE, "a.mp4").name == "a.mp4"
    assert save(tmp_path, OTHER, "a.mp4").name == "a~22222222.mp4"


def test_what_an_ended_process_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    save(tmp_path, ONE, "a.mp4")
    (tmp_path / "videos" / ".receiver" / "partial" / "old.part").write_bytes(b"half")
    with OutputDirectory("videos", folder=tmp_path) as output:
        partial = output.begin(ONE)
        partial.write(b"half")
        save(tmp_path, OTHER, "b.mp4")
        assert len(leftovers(tmp_path)) == 1
        partial.write(b"whole")
        assert partial.commit("c.mp4").read_bytes() == b"halfwhole"
        partial.discard()


def test_file_systems_without_hard_links_work_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    assert save(tmp_path, ONE, "a.mp4", b"one").read_bytes() == b"one"
    assert save(tmp_path, OTHER, "a.mp4", b"other").read_bytes() == b"other"
    (tmp_path / "videos" / "b.mp4").write_bytes(b"mine")
    assert save(tmp_path, ONE, "b.mp4").name == "b~11111111.mp4"
    assert (tmp_path / "videos" / "b.mp4").read_bytes() == b"mine"
    assert visible(tmp_path) == ["a.mp4", "a~22222222.mp4", "b.mp4", "b~11111111.mp4"]
    assert leftovers(tmp_path) == []


@pytest.mark.fault("F1")
@pytest.mark.parametrize("directory", ["..", "../x", "videos/../../x", "/srv/../x", "a\0b"])
def test_a_directory_does_not_climb(tmp_path: Path, directory: str) -> None:
    with pytest.raises(Hopeless):
        OutputDirectory(directory, folder=tmp_path)


def test_a_relative_directory_needs_to_know_from_where() -> None:
    with pytest.raises(Hopeless):
        OutputDirectory("videos")


def test_an_absolute_directory_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    save(tmp_path, ONE, "a.mp4", directory=str(tmp_path / "link" / "videos"))
    assert (tmp_path / "disk" / "videos" / "a.mp4").exists()


@pytest.mark.fault("F2")
@pytest.mark.parametrize(
    "level", ["videos", "videos/deep", "videos/deep/.receiver", "videos/deep/.receiver/partial"]
)
@pytest.mark.parametrize("is_dangling", [True, False])
def test_a_planted_link_on_the_way_is_not_followed(tmp_path: Path, level: str, is_dangling: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    if not is_dangling:
        elsewhere.mkdir()
    link = tmp_path / "root" / level
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(Unfinished, match="link"):
        save(tmp_path / "root", ONE, "a.mp4", directory="videos/deep")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not elsewhere.exists() or not any(elsewhere.iterdir())


@pytest.mark.fault("F2")
@pytest.mark.parametrize("planted", ["a.mp4", ".receiver/a.mp4.owner"])
def test_a_link_planted_at_the_end_is_neither_followed_nor_replaced(tmp_path: Path, planted: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text(ONE)
    save(tmp_path, ONE, "b.mp4")
    (tmp_path / "videos" / planted).symlink_to(victim)
    assert save(tmp_path, ONE, "a.mp4").name == "a~11111111.mp4"
    assert victim.read_text() == ONE
    assert (tmp_path / "videos" / planted).is_symlink()


@pytest.mark.fault("F2")
def test_a_link_put_in_place_of_an_own_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"victim")
    save(tmp_path, ONE, "a.mp4").unlink()
    (tmp_path / "videos" / "a.mp4").symlink_to(victim)
    assert save(tmp_path, ONE, "a.mp4", b"new").read_bytes() == b"new"
    assert victim.read_bytes() == b"victim"


@pytest.mark.fault("F2")
def test_a_planted_pipe_does_not_stop_the_world(tmp_path: Path) -> None:
    save(tmp_path, ONE, "b.mp4")
    os.mkfifo(tmp_path / "videos" / ".receiver" / "a.mp4.owner")
    os.mkfifo(tmp_path / "videos" / ".receiver" / "partial" / "x.part")
    assert save(tmp_path, ONE, "a.mp4").name == "a~11111111.mp4"


def test_names_are_given_away_one_at_a_time(tmp_path: Path) -> None:
    with OutputDirectory("videos", folder=tmp_path) as output:
        other = threading.Thread(target=save, args=(tmp_path, ONE, "a.mp4"))
        with output.locked():
            other.start()
            other.join(0.1)
            assert other.is_alive()
            assert visible(tmp_path) == []
        other.join(10)
        assert visible(tmp_path) == ["a.mp4"]


def _race(folder: str, event: str, start: threading.Barrier) -> None:
    start.wait()
    for number in range(20):
        save(Path(folder), event, f"{number}.mp4", event.encode())


@pytest.mark.fault("F4")
def test_of_processes_that_race_for_a_name_exactly_one_gets_it(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(3)
    events = [ONE, OTHER, THIRD]
    racers = [spawn.Process(target=_race, args=(str(tmp_path), event, start)) for event in events]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    for number in range(20):
        paths = sorted((tmp_path / "videos").glob(f"{number}.mp4")) + sorted(
            (tmp_path / "videos").glob(f"{number}~*")
        )
        assert sorted(path.read_text() for path in paths) == events
    assert leftovers(tmp_path) == []
