"""Titles that are paths and folders that are swapped: files stay in the folder that they belong to."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from receiver.errors import Unfinished
from receiver.fetch import Fetcher
from receiver.files import OutputDirectory
from tests.properties.test_names import TEMPLATES, TEXT
from tests.unit.test_context import INLINE, MP4, a_context, an_event, small_inline
from tests.unit.test_files import ONE, save

ROUNDS = 10_000
_EXCHANGE = 2  # RENAME_EXCHANGE, renameat2(2)


@pytest.mark.fault("F1")
def test_no_title_and_no_id_makes_a_file_outside_of_its_folder(tmp_path: Path) -> None:
    fetcher = Fetcher(max_bytes=1)
    event_ids = (f"evt_{number:016x}" for number in range(10**9))

    with asyncio.Runner() as runner:

        @given(TEMPLATES, st.none() | TEXT, st.none() | TEXT, st.none() | TEXT)
        @example("{title}", "../../../evil", "/etc/passwd", None)
        @example("{title}{id}", "\0", "\u202e/\u2215..", "-rf")
        @example("{id}", "x", "a" * 300, "..")
        @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
        def explore(template: str, title: str | None, video_id: str | None, model: str | None) -> None:
            event = an_event(next(event_ids), body=small_inline(MP4), title=title, id=video_id, model=model)
            context = a_context(event, INLINE, fetcher, tmp_path / "root")
            saved = runner.run(context.save_video(template, directory="videos"))
            described = runner.run(context.save_json(title or "", {}, directory="videos"))
            for path in (saved.path, described.path):
                assert Path(os.path.realpath(path)) == path
                assert path.parent == tmp_path / "root" / "videos"
                assert path.is_file()

        explore()
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["videos"]
    assert {path.name for path in (tmp_path / "root" / "videos").iterdir() if path.is_dir()} == {".receiver"}


@pytest.mark.fault("F3")
def test_a_folder_swapped_during_the_write_leads_nothing_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with OutputDirectory("videos", folder=tmp_path) as output:
        partial = output.begin(ONE)
        (tmp_path / "videos").rename(tmp_path / "moved")
        (tmp_path / "videos").symlink_to(tmp_path / "elsewhere")
        partial.write(b"x")
        partial.commit("a.mp4")
        partial.discard()
    assert not any((tmp_path / "elsewhere").iterdir())
    assert (tmp_path / "moved" / "a.mp4").read_bytes() == b"x"


@pytest.mark.fault("F2", "F3")
def test_a_folder_that_is_swapped_for_a_link_all_the_time_leads_nothing_elsewhere(tmp_path: Path) -> None:
    """A thread exchanges the folder and a link to elsewhere, ten thousand times, while files are saved."""
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    elsewhere.mkdir()
    (root / "videos").mkdir(parents=True)
    (root / "link").symlink_to(elsewhere)
    exchange = _exchange()
    if not exchange(root / "videos", root / "link"):
        pytest.skip("needs a file system that can exchange two names")
    swaps = 1

    def swap() -> None:
        nonlocal swaps
        while swaps < ROUNDS or not (saved and stopped):
            exchange(root / "videos", root / "link")
            swaps += 1
            if is_over.is_set():
                return

    saved, stopped = 0, 0
    is_over = threading.Event()
    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        while swapper.is_alive():
            try:
                save(root, ONE, f"{saved}.mp4", b"content")
                saved += 1
            except Unfinished:
                stopped += 1
    finally:
        is_over.set()
        swapper.join()
    assert swaps >= ROUNDS
    assert saved
    assert stopped, "the link stood in the way at times"
    assert not any(elsewhere.iterdir())
    real = root / ("link" if (root / "videos").is_symlink() else "videos")
    assert len(list(real.glob("*.mp4"))) == saved


def _exchange() -> Callable[[Path, Path], bool]:
    """The system call that exchanges two names at once, of which Python knows nothing."""
    libc = ctypes.CDLL(None)

    def exchange(one: Path, other: Path) -> bool:
        here = -100  # AT_FDCWD: the paths are absolute
        return bool(libc.renameat2(here, bytes(one), here, bytes(other), _EXCHANGE) == 0)

    return exchange
