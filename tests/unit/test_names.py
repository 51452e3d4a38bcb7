"""File names from templates."""

from __future__ import annotations

import pytest

from receiver.errors import Hopeless
from receiver.names import clean, folded, safe_name, suffixed, whole_name


def name(template: str = "{title}-{id}", *, extension: str = "mp4", **fields: str | None) -> str:
    return safe_name(template, {"id": "vid", **fields}, extension=extension)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Cells", "Cells-vid.mp4"),
        ("a/b", "a_b-vid.mp4"),
        ("..", "vid.mp4"),
        ("../../etc/passwd", "_.._etc_passwd-vid.mp4"),
        ("/etc/passwd", "_etc_passwd-vid.mp4"),
        ("C:\\x", "C__x-vid.mp4"),
        ("{id}", "{id}-vid.mp4"),
        ("{", "{-vid.mp4"),
        ("{title.__class__}", "{title.__class__}-vid.mp4"),
        ("%s %(id)s $HOME", "%s %(id)s $HOME-vid.mp4"),
        ("🎬 Film 🏳️", "🎬 Film 🏳️-vid.mp4"),
        ("  two\t\n words ", "two words-vid.mp4"),
        ("--rf", "rf-vid.mp4"),
        (".hidden", "hidden-vid.mp4"),
        ("a\u202egp4.exe\u2069", "agp4.exe-vid.mp4"),
        ("nul\0l", "null-vid.mp4"),
        ("e\u0301", "é-vid.mp4"),
        ("What?*", "What__-vid.mp4"),
        ("", "vid.mp4"),
        (None, "vid.mp4"),
        ("\u200b", "vid.mp4"),
    ],
)
def test_a_title_is_made_safe(title: str | None, expected: str) -> None:
    assert name(title=title) == expected


@pytest.mark.parametrize(
    "title", ["x" * 300, "é" * 300, "日本" * 150, "🎬" * 100, "x" * 197, "e\u0301" * 300]
)
def test_a_long_title_is_cut_and_the_id_is_kept(title: str) -> None:
    made = name(title=title, id="video-123")
    assert made.endswith("-video-123.mp4")
    assert 195 <= len(made.encode()) <= 200
    assert made.removesuffix("-video-123.mp4").strip(title[:2]) == "" or "é" in made


def test_a_cut_title_does_not_end_in_a_space() -> None:
    assert name(title="x" * 190 + " " + "y" * 90, id="12345") == "x" * 190 + "-12345.mp4"


def test_a_long_id_is_cut_when_there_is_nothing_else_to_cut() -> None:
    assert name(id="v" * 400, title="Cells") == "v" * 196 + ".mp4"


@pytest.mark.parametrize(
    ("template", "title", "expected"),
    [
        ("{title}-{id}.mp4", "A", "A-vid.webm"),
        ("{title}-{id}.MOV", "A", "A-vid.webm"),
        ("{id}.final", "A", "vid.final.webm"),
        ("{id}-{title}", None, "vid.webm"),
        ("{id} - {title}", None, "vid.webm"),
        ("{id}_{title}_x", None, "vid_x.webm"),
        ("{source}/".rstrip("/") + "-{title}-{id}", None, "vid.webm"),
        ("{{{title}}}", "A", "{A}.webm"),
        ("fixed", "A", "fixed.webm"),
        ("{title}", "B.mp4", "B.mp4.webm"),
    ],
)
def test_a_template_is_filled(template: str, title: str | None, expected: str) -> None:
    assert name(template, title=title, extension="webm") == expected


@pytest.mark.parametrize(
    "template",
    [
        "{nope}",
        "{}",
        "{0}",
        "{title!r}",
        "{title:>9}",
        "{title.x}",
        "{title[0]}",
        "{title",
        "title}",
        "a/{id}",
        "a\\{id}",
    ],
)
def test_a_template_that_cannot_be_used_is_refused(template: str) -> None:
    with pytest.raises(Hopeless, match="template"):
        name(template, title="A")


def test_an_unknown_field_is_told_with_the_known_ones() -> None:
    with pytest.raises(Hopeless, match=r"\{id\}, \{title\}, \{event\}, \{source\}, \{model\}, \{date\}"):
        name("{titel}")


def test_without_any_field_the_event_names_the_file() -> None:
    assert name("{title}", title="..", event="evt_1") == "evt_1.mp4"
    assert name("{title}", title="..") == "video.mp4"


@pytest.mark.parametrize(
    "title", ["CON", "con", "NUL", "com1", "LPT9", "aux.tar", "CON .x", "COM¹", "conin$"]
)
def test_names_that_windows_reserves_are_prefixed(title: str) -> None:
    assert name("{title}", title=title).startswith("_")


@pytest.mark.parametrize("title", ["CONTENT", "com", "com10", "xcon", "null"])
def test_names_that_only_look_reserved_are_not(title: str) -> None:
    assert name("{title}", title=title) == f"{title}.mp4"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cells.mp4", "cELLS.MP4"),
        ("é.mp4", "e\u0301.mp4"),
        ("É.mp4", "e\u0301.mp4"),
        ("straße.mp4", "STRASSE.mp4"),
        ("K.mp4", "\u212a.mp4"),
        ("\u03c3.mp4", "\u03c2.mp4"),
    ],
)
def test_names_that_some_file_system_takes_for_one_fold_together(one: str, other: str) -> None:
    assert folded(one) == folded(other)


def test_different_names_do_not_fold_together() -> None:
    assert len({folded(text) for text in ("a.mp4", "b.mp4", "á.mp4", "a.webm")}) == 4


def test_a_suffix_goes_before_the_extension() -> None:
    assert suffixed("A.b-vid.mp4", "12345678") == "A.b-vid~12345678.mp4"


def test_a_given_stem_is_cleaned_and_cut() -> None:
    assert whole_name("../x", extension="json") == "_x.json"
    assert len(whole_name("y" * 999, extension="json")) == 200


def test_clean_text_may_be_empty() -> None:
    assert clean(" ..-- \u200f") == ""


def test_an_ending_is_never_cut_off() -> None:
    fields = {"title": "x" * 500, "id": "v"}

    assert safe_name(
        "{title}-{id}.mp4", {**fields, "title": "Cells"}, extension="jpg", ending="-thumbnail"
    ) == ("Cells-v-thumbnail.jpg")
    long = safe_name("{title}-{id}", fields, extension="webp", ending="-spritesheet")
    assert long.endswith("x-v-spritesheet.webp")
    assert len(long) == 200
