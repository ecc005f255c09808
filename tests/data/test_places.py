"""Places survive: the page of a passage after normalising and redacting, and its bytes in a file of text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genwerk.core.errors import DataError
from genwerk.core.events import EventLog
from genwerk.core.types import Document
from genwerk.core.workspace import Step
from genwerk.data.documents import load_documents
from genwerk.data.marked import Edit, Marked
from genwerk.data.normalise import normalise
from genwerk.data.places import Place, place_of, place_of_span, places_field, places_of, source_bytes
from genwerk.data.prepare import PrepareConfig, prepare
from genwerk.data.redact import redact

MESSY = st.text(
    alphabet=st.sampled_from("aé ß\t\n\r\x0b\x85\u2028\x00\ufeff\u00ad\u202e\ue000Ã¤Â€â™“\ud800e\u0301한"), max_size=40
)


def placed(text: str, *places: tuple[int, str]) -> Document:
    field = places_field([Place(*one) for one in places], len(text))
    return Document.create("a.pdf", text, metadata={"places": field})


def prepared(tmp_path: Path, name: str, data: bytes, **settings: object) -> Document:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / name).write_bytes(data)
    out = tmp_path / "out"
    out.mkdir()
    config = PrepareConfig.parse({"sources": (str(tmp_path / "docs"),), "min_chars": 1, **settings})
    prepare(config, Step("x", out, out, EventLog(tmp_path)))
    (document,) = load_documents(out)
    return document


def test_a_place_holds_up_to_the_next_and_spans_are_said_as_ranges() -> None:
    document = placed("abcdefgh", (0, "page 1"), (3, "page 2"), (3, "page 3"), (6, "sheet Prices"), (8, "page 9"))
    assert [place_of(document, position) for position in range(8)] == ["page 1"] * 3 + ["page 3"] * 3 + [
        "sheet Prices"
    ] * 2
    assert place_of_span(document, 0, 3) == "page 1"
    assert place_of_span(document, 0, 4) == "pages 1-3"
    assert place_of_span(document, 4, 8) == "page 3 to sheet Prices"
    assert place_of(Document.create("a.txt", "abc"), 1) == ""
    assert [place.label for place in places_of(document)] == ["page 1", "page 3", "sheet Prices"]


@settings(deadline=None, max_examples=60)
@given(st.lists(MESSY, min_size=1, max_size=5))
def test_marks_change_nothing_of_the_text_and_stay_at_the_start_of_their_page(pages: list[str]) -> None:
    text, marks = "", []
    for page in pages:
        text += "\n\n" if text else ""
        marks.append(len(text))
        text += page
    normal = normalise(text, tuple(marks))
    assert normal.text == normalise(text).text
    assert list(normal.marks) == sorted(normal.marks)
    for index, mark in enumerate(normal.marks):
        rest = normalise("\n\n".join(pages[index:])).text
        assert normal.text[mark:].strip() == rest.strip()


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="ab c\n", max_size=30), st.lists(st.integers(0, 30), max_size=4))
def test_a_substitution_moves_marks_as_it_moves_the_text_before_them(text: str, positions: list[int]) -> None:
    marks = tuple(sorted(min(position, len(text)) for position in positions))
    changed = Marked(text, marks).sub(re.compile(" |b"), "xyz")
    assert changed.text == re.sub(" |b", "xyz", text)
    assert [len(re.sub(" |b", "xyz", text[:mark])) for mark in marks] == list(changed.marks)


def test_a_mark_inside_of_a_replacement_goes_behind_it() -> None:
    assert Marked("abcdef", (1, 2, 3, 4)).edited([Edit(1, 3, "-")]) == Marked("a-def", (1, 2, 2, 3))
    redaction = redact("Ask eva@example.org today. Next.", ("email",), (0, 6, 20, 27))
    assert redaction.text == "Ask [email] today. Next."
    assert [redaction.text[mark:][:5] for mark in redaction.marks] == ["Ask [", " toda", "today", "Next."]


def test_marks_within_a_mended_line_stay_between_the_same_words() -> None:
    text = "Die Prüfung der Maßnahme".encode().decode("latin-1") + " ist gut"
    normal = normalise(text, (text.index("der"), text.index("ist")))
    assert [normal.text[mark:][:3] for mark in normal.marks] == ["der", "ist"]
    accent = normalise("e\u0301 and e\u0301 and", (3, 5, 7))
    assert accent.text == "é and é and"
    assert [accent.text[mark:] for mark in accent.marks] == ["and é and", "d é and", "é and"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_quotation_is_found_again_byte_by_byte_in_its_file(tmp_path: Path, encoding: str, newline: str) -> None:
    lines = ["---", "title: x", "---", "", "# Käse  ", "", "Die Prüfung der Anlage – einmal im Jahr.", "", "Ende.", ""]
    data = newline.join(lines).encode(encoding)
    document = prepared(tmp_path, "a.md", data)
    start = document.text.index("Prüfung")
    end = document.text.index("Jahr")
    assert place_of_span(document, start, end) == "line 7"
    assert place_of_span(document, 0, len(document.text)) == "lines 5-9"
    found = source_bytes(document, data, start, end)
    assert found and found.exact
    name = {"utf-16": "utf-16-le", "utf-8-sig": "utf-8"}.get(encoding, encoding)
    assert data[found.start : found.end].decode(name) == document.text[start:end]
    whole = source_bytes(document, data, 0, len(document.text))
    assert whole and data[whole.start : whole.end].decode(name).split(newline)[0] == "# Käse  "
    with pytest.raises(DataError, match="not the one"):
        source_bytes(document, data + b" ", 0, 5)


def test_changed_lines_are_given_whole_and_said_to_be_so(tmp_path: Path) -> None:
    data = b"First line of it.\nAsk eva@example.org about the pump today.\nLast.\n"
    document = prepared(tmp_path, "a.txt", data, redact=("email",))
    start = document.text.index("[email]")
    found = source_bytes(document, data, start, start + 20)
    assert found and not found.exact
    assert data[found.start : found.end] == b"Ask eva@example.org about the pump today.\n"
    assert source_bytes(placed("abc", (0, "page 1")), b"", 0, 1) is None


def test_html_names_the_line_of_each_block(tmp_path: Path) -> None:
    page = (
        "<?xml version='1.0'?>\n<html><body>\n<h1>Care</h1>\n<p>Clean the\nfilter weekly.</p>\n\n"
        "<table>\n<tr><td>a</td><td>b</td></tr></table>\n<p>The end of it.</p></body></html>"
    )
    document = prepared(tmp_path, "a.html", page.encode())
    assert [place.label for place in places_of(document)] == ["line 3", "line 4", "line 7", "line 9"]
    assert place_of(document, document.text.index("weekly")) == "line 4"
    assert place_of(document, document.text.index("end")) == "line 9"
