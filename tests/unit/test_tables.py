"""Tables: whole where there is room, without loss where there is little, colours where they are wanted."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import pytest
from rich.cells import cell_len

from receiver.cli.output import brief, table
from receiver.cli.tables import fitted
from receiver.cli.wrapping import wrapped

COLUMNS = ("event", "received", "video", "title", "marks", "jobs")
IDS = ["evt_01a2194e7562f4253ab7aabbfafd", "evt_01a2194e6f897216fddf0f4d6a01"]
ROWS = [
    (IDS[0], "19:21:41 (1m ago)", "v2", "A sample video", "", "save_video:done probe:dead"),
    (IDS[1], "19:21:40 (1m ago)", "a-rather-long-id-of-a-video", "-", "", "no handler"),
]


class Terminal(io.StringIO):
    """Standard output as a window."""

    def isatty(self) -> bool:
        return True


def drawn(
    monkeypatch: pytest.MonkeyPatch,
    columns: int | None,
    *,
    names: Sequence[str] = COLUMNS,
    rows: Sequence[Sequence[str]] = ROWS,
    **environment: str,
) -> list[str]:
    """What is printed in a window of so many columns; None: into a pipe."""
    shown = io.StringIO() if columns is None else Terminal()
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": str(columns or 80), **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", shown)
    table(names, rows, empty="nothing")
    return [line.rstrip() for line in shown.getvalue().splitlines()]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_window_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    lines = drawn(monkeypatch, width, NO_COLOR="1")

    assert max(map(len, lines)) <= width
    said = " ".join(" ".join(lines).split())
    for part in ("19:21:41 (1m ago)", "a-rather-long-id-of-a-video", "save_video:done", "no handler"):
        assert part in said
    assert all(each[:20] in said for each in IDS)


def test_where_there_is_room_ids_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert IDS[0] in drawn(monkeypatch, 200, NO_COLOR="1")[2]


def test_a_pipe_gets_one_line_for_each_row_with_all_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    long = [(*ROWS[0][:-1], "x" * 500), ROWS[1]]
    lines = drawn(monkeypatch, None, rows=long)

    assert len(lines) == 4
    assert lines[2].startswith(IDS[0])
    assert lines[2].endswith("x" * 500)


def test_an_id_is_cut_to_what_tells_it_from_the_others() -> None:
    same_moment = ["evt_01a2194e7562f4253ab7aabbfafd", "evt_01a2194e7562f4253acccccccccc"]
    _, lines = fitted(("event", "x"), [(each, "y" * 30) for each in same_moment], 50)

    assert [line[0] for line in lines] == ["evt_01a2194e7562f4253ab", "evt_01a2194e7562f4253ac"]


def test_columns_without_a_word_go_first() -> None:
    columns, lines = fitted(COLUMNS, ROWS, 120)

    assert columns == ["event", "received", "video", "title", "jobs"]
    assert lines[0][0] == IDS[0][:20]


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def coloured(columns: int | None, **environment: str) -> bool:
        return "\x1b[" in "\n".join(drawn(monkeypatch, columns, **environment))

    assert coloured(120)
    assert not coloured(None)
    assert not coloured(120, NO_COLOR="1")
    assert not coloured(120, TERM="dumb")


def test_what_is_judged_is_coloured_and_nobody_elses_words(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("x", "a dead man is done", "probe:dead save:done")]
    line = drawn(monkeypatch, 120, names=("event", "title", "jobs"), rows=rows)[2]

    assert "a dead man is done" in line
    assert "\x1b[31mdead" in line
    assert "\x1b[32mdone" in line


def test_what_could_drive_a_terminal_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("x", "\x1b[2Jgone\u202e", "y")]
    said = "\n".join(drawn(monkeypatch, 80, names=("event", "title", "jobs"), rows=rows, NO_COLOR="1"))

    assert "\x1b" not in said
    assert "\\x1b[2Jgone\\u202e" in said


def test_wide_characters_take_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("x", "動画" * 12, "y" * 20)]
    lines = drawn(monkeypatch, 60, names=("event", "title", "jobs"), rows=rows, NO_COLOR="1")

    assert any("動画" * 12 in line for line in lines)


def test_a_window_of_no_columns_is_one_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 80, COLUMNS="0", NO_COLOR="1")

    assert lines == drawn(monkeypatch, 80, NO_COLOR="1")


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize(
    "line",
    [
        "  title      深層学習入門：ニューラルネットワークの基礎から応用まで完全解説ガイド第一巻",
        "  title      한국어 제목은 띄어쓰기가 있습니다 그래서 여러 줄로 나누어 보여 줄 수 있습니다",
        "  title      e\u0301\u0301 👨 family 動画 " + "so it goes " * 9,
        "    attempt 1: 2026-11-26 21:51:39 (13s ago), ended 21:51:39 after 0.1 s: failed for good",
    ],
)
def test_a_sentence_is_broken_where_the_window_ends_and_not_one_character_is_lost(
    line: str, width: int
) -> None:
    lines = wrapped(line, width).splitlines()

    assert max(map(cell_len, lines)) <= width
    assert all(each.startswith(" " * 6) for each in lines[1:])
    assert "".join("".join(lines).split()) == "".join(line.split())
    assert wrapped(line, None) == line


def test_an_id_is_left_whole_so_that_it_can_be_copied() -> None:
    assert wrapped(f"  event key  {IDS[0]}:completed", 40).splitlines()[1].strip() == f"{IDS[0]}:completed"


def test_a_moment_is_told_with_the_day_when_it_was_another_one() -> None:
    now = 1_790_000_000_000

    assert brief(now - 5_000, now=now).endswith("(5s ago)")
    assert len(brief(now - 5_000, now=now)) == len("19:21:41 (5s ago)")
    assert brief(now - 30 * 86_400_000, now=now).endswith("(30d ago)")
    assert brief(now - 30 * 86_400_000, now=now)[2] == "-"
    assert brief(now - 800 * 86_400_000, now=now)[4] == "-"
