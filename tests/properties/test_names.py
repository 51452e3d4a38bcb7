"""Whatever titles and ids hold, a name stays one ordinary, portable file name."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver import egress, names
from receiver.errors import Hopeless

NASTY = st.sampled_from(
    [
        "..",
        "/",
        "\\",
        "\0",
        "{title}",
        "{",
        "}}",
        "../../etc/passwd",
        "CON",
        "nul.txt",
        " . ",
        "-rf",
        "\u202e",
        "e\u0301",
        "\u212a",
        "\ud800",
        "\ufdfa",
        "👨‍👩‍👧",
        "日本",
        "~",
        "\r\n",
        "a" * 300,
        "é" * 300,
        "\u0958",
    ]
)
TEXT = st.lists(st.one_of(st.text(st.characters(), max_size=40), NASTY), max_size=6).map("".join)
FIELDS = st.fixed_dictionaries({name: st.none() | TEXT for name in names.FIELDS})
TEMPLATES = st.sampled_from(
    [
        "{title}-{id}",
        "{id}",
        "{title}",
        "{title}{id}",
        "{date} {source} {title} ({id}).mp4",
        "{{{title}}}",
        "-",
        "con",
    ]
)


@pytest.mark.fault("F1")
@given(TEMPLATES, FIELDS, st.sampled_from(["mp4", "webm", "json"]))
@example("{title}-{id}", dict.fromkeys(names.FIELDS, "CON"), "mp4")
@example("{title}", dict.fromkeys(names.FIELDS, "NUL." + 300 * "a"), "mp4")
@example("{title}{id}", {**dict.fromkeys(names.FIELDS), "title": "e", "id": "\u0301" * 120}, "mp4")
def test_every_name_is_safe(template: str, fields: dict[str, str | None], extension: str) -> None:
    name = names.safe_name(template, fields, extension=extension)
    stem = name.removesuffix(f".{extension}")
    assert stem != name
    assert stem
    assert len(name.encode()) <= names.LONGEST_NAME_BYTES
    assert not set('/\\:*?"<>|\0') & set(name)
    assert name[0] not in " .-"
    assert stem[-1] not in " ."
    assert unicodedata.is_normalized("NFC", name)
    assert not {unicodedata.category(character) for character in name} & {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
    assert name.partition(".")[0].strip().lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    assert name == names.safe_name(template, fields, extension=extension)


@given(TEXT)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert names.clean(names.clean(text)) == names.clean(text)


@given(TEXT)
def test_names_that_differ_in_case_or_composition_fold_together(text: str) -> None:
    folded = names.folded(text)
    for form in ("NFC", "NFD"):
        assert names.folded(unicodedata.normalize(form, text)) == folded
    assert names.folded(folded) == folded


@given(st.text(min_size=1))
def test_braces_of_a_title_are_data(title: str) -> None:
    cleaned = names.clean("{id}" + title)[:40]
    assert names.safe_name("{title}", {"title": cleaned, "id": "other"}, extension="mp4").startswith("{id}")


@given(st.text(st.sampled_from("{}!:.[]idtle 0"), max_size=12))
def test_a_template_is_either_understood_or_refused(template: str) -> None:
    try:
        pieces = names.parse_template(template)
    except Hopeless:
        return
    assert all(field is None or field in names.FIELDS for _, field in pieces)


LINKS = st.lists(
    st.sampled_from(
        [
            "https",
            "http",
            "://",
            ":",
            "//",
            "/",
            "\\",
            "@",
            "#",
            "?",
            ".",
            "..",
            "%2e",
            "%2f",
            "%00",
            "．",
            " ",
            "\t",
            "videos.example",
            "evil.example",
            "127.0.0.1",
            "[::1]",
            "[",
            "]",
            "443",
            "0",
            "xn--a",
            "é",
            "\u200b",
            "a",
        ]
    ),
    max_size=9,
).map("".join)


@given(st.one_of(LINKS, LINKS.map("https://videos.example".__add__), st.text()))
def test_a_link_is_either_plainly_under_its_base_or_refused(link: str) -> None:
    try:
        url = egress.under(link, base="https://videos.example/v1")
    except Hopeless:
        return
    assert (url.scheme, url.host, url.port, url.userinfo) == ("https", "videos.example", None, b"")
    assert link.lower().startswith(("https://videos.example/v1", "https://videos.example:443/v1"))


@pytest.mark.parametrize("title", ["/", "..", "\0", " ", "-", "\u202e", "\n"])
def test_a_title_of_nothing_useful_leaves_at_most_a_mark(title: str) -> None:
    assert names.safe_name("{title}-{id}", {"title": title, "id": "v1"}, extension="mp4") in (
        "v1.mp4",
        "_-v1.mp4",
    )
